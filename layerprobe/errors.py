"""The few exception classes of the project.

A message is one line: the rule, what was expected, what came, what to do.
"""


class LayerprobeError(Exception):
    """Base of every error the project raises on purpose; the CLI prints it as one line and exits with 1."""


class InputError(LayerprobeError, ValueError):
    """The user's input is at fault: file, column, value or option. The CLI exits with 2."""


class UnsupportedArchitecture(InputError):
    """The backbone's family is not in the architecture table. The message holds the module tree."""


class BudgetNotMet(InputError):
    """No studied selection keeps the budget, or none could be measured; a study ends all the same, without a pick."""


class StudyError(LayerprobeError):
    """A stage, variant or check of a study failed although the input was fine."""


class NothingToDistil(StudyError):
    """The student would be its teacher before either was trained; a study ends without a student."""


class NoSpace(StudyError):
    """The disk is full, or a quota or size limit is reached: whatever is written next would fail as well."""


class TrainingDiverged(StudyError):
    """A loss or gradient became NaN or infinite."""


class DistillationTermError(StudyError):
    """A requested distillation term is missing, zero, not finite, or sends no gradient to the student."""

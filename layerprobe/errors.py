"""The few exception classes of the project.

A message is one line: the rule, what was expected, what came, what to do.
"""

MOST_LETTERS = 300


def one_line(message: object, most: int | None = MOST_LETTERS) -> str:
    r"""Returns a message as one line to print: control characters escaped, and the middle left out where it is long.

    Args:
        message: anything that has a text.
        most: letters of the line; None leaves nothing out.

    >>> one_line("a\x1b[2J\nb")
    'a\\x1b[2J b'
    """
    line = " ".join(str(message).split())
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    # The end stays: it says what to do.
    return line if most is None or len(line) <= most else f"{line[: most - 120]} ... {line[-115:]}"


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

"""`SplitOptions`: which interactions are held out, by place in a user's sequence or by time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from layerprobe.arguments import checked
from layerprobe.errors import InputError
from layerprobe.ranges import Range

Target = Literal["last", "first", "all"]
NewUsers = Literal["drop", "keep"]
LEAVE_ONE_OUT, GLOBAL_TIME = "leave-one-out", "global-time"


@dataclass(frozen=True)
@checked
class SplitOptions:
    """How training, validation and test are told apart.

    A cut is a share in (0, 1) of the interactions by time, a date (`2014-05-01`, `2014-05-01T00:00:00Z`; UTC), or a
    whole number in the unit of the log's times.

    Raises:
        InputError: an option has no effect beside the others, or a cut is out of range.
    """

    kind: Literal["leave-one-out", "global-time"] = "leave-one-out"
    """`leave-one-out`: a user's last item is the test target, the one before it the validation target; training reads
    later times than most targets. `global-time`: training ends at `valid_cut`, validation at `cut`, for all users."""
    cut: Annotated[int | float | str, Range(-(2**63), 2**63 - 1)] = 0.9
    """Where test begins: share, date, or time in the log's unit."""
    valid_cut: Annotated[int | float | str, Range(-(2**63), 2**63 - 1)] = 0.8
    """Where validation begins and training ends; it must lie before `cut`."""
    target: Target = "last"
    """Which of a user's items behind a cut are targets. The history of a target is everything of its user before it."""
    cold_items: Literal["drop", "keep"] = "drop"
    """Items without an interaction before `valid_cut`: `drop` takes their rows out of the log; `keep` leaves them as
    candidates and targets that no model has seen in training."""
    no_history: NewUsers = "drop"
    """Users whose first item lies behind the cut: `drop` does not evaluate them there; `keep` evaluates them from their
    second item on."""

    def __post_init__(self) -> None:
        if self.kind == LEAVE_ONE_OUT:
            for entry in fields(self):
                if entry.name != "kind" and getattr(self, entry.name) != entry.default:
                    raise InputError(
                        f"split.{entry.name} needs split.kind {GLOBAL_TIME}; the kind is {LEAVE_ONE_OUT}, which has no "
                        "cut: set the kind or leave it out"
                    )
        for name in ("cut", "valid_cut"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 < value < 1:
                raise InputError(
                    f"split.{name} must be a share between 0 and 1, a date such as 2014-05-01, or a whole number in "
                    f"the unit of the log's times; got {value:g}"
                )
        if isinstance(self.cut, float) and isinstance(self.valid_cut, float) and self.valid_cut >= self.cut:
            raise InputError(f"split.valid_cut must lie before split.cut; got {self.valid_cut:g} and {self.cut:g}")

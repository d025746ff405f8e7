"""`ProbeSpec`: which selections are studied, with which seeds and controls, and the short forms of writing them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from layerprobe.arguments import checked
from layerprobe.errors import InputError
from layerprobe.probing.probe_heads import ProbeHeadOptions
from layerprobe.probing.selections import Numbers, selection_texts
from layerprobe.ranges import SEED, SHARE, Range


@dataclass(frozen=True)
@checked
class HalvingOptions:
    """Successive halving: variants that are worst on validation users are stopped early."""

    after: Annotated[int, Range(1, 100_000)] = 1
    """Epochs until the first choice; the next ones come after 2, 4, 8, ... times as many."""
    keep: Annotated[float, SHARE] = 0.5
    """Share of the selections that continue after each choice, in (0, 1), rounded up."""


@dataclass(frozen=True)
@checked
class ProbeSpec:
    """Which selections of layers are fine-tuned as models of their own, and with which controls."""

    depths: Annotated[list[int] | Literal["all"] | None, Range(0, 1000)] = None
    """Depths k, short for the selections `first:k`; `all` means every depth from 0 to the teacher's. So does null, if
    `selections` is null too. The full depth is always included."""
    selections: list[str | int] | dict[str, Numbers] | Literal["all"] | None = None
    """Selections besides `depths`, with or without quotes: `[last:2, every:2, keep:0,3, bi:2]`, or by form: `{first:
    [1, 2, 4], last: all}`. `all` means every number of that form below the full model; `all` alone means `first: all`.
    `bi:k angular:k cka:k greedy:k` choose layers by measurements on the trained teacher."""
    controls: list[Literal["random-init"]] = field(default_factory=list)
    """Twins of every variant with layers. `random-init`: the same layers of the checkpoint with random weights."""
    seeds: Annotated[list[int], SEED] = field(default_factory=lambda: [0, 1, 2])
    """Training seeds; the teacher is trained with the first. Each draws its own initial weights, batches and dropout.
    One seed is exploratory: nothing then tells training noise from a difference."""
    start: Literal["backbone", "teacher"] = "backbone"
    """Weights a variant starts from: the backbone's own (the paper's way) or the trained teacher's. Controls always
    start from their own random weights."""
    heads: ProbeHeadOptions = field(default_factory=ProbeHeadOptions)
    """How the heads of the exits `exit-probe` are fitted to the frozen teacher."""
    halving: HalvingOptions | None = None
    """Stops the variants early that are worst on validation users; they are not in curve and decision. The full model
    and depth 0 are never stopped. Null trains all to the end."""

    def __post_init__(self) -> None:
        if isinstance(self.selections, list):
            object.__setattr__(self, "selections", _rejoined(self.selections))
        if len(set(self.controls)) != len(self.controls):
            raise InputError(f"probe.controls must name each control once; got {', '.join(self.controls)}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"probe.seeds must hold at least one seed, each once; got {self.seeds}")

    @property
    def texts(self) -> list[str]:
        """The selections beside `depths` as text forms, `form:all` where every number is meant."""
        return selection_texts(self.selections)


def _rejoined(entries: list[str | int]) -> list[str]:
    """Joins lists of layers again: YAML reads `[every:2, keep:0,3]` as three entries, the last a number.

    No selection is a bare number or range, so one that follows a `keep:` or `drop:` can only belong to it.
    """
    texts: list[str] = []
    for entry in entries:
        follows = bool(texts) and texts[-1].startswith(("keep:", "drop:"))
        if follows and re.fullmatch(r"\d+(-\d+)?", str(entry)):
            texts[-1] += f",{entry}"
        else:
            texts.append(str(entry))
    return texts

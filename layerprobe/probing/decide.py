"""`Decision`: how many layers to keep, and how sure that is.

Takes ranks of every studied depth and of the floors, hands on `decision.json`: the smallest depth that was shown to be
not worse than the full model, the evidence for each depth, and what this number of users can show at all.

The bounds of `probing.comparisons` hold for all depths at once. So the smallest depth that passes may be picked
without testing in a fixed order, and deeper ones need not pass (a note says where they did not). The floors form a
family of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from layerprobe.errors import InputError
from layerprobe.probing.comparisons import Comparison, DecisionOptions, PerUser, Power, RankTables, compare
from layerprobe.probing.wording import decision_notes, decision_sentence


@dataclass(frozen=True)
class Decision:
    """The answer, its evidence and its limits.

    Attributes:
        options: what was asked.
        depth: smallest depth below the full one that is not worse; None if none was shown to be.
        full_depth: depth of the full model.
        sentence: the answer in words.
        depths: every studied depth, ascending, the full one (difference 0) included.
        baselines: the floors, by name.
        power: what this number of users can show.
        notes: what limits the answer.
    """

    options: DecisionOptions
    depth: int | None
    full_depth: int
    sentence: str
    depths: dict[int, Comparison]
    baselines: dict[str, Comparison]
    power: Power
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `decision.json`."""
        return {
            **asdict(self.options),
            "depth": self.depth,
            "full_depth": self.full_depth,
            "sentence": self.sentence,
            "depths": [{"depth": depth, **asdict(found)} for depth, found in self.depths.items()],
            "baselines": [{"name": name, **asdict(found)} for name, found in self.baselines.items()],
            "power": asdict(self.power),
            "notes": list(self.notes),
        }


def decide(
    by_depth: Mapping[int, RankTables], baselines: Mapping[str, RankTables], options: DecisionOptions
) -> Decision:
    """Finds the smallest depth that is not worse than the full model; see `probing.comparisons` for the rule.

    Args:
        by_depth: ranks per depth; the largest depth is the full model. Several tables mean several training seeds,
            whose metric is averaged per user.
        baselines: ranks of the floors.
        options: metric, margin and error.

    Returns:
        The decision; also where no depth passes or a floor would do.

    Raises:
        InputError: fewer than two depths, ranks that lack the protocol `full` or the split `test`, users that differ
            from the full model's, or a full model whose metric is 0.
    """
    if len(by_depth) < 2:
        raise InputError(f"a decision needs the full model and a smaller depth; got depths {sorted(by_depth)}")
    full_depth = max(by_depth)
    full = PerUser.read(f"depth {full_depth}", by_depth[full_depth], options)
    if not full.metric.mean() > 0:
        raise InputError(
            f"the full model (depth {full_depth}) has a {options.label} of 0 on {len(full.metric)} users, and a margin "
            "is a share of it; train it longer or choose a larger k"
        )
    smaller = {k: PerUser.read(f"depth {k}", by_depth[k], options) for k in sorted(by_depth) if k != full_depth}
    floors = {name: PerUser.read(name, tables, options) for name, tables in baselines.items()}
    depths, power = compare(smaller, full, options)
    against_floors = compare(floors, full, options)[0] if floors else {}
    passed = [k for k, found in depths.items() if found.not_worse]
    depth = passed[0] if passed else None
    value = float(full.metric.mean())
    shown = {**depths, full_depth: Comparison(value, 0.0, 0.0, 0.0, 0.0, 0.0, True, "not worse", full.seeds)}
    return Decision(
        options=options,
        depth=depth,
        full_depth=full_depth,
        sentence=decision_sentence(depth, shown, against_floors, options, power),
        depths=shown,
        baselines=against_floors,
        power=power,
        notes=decision_notes(depth, shown, against_floors, options),
    )

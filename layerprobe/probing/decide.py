"""`Decision`: which layers to keep, and how sure that is.

Takes ranks of every studied selection and of the floors, hands on `decision.json`: the smallest depth that was shown to
be not worse than the full model, the evidence for each selection, and what this number of users can show at all.

The bounds of `probing.comparisons` hold for all selections at once. So the smallest depth that passes may be picked
without testing in a fixed order, and at that depth the selection with the highest metric; deeper ones need not pass (a
note says where they did not). The floors form a family of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.probing.comparisons import Comparison, DecisionOptions, PerUser, Power, RankTables, compare
from layerprobe.probing.selections import keeps_first
from layerprobe.probing.wording import decision_notes, decision_sentence

Kept = TypeVar("Kept", bound="int | LayerSelection")


@dataclass(frozen=True)
class Decision:
    """The answer, its evidence and its limits.

    Attributes:
        options: what was asked.
        selection: the smallest one below the full model that is not worse, at equal depth the one with the highest
            metric; None if none was shown to be.
        full_depth: depth of the full model.
        sentence: the answer in words.
        selections: every studied selection, by depth, the full model (difference 0) last.
        baselines: the floors, by name.
        power: what this number of users can show.
        notes: what limits the answer.
    """

    options: DecisionOptions
    selection: LayerSelection | None
    full_depth: int
    sentence: str
    selections: dict[LayerSelection, Comparison]
    baselines: dict[str, Comparison]
    power: Power
    notes: tuple[str, ...]

    @property
    def depth(self) -> int | None:
        """Number of layers to keep; None if no smaller number was shown to do."""
        return None if self.selection is None else self.selection.depth

    @property
    def depths(self) -> dict[int, Comparison]:
        """The selections written `first:k`, by k."""
        return {each.depth: found for each, found in self.selections.items() if keeps_first(each)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `decision.json`."""
        return {
            **asdict(self.options),
            "depth": self.depth,
            "selection": None if self.selection is None else self.selection.text,
            "layers": None if self.selection is None else list(self.selection.layers),
            "full_depth": self.full_depth,
            "sentence": self.sentence,
            "depths": [
                {"depth": each.depth, "selection": each.text, "layers": list(each.layers), **asdict(found)}
                for each, found in self.selections.items()
            ],
            "baselines": [{"name": name, **asdict(found)} for name, found in self.baselines.items()],
            "power": asdict(self.power),
            "notes": list(self.notes),
        }


def decide(
    by_selection: Mapping[Kept, RankTables], baselines: Mapping[str, RankTables], options: DecisionOptions
) -> Decision:
    """Finds the smallest depth that is not worse than the full model; see `probing.comparisons` for the rule.

    Args:
        by_selection: ranks per selection; a number k stands for `first:k`. The one that keeps all layers is the full
            model; where there are numbers alone, it is the largest. Several tables mean several training seeds, whose
            metric is averaged per user.
        baselines: ranks of the floors.
        options: metric, margin and error.

    Returns:
        The decision; also where nothing passes or a floor would do.

    Raises:
        InputError: fewer than two selections, no single full model, ranks that lack the protocol `full` or the split
            `test`, users that differ from the full model's, or a full model whose metric is 0.
    """
    full_key, tables = _full_and_all(by_selection)
    full = PerUser.read(_called(full_key), tables[full_key], options)
    if not full.metric.mean() > 0:
        raise InputError(
            f"the full model ({full.name}) has a {options.label} of 0 on {len(full.metric)} users, and a margin "
            "is a share of it; train it longer or choose a larger k"
        )
    smaller = {each: PerUser.read(_called(each), tables[each], options) for each in tables if each != full_key}
    floors = {name: PerUser.read(name, ranks, options) for name, ranks in baselines.items()}
    found, power = compare(smaller, full, options)
    against_floors = compare(floors, full, options)[0] if floors else {}
    chosen = _smallest(found)
    value = float(full.metric.mean())
    shown = {**found, full_key: Comparison(value, 0.0, 0.0, 0.0, 0.0, 0.0, True, "not worse", full.seeds)}
    return Decision(
        options=options,
        selection=chosen,
        full_depth=full_key.depth,
        sentence=decision_sentence(chosen, shown, against_floors, options, power),
        selections=shown,
        baselines=against_floors,
        power=power,
        notes=decision_notes(chosen, shown, against_floors, options),
    )


def _full_and_all(
    by_selection: Mapping[Kept, RankTables],
) -> tuple[LayerSelection, dict[LayerSelection, RankTables]]:
    """Returns the full model's selection and all tables by selection, ascending by depth.

    Raises:
        InputError: fewer than two selections, or not exactly one that keeps all layers.
    """
    deepest = max((key if isinstance(key, int) else key.n_layers for key in by_selection), default=0)
    keyed = [
        (parse_selection(f"first:{key}", deepest) if isinstance(key, int) else key, ranks)
        for key, ranks in by_selection.items()
    ]
    tables = dict(sorted(keyed, key=lambda entry: entry[0].depth))
    if len(tables) < 2:
        raise InputError(
            f"a decision needs the full model and a smaller depth; got depths {[each.depth for each in tables]}"
        )
    full = [each for each in tables if each.depth == deepest]
    other = [each for each in tables if each.n_layers != deepest]
    if len(full) != 1 or other or len(tables) != len(keyed):
        raise InputError(
            f"a decision needs selections of one backbone, each once, with one that keeps all {deepest} layers; "
            f"got {', '.join(f'{each} of {each.n_layers}' for each, _ in keyed)}"
        )
    return full[0], tables


def _smallest(found: Mapping[LayerSelection, Comparison]) -> LayerSelection | None:
    passed = [each for each, comparison in found.items() if comparison.not_worse]
    return min(passed, key=lambda each: (each.depth, -found[each].value), default=None)


def _called(selection: LayerSelection) -> str:
    return f"depth {selection.depth}" if keeps_first(selection) else selection.text

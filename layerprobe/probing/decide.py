"""`Decision`: which layers to keep, and how sure that is.

Takes ranks of every studied selection and of the floors, hands on `decision.json`: the smallest depth that was shown to
be not worse than the full model, the evidence for each selection, and what these users and seeds can show at all.

Rule `sequence`: one selection represents each depth, the one written `first:k`, or else the first that was named. These
are tested from the deepest down, each at the full error level alpha, and the test stops at the first that fails. So the
probability of any false "not worse" in the sequence is at most alpha (Maurer, Hothorn and Lehmacher 1995). The bounds
of the other selections hold for all selections together.

Rule `simultaneous`: the bounds hold for all selections together. So the smallest depth that passes may be picked
without an order, and at that depth the selection with the highest metric. Deeper ones need not pass; a note names those
that did not.

The floors are a separate set of comparisons by both rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import TypeVar

import pandas as pd

from layerprobe import wording
from layerprobe.arguments import require_kind, require_mapping
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import SeedNoise
from layerprobe.evaluation.uncertainty import SimultaneousBounds
from layerprobe.probing.comparisons import Comparison, compare, require_covered, training_noise, verdict_of
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, RankTables
from layerprobe.probing.power import Power, power_of
from layerprobe.probing.wording import decision_notes, decision_sentence
from layerprobe.store.decision import DecisionRecord, FloorRow, PowerRow, SelectionRow

Kept = TypeVar("Kept", bound="int | str | LayerSelection")


@dataclass(frozen=True)
class Decision:
    """The answer, its evidence and its limits.

    Attributes:
        options: metric, margin, error level and rule.
        selection: the smallest one below the full model that is not worse, at equal depth the one with the highest
            metric; None if none was shown to be.
        full_depth: depth of the full model.
        sentence: the answer in words.
        selections: every studied selection, by depth, the full model (difference 0) last.
        baselines: the floors, by name.
        sequence: the selections that represent their depths, in the order of testing; empty by rule `simultaneous`.
        power: what these users and seeds can show.
        notes: what limits the answer.
    """

    options: DecisionOptions
    selection: LayerSelection | None
    full_depth: int
    sentence: str
    selections: dict[LayerSelection, Comparison]
    baselines: dict[str, Comparison]
    sequence: tuple[LayerSelection, ...]
    power: Power
    notes: tuple[str, ...]

    @property
    def depth(self) -> int | None:
        """Number of layers to keep; None if no smaller number was shown to be enough."""
        return None if self.selection is None else self.selection.depth

    @property
    def depths(self) -> dict[int, Comparison]:
        """The selections written `first:k`, by k."""
        return {
            selection.depth: comparison
            for selection, comparison in self.selections.items()
            if wording.keeps_first(selection.text)
        }

    def to_frame(self) -> pd.DataFrame:
        """Returns the studied selections, one row each, the full model last."""
        return self.record().to_frame()

    def _repr_html_(self) -> str:
        return self.record()._repr_html_()

    def record(self, merged: Sequence[tuple[str, str]] = (), notes: Sequence[str] = ()) -> DecisionRecord:
        """Returns the content of `decision.json`.

        Args:
            merged: selections that keep the layers of an earlier one, as (text, earlier text).
            notes: further limits of the answer.
        """
        chosen = self.selection
        return DecisionRecord(
            **asdict(self.options),
            depth=self.depth,
            selection=None if chosen is None else chosen.text,
            layers=None if chosen is None else chosen.layers,
            full_depth=self.full_depth,
            sentence=self.sentence,
            depths=tuple(
                SelectionRow(
                    depth=selection.depth, selection=selection.text, layers=selection.layers, **asdict(comparison)
                )
                for selection, comparison in self.selections.items()
            ),
            baselines=tuple(FloorRow(name=name, **asdict(floor)) for name, floor in self.baselines.items()),
            sequence=tuple(selection.text for selection in self.sequence),
            power=PowerRow(**asdict(self.power)),
            notes=(*self.notes, *notes),
            merged=tuple(merged),
        )


def decide(
    by_selection: Mapping[Kept, RankTables],
    baselines: Mapping[str, RankTables] | None = None,
    options: DecisionOptions | None = None,
) -> Decision:
    """Finds the smallest depth that is not worse than the full model; see `probing.comparisons` for the rule.

    Args:
        by_selection: ranks per selection. A number k stands for `first:k`, as the text does; other texts need a
            `first:k` beside them that keeps all layers. The one that keeps all is the full model; where there are
            `first:k` alone, it is the largest. Several tables mean several training seeds, whose metric is averaged per
            user.
        baselines: ranks of the floors, by name.
        options: metric, margin and error.

    Returns:
        The decision, also where nothing passes or a floor is good enough.

    Raises:
        InputError: fewer than two selections, no single full model, ranks that lack the protocol `full` or the split
            `test`, users that differ from the full model's, or a full model whose metric is 0.
    """
    options = DecisionOptions() if options is None else options
    baselines = {} if baselines is None else baselines
    require_kind("options", options, DecisionOptions)
    require_kind("baselines", baselines, Mapping)
    require_mapping("by_selection", by_selection, "selections and ranks tables")
    full_key, tables = _full_and_all(by_selection)
    full = PerUser.read(_called(full_key), tables[full_key], options)
    if not full.value > 0:
        raise InputError(
            f"the full model ({full.name}) has an {options.label} of 0 on {len(full.users)} users, and a margin "
            "is a share of it; train it longer or choose a larger k"
        )
    smaller = {key: PerUser.read(_called(key), tables[key], options) for key in tables if key != full_key}
    floors = {name: PerUser.read(name, ranks, options) for name, ranks in baselines.items()}
    judged = judge(smaller, full, options)
    comparisons, order = judged.selections, judged.sequence
    against_floors = compare(floors, full, options, judged.noise)[0] if floors else {}
    chosen = min(judged.passed, key=lambda key: (key.depth, -comparisons[key].value), default=None)
    own = training_noise(full, full.value)
    full_row = Comparison(full.value, 0.0, 0.0, 0.0, 0.0, 0.0, True, "not worse", full.seeds, own)
    shown = {**comparisons, full_key: full_row}
    return Decision(
        options=options,
        selection=chosen,
        full_depth=full_key.depth,
        sentence=decision_sentence(chosen, shown, against_floors, options, judged.power),
        selections=shown,
        baselines=against_floors,
        sequence=order,
        power=judged.power,
        notes=decision_notes(chosen, shown, against_floors, options, order),
    )


@dataclass(frozen=True)
class Judged:
    """The selections below the full model, compared and tested.

    Attributes:
        selections: the comparison of each.
        sequence: those that represent their depths, in the order of testing; empty by the rule `simultaneous`.
        passed: those that may be chosen: not worse, and in a sequence before the first that is not.
        power: what these users and seeds can show.
        noise: seed noise of the differences.
    """

    selections: dict[LayerSelection, Comparison]
    sequence: tuple[LayerSelection, ...]
    passed: tuple[LayerSelection, ...]
    power: Power
    noise: SeedNoise


def judge(smaller: Mapping[LayerSelection, PerUser], full: PerUser, options: DecisionOptions) -> Judged:
    """Compares all selections with the full model and tests them by the rule of `options`.

    Args:
        smaller: at least one selection below the full model.
        full: the full model; its metric must be above 0.
        options: margin, error level, rule and resamples.

    Raises:
        InputError: users or numbers of seeds differ, or there are too few seeds to cover training noise.
    """
    require_covered([full, *smaller.values()], options)
    comparisons, bounds, noise = compare(smaller, full, options)
    order = _sequence(smaller) if options.rule == "sequence" else ()
    alone = dict(zip(smaller, bounds.alone, strict=True))
    comparisons |= _in_sequence(order, comparisons, alone, options.margin * full.value)
    # In a sequence a selection behind the first failure cannot be chosen, even if it is better.
    passing = takewhile if order else filter
    passed = tuple(passing(lambda key: comparisons[key].not_worse, order or comparisons))
    return Judged(comparisons, order, passed, _power(comparisons, order, bounds, full, options), noise)


def _sequence(smaller: Mapping[LayerSelection, PerUser]) -> tuple[LayerSelection, ...]:
    """Returns the selection that represents each depth, the deepest first."""
    by_depth: dict[int, LayerSelection] = {}
    for selection in smaller:
        if selection.depth not in by_depth or _goes_before(selection, by_depth[selection.depth]):
            by_depth[selection.depth] = selection
    return tuple(by_depth[depth] for depth in sorted(by_depth, reverse=True))


def _goes_before(selection: LayerSelection, other: LayerSelection) -> bool:
    return wording.keeps_first(selection.text) and not wording.keeps_first(other.text)


def _in_sequence(
    order: tuple[LayerSelection, ...],
    comparisons: Mapping[LayerSelection, Comparison],
    alone: Mapping[LayerSelection, float],
    allowed: float,
) -> dict[LayerSelection, Comparison]:
    """Returns the comparisons of the sequence with its verdicts: what comes after the first failure is untested.

    "Better" and "worse" come from the simultaneous intervals, which need no order. A selection that is better behind
    the first failure is reported as such but not chosen: the depths between it and the full model are not all shown to
    be good enough.

    Args:
        order: the selections that represent their depths, the deepest first.
        comparisons: the simultaneous comparisons of all selections.
        alone: lower bound of each selection alone, not simultaneous; valid as long as nothing before it failed.
        allowed: largest loss within the margin, in the metric.
    """
    tested: dict[LayerSelection, Comparison] = {}
    is_open = True
    for selection in order:
        comparison = comparisons[selection]
        bound = float(alone[selection]) if is_open else comparison.lower_bound
        passes = is_open and bound > -allowed
        verdict = verdict_of(comparison.ci_low, comparison.ci_high, passes, -allowed)
        if verdict == "undecided" and not is_open:
            verdict = "untested"
        is_open = passes
        not_worse = verdict in ("better", "not worse")
        tested[selection] = replace(comparison, lower_bound=bound, not_worse=not_worse, verdict=verdict)
    return tested


def _power(
    comparisons: Mapping[LayerSelection, Comparison],
    order: tuple[LayerSelection, ...],
    bounds: SimultaneousBounds,
    full: PerUser,
    options: DecisionOptions,
) -> Power:
    """Returns the power of the least certain difference among the selections that are not significantly worse.

    More users or seeds would not change the verdict on those that are. Where all are worse, all count.
    """
    columns = {selection: column for column, selection in enumerate(comparisons)}
    candidates = order or tuple(comparisons)
    possible = [selection for selection in candidates if comparisons[selection].verdict != "worse"] or candidates
    loosest = max((columns[selection] for selection in possible), key=lambda column: bounds.standard_error[column])
    critical = float(bounds.critical_alone[loosest]) if order else bounds.critical_lower
    return power_of(bounds.error, loosest, full.value, critical, options.margin, full.seeds)


def _full_and_all(
    by_selection: Mapping[Kept, RankTables],
) -> tuple[LayerSelection, dict[LayerSelection, RankTables]]:
    """Returns the full model's selection and all tables by selection, ascending by depth.

    Raises:
        InputError: fewer than two selections, or not exactly one that keeps all layers.
    """
    deepest = max((_layers_named(key) for key in by_selection), default=0)
    if not deepest:
        got = ", ".join(map(str, by_selection))
        raise InputError(f"by_selection must hold the full model, as first:L or the number L; got {got}")
    keyed = [(_selection(key, deepest), ranks) for key, ranks in by_selection.items()]
    tables = dict(sorted(keyed, key=lambda entry: entry[0].depth))
    if len(tables) < 2:
        raise InputError(
            f"a decision needs the full model and a smaller depth; got depths {[key.depth for key in tables]}"
        )
    full = [selection for selection in tables if selection.depth == deepest]
    other = [selection for selection in tables if selection.n_layers != deepest]
    if len(full) != 1 or other or len(tables) != len(keyed):
        raise InputError(
            f"a decision needs selections of one backbone, each once, with one that keeps all {deepest} layers; "
            f"got {', '.join(f'{selection} of {selection.n_layers}' for selection, _ in keyed)}"
        )
    return full[0], tables


def _layers_named(key: int | str | LayerSelection) -> int:
    """Returns the layers of the backbone, as far as a key tells: k for `first:k`, 0 for another text."""
    require_kind("a selection", key, int, str, LayerSelection)
    if isinstance(key, LayerSelection):
        return key.n_layers
    number = str(key).removeprefix("first:")
    return int(number) if number.isdecimal() else 0


def _selection(key: int | str | LayerSelection, n_layers: int) -> LayerSelection:
    if isinstance(key, LayerSelection):
        return key
    return parse_selection(f"first:{key}" if isinstance(key, int) else key, n_layers)


def _called(selection: LayerSelection) -> str:
    return f"depth {selection.depth}" if wording.keeps_first(selection.text) else selection.text

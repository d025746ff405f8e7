"""`Decision`: which layers to keep, and how sure that is.

Takes ranks of every studied selection and of the floors, hands on `decision.json`: the smallest depth that was shown to
be not worse than the full model, the evidence for each selection, and what these users and seeds can show at all.

By the rule `sequence` one selection speaks for each depth: the one written `first:k`, or else the first that was named.
They are tested from the deepest down, each at the full error, and the first that fails ends it. So the probability that
any is passed wrongly is that of the first wrong one (Maurer, Hothorn and Lehmacher 1995). The other selections are a
family of their own. By the rule `simultaneous` the bounds hold for all selections at once, so the smallest depth that
passes may be picked without an order, and at that depth the selection with the highest metric; deeper ones need not
pass (a note says where they did not). The floors form a family of their own by either rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import TypeVar

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
        options: what was asked.
        selection: the smallest one below the full model that is not worse, at equal depth the one with the highest
            metric; None if none was shown to be.
        full_depth: depth of the full model.
        sentence: the answer in words.
        selections: every studied selection, by depth, the full model (difference 0) last.
        baselines: the floors, by name.
        sequence: the selections that speak for their depths, in the order of testing; empty by the other rule.
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
        """Number of layers to keep; None if no smaller number was shown to do."""
        return None if self.selection is None else self.selection.depth

    @property
    def depths(self) -> dict[int, Comparison]:
        """The selections written `first:k`, by k."""
        return {each.depth: found for each, found in self.selections.items() if wording.keeps_first(each.text)}

    def _repr_html_(self) -> str:
        return self.record()._repr_html_()

    def record(self, merged: Sequence[tuple[str, str]] = (), notes: Sequence[str] = ()) -> DecisionRecord:
        """Returns the content of `decision.json`.

        Args:
            merged: selections that keep the layers of an earlier one, as (text, earlier text).
            notes: what limits the answer besides.
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
                SelectionRow(depth=each.depth, selection=each.text, layers=each.layers, **asdict(comparison))
                for each, comparison in self.selections.items()
            ),
            baselines=tuple(FloorRow(name=name, **asdict(floor)) for name, floor in self.baselines.items()),
            sequence=tuple(each.text for each in self.sequence),
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
        The decision; also where nothing passes or a floor would do.

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
    smaller = {each: PerUser.read(_called(each), tables[each], options) for each in tables if each != full_key}
    floors = {name: PerUser.read(name, ranks, options) for name, ranks in baselines.items()}
    judged = judge(smaller, full, options)
    found, order = judged.selections, judged.sequence
    against_floors = compare(floors, full, options, judged.noise)[0] if floors else {}
    chosen = min(judged.passed, key=lambda each: (each.depth, -found[each].value), default=None)
    own = training_noise(full, full.value)
    shown = {**found, full_key: Comparison(full.value, 0.0, 0.0, 0.0, 0.0, 0.0, True, "not worse", full.seeds, own)}
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
    """What the selections below the full model were found to be.

    Attributes:
        selections: the comparison of each.
        sequence: those that speak for their depths, in the order of testing; empty by the rule `simultaneous`.
        passed: those that may be chosen: not worse, and in a sequence before the first that is not.
        power: what these users and seeds can show.
        noise: what a pair of trainings moves a difference by.
    """

    selections: dict[LayerSelection, Comparison]
    sequence: tuple[LayerSelection, ...]
    passed: tuple[LayerSelection, ...]
    power: Power
    noise: SeedNoise


def judge(smaller: Mapping[LayerSelection, PerUser], full: PerUser, options: DecisionOptions) -> Judged:
    """Compares all selections with the full model and tests them by the rule asked for.

    Args:
        smaller: at least one selection below the full model.
        full: the full model; its metric must be above 0.
        options: margin, error, rule and resamples.

    Raises:
        InputError: users or numbers of seeds do not fit, or too few seeds for what is to be covered.
    """
    require_covered([full, *smaller.values()], options)
    found, bounds, noise = compare(smaller, full, options)
    order = _sequence(smaller) if options.rule == "sequence" else ()
    alone = dict(zip(smaller, bounds.alone, strict=True))
    found |= _in_sequence(order, found, alone, options.margin * full.value)
    one_by_one = takewhile if order else filter
    passed = tuple(one_by_one(lambda each: found[each].not_worse, order or found))
    return Judged(found, order, passed, _power(found, order, bounds, full, options), noise)


def _sequence(smaller: Mapping[LayerSelection, PerUser]) -> tuple[LayerSelection, ...]:
    """Returns the selection that speaks for each depth, the deepest first."""
    speaks: dict[int, LayerSelection] = {}
    for each in smaller:
        if each.depth not in speaks or _goes_before(each, speaks[each.depth]):
            speaks[each.depth] = each
    return tuple(speaks[depth] for depth in sorted(speaks, reverse=True))


def _goes_before(selection: LayerSelection, other: LayerSelection) -> bool:
    return wording.keeps_first(selection.text) and not wording.keeps_first(other.text)


def _in_sequence(
    order: tuple[LayerSelection, ...],
    found: Mapping[LayerSelection, Comparison],
    alone: Mapping[LayerSelection, float],
    allowed: float,
) -> dict[LayerSelection, Comparison]:
    """Returns the comparisons of the sequence with its verdicts: what comes after the first failure is untested.

    "Better" and "worse" are those of the simultaneous intervals, which need no order. One that is better beyond the
    first failure is called so and not chosen: whether all between it and the full model would do is not known.
    """
    tested, goes_on = {}, True
    for each in order:
        bound = float(alone[each]) if goes_on else found[each].lower_bound
        passes = goes_on and bound > -allowed
        verdict = verdict_of(found[each].ci_low, found[each].ci_high, passes, -allowed)
        if verdict == "undecided" and not goes_on:
            verdict = "untested"
        goes_on = passes
        not_worse = verdict in ("better", "not worse")
        tested[each] = replace(found[each], lower_bound=bound, not_worse=not_worse, verdict=verdict)
    return tested


def _power(
    found: Mapping[LayerSelection, Comparison],
    order: tuple[LayerSelection, ...],
    bounds: SimultaneousBounds,
    full: PerUser,
    options: DecisionOptions,
) -> Power:
    """Returns what the loosest of the differences can show that are not worse for certain.

    More users or seeds would not change the verdict on the others. Where all are worse, all count.
    """
    columns = {each: column for column, each in enumerate(found)}
    asked = order or tuple(found)
    still = [columns[each] for each in asked if found[each].verdict != "worse"] or [columns[each] for each in asked]
    loosest = max(still, key=lambda column: bounds.standard_error[column])
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
    keyed = [(_selection(key, deepest), ranks) for key, ranks in by_selection.items()]
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

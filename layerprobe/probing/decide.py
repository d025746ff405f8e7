"""`Decision`: which layers to keep, or which baseline to use, and how sure that is.

Takes ranks of every studied selection and of the floors, hands on `decision.json`: one of four verdicts, the evidence
for each selection, and what these users and seeds can show at all. First the floors are asked: is one of them better
than every depth? Then the depths: which is the smallest that is not worse than the full model (`verdicts.judge`)?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from layerprobe import wording
from layerprobe.arguments import require_kind, require_mapping
from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.comparisons import Comparison
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.looks import Look, look_sentence
from layerprobe.probing.per_user import RankTables
from layerprobe.probing.power import Power
from layerprobe.probing.verdicts.baselines import Baselines, weigh_baselines
from layerprobe.probing.verdicts.best import could_be_best
from layerprobe.probing.verdicts.evidence import Evidence, Kept, full_and_all
from layerprobe.probing.verdicts.judge import judge
from layerprobe.probing.verdicts.notes import decision_notes
from layerprobe.probing.verdicts.sentence import Answer, decision_sentence
from layerprobe.store.decision import (
    BaselineRow,
    DecisionRecord,
    FloorRow,
    LookRow,
    PowerRow,
    SelectionRow,
    VarianceRow,
)


@dataclass(frozen=True)
class Decision:
    """The answer, its evidence and its limits.

    Attributes:
        options: metric, margin, error level and rule.
        level: error level of this look (`probing.looks`); the whole `options.alpha` where one look is planned.
        verdict: one of `store.decision.VERDICTS`.
        exploratory: whether one training seed stands behind it, and no training noise was stated.
        selection: the smallest one below the full model that is not worse, at equal depth the one with the highest
            metric; None if none was shown to be. It is there also where a baseline is better.
        full_depth: depth of the full model.
        sentence: the answer in words.
        selections: every studied selection, by depth, the full model (difference 0) last.
        baselines: the floors against the full model, by name.
        against_baselines: every selection against every floor.
        baseline: the floor to use, better than every selection; None where there is none.
        sequence: the selections that represent their depths, in the order of testing; empty by rule `simultaneous`.
        power: what these users and seeds can show.
        notes: what limits the answer.
        look: which look at these users it is; None outside a study.
    """

    options: DecisionOptions
    level: float
    verdict: str
    exploratory: bool
    selection: LayerSelection | None
    full_depth: int
    sentence: str
    selections: dict[LayerSelection, Comparison]
    floors: Baselines
    sequence: tuple[LayerSelection, ...]
    power: Power
    notes: tuple[str, ...]
    look: Look | None = None

    @property
    def depth(self) -> int | None:
        """Number of layers to keep; None if no smaller number was shown to be enough."""
        return None if self.selection is None else self.selection.depth

    @property
    def baselines(self) -> dict[str, Comparison]:
        """The floors against the full model, by name."""
        return self.floors.against_full

    @property
    def baseline(self) -> str | None:
        """The floor that is better than every selection; None where there is none."""
        return self.floors.winner

    @property
    def depths(self) -> dict[int, Comparison]:
        """The selections written `first:k`, by k."""
        return {
            selection.depth: comparison
            for selection, comparison in self.selections.items()
            if wording.keeps_first(selection.text)
        }

    def at(self, look: Look) -> Decision:
        """Returns the decision as a look: its sentence then says which one."""
        said = look_sentence(look, promises=not self.exploratory)
        return replace(self, look=look, sentence=f"{self.sentence} {said}" if said else self.sentence)

    def _look_row(self) -> LookRow | None:
        look = self.look
        if look is None:
            return None
        return LookRow(number=look.number, of=look.of, level=look.level, spent=look.spent)

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
            level=self.level,
            look=self._look_row(),
            verdict=self.verdict,
            exploratory=self.exploratory,
            baseline=self.baseline,
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
            against_baselines=tuple(
                BaselineRow(selection=selection.text, depth=selection.depth, baseline=name, **asdict(pair))
                for (selection, name), pair in self.floors.pairs.items()
            ),
            sequence=tuple(selection.text for selection in self.sequence),
            power=PowerRow(**{**asdict(self.power), "variance": VarianceRow(**asdict(self.power.variance))}),
            notes=(*self.notes, *notes),
            merged=tuple(merged),
        )


def decide(
    by_selection: Mapping[Kept, RankTables],
    baselines: Mapping[str, RankTables] | None = None,
    options: DecisionOptions | None = None,
    look: Look | None = None,
) -> Decision:
    """Decides by the four verdicts: use the baseline, keep k layers, undecided, the full model is needed.

    *Use the baseline*: one floor is better than every selection, by bounds that hold for all pairs of selection and
    floor. *Keep k layers*: the smallest depth that is not worse than the full model (`verdicts.judge`). *The full model
    is needed*: every smaller selection is worse by more than the margin. Else *undecided*.

    Args:
        by_selection: ranks per selection. A number k stands for `first:k`, as the text does; other texts need a
            `first:k` beside them that keeps all layers. The one that keeps all is the full model; where there are
            `first:k` alone, it is the largest. Several tables mean several training seeds, whose metric is averaged per
            user; with one, the decision is exploratory.
        baselines: ranks of the floors, by name.
        options: metric, margin and error.
        look: which look at these users it is, with its error level; None is the first, at the whole `options.alpha`.

    Returns:
        The decision, also where nothing passes.

    Raises:
        InputError: fewer than two selections, no single full model, ranks that lack the protocol `full` or the split
            `test`, users that differ from the full model's, or a full model whose metric is 0.
    """
    options = DecisionOptions() if options is None else options
    baselines = {} if baselines is None else baselines
    require_kind("options", options, DecisionOptions)
    require_kind("baselines", baselines, Mapping)
    if look is not None:
        require_kind("look", look, Look)
    require_mapping("by_selection", by_selection, "selections and ranks tables")
    for key in by_selection:
        require_kind("a selection", key, int, str, LayerSelection)
    full_key, tables = full_and_all(by_selection)
    level = options.alpha if look is None else look.level
    decision = weigh(Evidence.read(tables, full_key, baselines, options, level))
    return decision if look is None else decision.at(look)


def weigh(evidence: Evidence, asks_best: bool = True) -> Decision:
    """Decides on the models of one metric.

    Args:
        evidence: the models.
        asks_best: whether to find out which selections could be the best; a look at another metric does not need it.
    """
    judged, floors = judge(evidence), weigh_baselines(evidence)
    comparisons = judged.comparisons
    if asks_best:
        best = could_be_best(evidence)
        comparisons = {key: replace(row, could_be_best=key in best) for key, row in comparisons.items()}
    options, level, exploratory = evidence.options, evidence.level, evidence.is_exploratory
    answer = Answer(judged.chosen, comparisons, floors, options, level, judged.power, exploratory)
    return Decision(
        options=options,
        level=level,
        verdict=answer.verdict,
        exploratory=exploratory,
        selection=judged.chosen,
        full_depth=evidence.full_key.depth,
        sentence=decision_sentence(answer),
        selections=comparisons,
        floors=floors,
        sequence=judged.sequence,
        power=judged.power,
        notes=decision_notes(answer, judged.sequence),
    )

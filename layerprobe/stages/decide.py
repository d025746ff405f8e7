"""Stage decide: which layers to keep, the control arms, and how well cheap scores predicted the result.

Everything is computed from the stored ranks every time, so it always agrees with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import BudgetNotMet
from layerprobe.kinds import SASREC
from layerprobe.probing.budget import BudgetPick
from layerprobe.probing.controls import compare_control
from layerprobe.probing.decide import decide
from layerprobe.probing.looks import next_look
from layerprobe.probing.verdicts.robustness import robustness
from layerprobe.stages.curve import floor_ranks
from layerprobe.stages.tables.cost_fronts import weigh_costs
from layerprobe.stages.tables.predictiveness import write_predictiveness
from layerprobe.store.atomic import write_csv
from layerprobe.store.controls import ControlsRecord, write_controls
from layerprobe.store.decision import write_decision
from layerprobe.store.ledger import append_look, read_ledger
from layerprobe.store.ledger_lines import Found
from layerprobe.study.jobs.looks import asked_look
from layerprobe.study.study import Study
from layerprobe.sweep.complete import Complete, complete
from layerprobe.training.log import say
from layerprobe.training.model_folder import read_ranks


def run(study: Study) -> None:
    """Decides on the main process; all processes raise the same error or none.

    Raises:
        BudgetNotMet: no studied selection keeps the budget, or none was measured; everything else is written.
    """
    unmet = processes.agreed(lambda: _unmet_budget(study))
    if unmet is not None:
        raise BudgetNotMet(unmet)


def _unmet_budget(study: Study) -> str | None:
    """Decides, and returns why the budget is not kept; None where it is kept or not set."""
    try:
        decide_study(study)
    except BudgetNotMet as error:
        return str(error)
    return None


def decide_study(study: Study) -> None:
    """Writes `decision.json`: the smallest depth that is shown to be not worse than the full model.

    Where the study has control arms, `controls.json` compares every variant with its twin.

    Raises:
        BudgetNotMet: as `run`.
    """
    finished = complete(study)
    variants = {
        selection: _ranks_of(finished, partial(study.variant_folder, selection)) for selection in finished.selections
    }
    sasrec = [read_ranks(folder) for folder in _counted_floor(study.sasrec_folders, finished.seeds)]
    floors = {SASREC: sasrec, **floor_ranks(study)}
    trained = {SASREC: sasrec, **{selection.text: tables for selection, tables in variants.items()}}
    asked = asked_look(study, finished.seeds, trained)
    look = next_look(read_ledger(study.folder), asked)
    decision = decide(variants, floors, study.spec.decision, look)
    record = decision.record(merged=study.family.merged, notes=finished.notes)
    pick = weigh_costs(study, record, variants)
    found = Found(record.power.n_users, record.verdict, record.selection, record.depth, record.sentence)
    append_look(study.folder, asked, look.level, found)  # first, so that no decision is ever seen without its line
    write_decision(study.folder, replace(record, budget=None if pick is None else pick.record()))
    say(f"decision: {decision.sentence}")
    looks = robustness(variants, floors, study.spec.decision, study.spec.evaluation.ks, decision.level)
    write_csv(study.layout.robustness, looks)
    _compare_controls(finished, variants)
    write_predictiveness(study, variants)
    _require_met(study, pick)  # last, so that nothing else is lost


def _require_met(study: Study, pick: BudgetPick | None) -> None:
    """Prints the pick within the budget, where the study has one; raises where no selection keeps it."""
    if pick is not None:
        pick.require_met()
        say(f"budget: {pick.sentence}")
    elif study.spec.budget.limits:
        raise BudgetNotMet(
            f"a budget needs a measured selection, but no model fitted into memory to be measured: free memory and run "
            f"the same command again for {study.spec.budget.label}"
        )


def _counted_floor(folders: Mapping[int, Path], seeds: tuple[int, ...]) -> list[Path]:
    """Returns a baseline's folders of the compared seeds; one that was trained once is compared with every seed."""
    return list(folders.values()) if len(folders) == 1 else [folders[seed] for seed in seeds]


def _ranks_of(finished: Complete, folder: Callable[[int], Path]) -> list[pd.DataFrame]:
    """Returns the ranks of one selection, one table per compared seed."""
    return [read_ranks(folder(seed)) for seed in finished.seeds]


def _compare_controls(finished: Complete, variants: Mapping[LayerSelection, list[pd.DataFrame]]) -> None:
    """Writes `controls.json`; deletes an older one where the study has no control arm any more."""
    study = finished.study
    path, arms = study.layout.control_comparison, []
    for control in study.spec.probe.controls:
        pairs = {
            selection: (variants[selection], _ranks_of(finished, partial(study.control_folder, control, selection)))
            for selection in finished.twins(control)
        }
        if pairs:
            arms.append(compare_control(control, pairs, study.spec.decision))
            say(f"controls: {arms[-1].sentence}")
    if arms:
        write_controls(study.folder, ControlsRecord(controls=tuple(arm.record() for arm in arms)))
    else:
        path.unlink(missing_ok=True)

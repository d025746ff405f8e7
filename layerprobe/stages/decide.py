"""Stage decide: which layers to keep, the control arms, and how well cheap scores predicted the result.

Everything is computed from the stored ranks every time, so it always agrees with them.
"""

from __future__ import annotations

from dataclasses import replace

from layerprobe import processes
from layerprobe.errors import BudgetNotMet
from layerprobe.probing.budget import BudgetPick
from layerprobe.probing.decide import decide
from layerprobe.probing.looks import next_look
from layerprobe.probing.verdicts.robustness import robustness
from layerprobe.stages.tables.compared import Compared, compared
from layerprobe.stages.tables.cost_fronts import weigh_costs
from layerprobe.stages.tables.predictiveness import CheapScores, predictiveness_tables
from layerprobe.stages.teacher.cuts import cut_store
from layerprobe.store.atomic import write_csv
from layerprobe.store.controls import ControlsRecord, write_controls
from layerprobe.store.decision import write_decision
from layerprobe.store.ledger import append_look, read_ledger
from layerprobe.store.ledger_lines import Found
from layerprobe.store.rank_source import StoredRanks
from layerprobe.study.jobs.looks import asked_look
from layerprobe.study.study import Study
from layerprobe.sweep.complete import complete
from layerprobe.training.log import say


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
    ranks = compared(study.models, StoredRanks())
    asked = asked_look(study, ranks.seeds, ranks.trained)
    look = next_look(read_ledger(study.folder), asked)
    decision = decide(ranks.variants, ranks.floors, study.spec.decision, look)
    record = decision.record(merged=study.family.merged, notes=finished.notes)
    pick = weigh_costs(study, record, ranks.variants)
    found = Found(record.power.n_users, record.verdict, record.selection, record.depth, record.sentence)
    append_look(study.folder, asked, look.level, found)  # first, so that no decision is ever seen without its line
    write_decision(study.folder, replace(record, budget=None if pick is None else pick.record()))
    say(f"decision: {decision.sentence}")
    looks = robustness(ranks.variants, ranks.floors, study.spec.decision, study.spec.evaluation.ks, decision.level)
    write_csv(study.layout.robustness, looks)
    _compare_controls(study, ranks)
    _write_predictiveness(study, ranks)
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


def _compare_controls(study: Study, ranks: Compared) -> None:
    """Writes `controls.json`; deletes an older one where the study has no control arm any more."""
    arms = ranks.control_arms(study.spec.decision)
    for arm in arms:
        say(f"controls: {arm.sentence}")
    if arms:
        write_controls(study.folder, ControlsRecord(controls=tuple(arm.record() for arm in arms)))
    else:
        study.layout.control_comparison.unlink(missing_ok=True)


def _write_predictiveness(study: Study, ranks: Compared) -> None:
    """Writes `predictiveness.csv` and `predicted.csv`."""
    scores = CheapScores(study.layout, study.n_layers, cut_store(study).read_layers(), StoredRanks())
    table, points = predictiveness_tables(scores, ranks.variants, study.spec.decision, study.spec.evaluation.alpha)
    write_csv(study.layout.predicted, points)
    write_csv(study.layout.predictiveness, table)

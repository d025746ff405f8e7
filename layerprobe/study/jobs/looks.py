"""What a study asks of its test users: the plan and the looks of its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from layerprobe.store.ledger import append_plan
from layerprobe.store.ledger_lines import Asked
from layerprobe.study.asked import asked_options, hash_ranks
from layerprobe.study.study import Study


def write_plan(study: Study) -> None:
    """Records, before a model is trained, by which options, seeds and selections the study will decide."""
    seeds = tuple(study.spec.probe.seeds)
    append_plan(study.folder, asked_options(study.spec.decision), seeds, study.asked_selections)


def asked_look(study: Study, seeds: tuple[int, ...], ranks: Mapping[str, Sequence[pd.DataFrame]]) -> Asked:
    """Returns what tells this look from others.

    Args:
        study: its options and selections.
        seeds: training seeds that are compared.
        ranks: tables of every trained model, one per seed, by name.
    """
    return Asked(asked_options(study.spec.decision), seeds, study.asked_selections, hash_ranks(ranks))

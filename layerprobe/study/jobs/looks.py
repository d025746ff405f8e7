"""What a study asks of its test users: the plan and the looks of its ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.evaluation.ranks import FULL
from layerprobe.store.ledger import append_plan
from layerprobe.store.ledger_lines import Asked
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study

COMPARED = (columns.USER, columns.TARGET, columns.N_HIGHER, columns.N_TIES)


def write_plan(study: Study) -> None:
    """Records, before a model is trained, by which options, seeds and selections the study will decide."""
    seeds = tuple(study.spec.probe.seeds)
    append_plan(study.folder, _options(study), seeds, study.asked_selections)


def asked_look(study: Study, seeds: tuple[int, ...], ranks: Mapping[str, Sequence[pd.DataFrame]]) -> Asked:
    """Returns what tells this look from others.

    Args:
        study: its options and selections.
        seeds: training seeds that are compared.
        ranks: tables of every trained model, one per seed, by name.
    """
    return Asked(_options(study), seeds, study.asked_selections, hash_ranks(ranks))


def hash_ranks(ranks: Mapping[str, Sequence[pd.DataFrame]]) -> str:
    """Returns the SHA-256 of who was ranked how: test targets among the whole catalogue, by user."""
    digest = hashlib.sha256()
    for name, tables in sorted(ranks.items()):
        for table in tables:
            test = table.loc[(table[columns.SPLIT] == "test") & (table[columns.PROTOCOL] == FULL)]
            rows = test.iloc[np.argsort(test[columns.USER].to_numpy(), kind="stable")]
            digest.update(name.encode())
            for column in COMPARED:
                digest.update(np.ascontiguousarray(rows[column].to_numpy(), dtype="<i8").data)
    return digest.hexdigest()


def _options(study: Study) -> dict[str, object]:
    """Returns the options of the decision; a noise that is not stated is left out, as older versions did."""
    options = to_plain(study.spec.decision)
    return {name: value for name, value in options.items() if name != "prior_noise" or value}

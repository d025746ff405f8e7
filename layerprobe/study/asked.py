"""What a decision asks of the test users, as the ledger records it: its options, and a hash of the ranks.

Takes plain values and needs no torch, so the ledger of a published report is checked by the same rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.store.records import plain_of

COMPARED = (columns.USER, columns.TARGET, columns.N_HIGHER, columns.N_TIES)


def asked_options(options: DecisionOptions) -> dict[str, object]:
    """Returns the options of the decision; a noise that is not stated is left out, as older versions did."""
    return {name: value for name, value in plain_of(options).items() if name != "prior_noise" or value}


def hash_ranks(ranks: Mapping[str, Sequence[pd.DataFrame]]) -> str:
    """Returns the SHA-256 of who was ranked how: test targets among the whole catalogue, by user.

    Args:
        ranks: tables of every trained model, one per seed, by name.
    """
    digest = hashlib.sha256()
    for name, tables in sorted(ranks.items()):
        for table in tables:
            test = table.loc[(table[columns.SPLIT] == "test") & (table[columns.PROTOCOL] == columns.FULL)]
            rows = test.iloc[np.argsort(test[columns.USER].to_numpy(), kind="stable")]
            digest.update(name.encode())
            for column in COMPARED:
                digest.update(np.ascontiguousarray(rows[column].to_numpy(), dtype="<i8").data)
    return digest.hexdigest()

"""What can mislead a similarity measure, per state: outlier rows and rogue dimensions, as numbers in `states.csv`.

A few rows with a huge coordinate raise CKA towards 1 whatever the others do (Davari et al. 2022, arXiv 2210.16156); a
coordinate that is large in every row does the same to plain cosines (Timkey and van Schijndel 2021, arXiv 2109.04404).
"""

from __future__ import annotations

import pandas as pd
import torch

from layerprobe import columns
from layerprobe.similarity.states import States, as_states

OUTLIER = 10.0
"""A row is an outlier when its squared distance from the mean row is this many times the median one."""
ROGUE = 0.1
"""A dimension is rogue when it alone adds more than this to the cosine of two random rows."""


def state_table(hidden: States) -> pd.DataFrame:
    """Returns one row per state with the columns `columns.STATES`.

    - `outlier_rows`: share of rows whose squared distance from the mean row is over 10 times the median;
      `outlier_spread`: their share of the sum of squared distances. Few rows with much of the spread: read CKA of such
      a state as CKA of those rows.
    - `mean_cosine`: mean cosine of two different rows of the same state, 0 where rows point everywhere.
      `rogue_dims`: dimensions that each add more than .1 to it; `rogue_share`: the part of the largest dimension in
      the sum over all of them. Near 1: plain cosines and block influence see that dimension and little else.

    Args:
        hidden: states 0..L, [L + 1, rows, dim], at least 2 rows.

    Raises:
        InputError: values that are not finite, or fewer than 2 rows.
    """
    rows = [_facts(layer, state) for layer, state in enumerate(as_states(hidden, min_rows=2))]
    return pd.DataFrame(rows, columns=list(columns.STATES))


def _facts(layer: int, state: torch.Tensor) -> dict[str, float]:
    n, dim = state.shape
    # No number below depends on the scale, and squares of huge entries would overflow.
    state = state / state.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    distances = (state - state.mean(dim=0)).square().sum(dim=1)  # [rows]
    outlier = distances > OUTLIER * distances.median()
    total = float(distances.sum())
    lengths = state.norm(dim=1, keepdim=True)  # [rows, 1]
    # The mean cosine of all pairs of rows is the squared norm of the mean unit row, so it splits over dimensions.
    added = (state / lengths.where(lengths > 0, 1)).mean(dim=0).square()  # [dim]
    together = float(added.sum())
    return {
        columns.LAYER: layer,
        columns.N_ROWS: n,
        columns.DIM: dim,
        columns.OUTLIER_ROWS: float(outlier.double().mean()),
        columns.OUTLIER_SPREAD: float(distances[outlier].sum()) / total if total else 0.0,
        columns.ROGUE_DIMS: int((added > ROGUE).sum()),
        columns.ROGUE_SHARE: float(added.max()) / together if together else 0.0,
        columns.MEAN_COSINE: (n * together - 1) / (n - 1),  # without each row's cosine with itself, which is 1
    }

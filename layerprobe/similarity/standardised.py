"""The cosine that ignores the scale of each dimension: rows are compared after every dimension has variance 1."""

from __future__ import annotations

import torch

from layerprobe.similarity.centring import centred_states
from layerprobe.similarity.pairing import FIRST_WITH_SECOND
from layerprobe.similarity.states import Pairs, PairScores, States
from layerprobe.similarity.vectors import mean_cosines, require_one_dim, unit_states


def standardised_cosine(x: torch.Tensor, y: torch.Tensor) -> float:
    """Returns the mean cosine of `x[i]` and `y[i]` once each dimension has mean 0 and variance 1 over rows, in [-1, 1].

    Why: a residual stream is read through a normalisation whose gain scales each dimension, so the size of a dimension
    says little about its effect. The plain cosine sees the large dimensions, the centred one the large ones that vary;
    here every dimension that varies counts equally, and a gain and offset per dimension change nothing.

    Pitfall: dimensions that hardly vary count as much as the others, and so does noise in them.

    Source: our own; the remedy of Timkey and van Schijndel 2021, arXiv 2109.04404, who standardise.

    Args:
        x: state [rows, dim], at least 2 rows.
        y: another state with the same rows and dim.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a constant state, or a row equal to the mean.

    >>> x = torch.tensor([[1.0, 100.0], [-1.0, 300.0]])
    >>> standardised_cosine(x, x * torch.tensor([5.0, 0.01]) + 7)  # another scale and offset for each dimension
    1.0
    """
    return float(standardised_cosine_pairs([x, y], FIRST_WITH_SECOND).estimates[0])


def standardised_cosine_pairs(hidden: States, pairs: Pairs | None = None) -> PairScores:
    """Returns the standardised mean cosine of the pairs of states with its per-row values, means and scales held fixed.

    Args:
        hidden: states [S, rows, dim], at least 2 rows.
        pairs: the pairs to score; None for all pairs a <= b.

    Raises:
        InputError: as for `standardised_cosine`; or pairs of states that do not exist.
    """
    states = centred_states(hidden, 2, "a standardised cosine")
    require_one_dim(states)
    lengths = [state.norm(dim=0) for state in states]  # [dim] each; a constant dimension has 0 and stays 0
    scaled = [state / length.where(length > 0, 1) for state, length in zip(states, lengths, strict=True)]
    return mean_cosines(unit_states(scaled), pairs)

"""Whether the spread of a measure's row parts is the spread of the measure over fresh users."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe.similarity.distances import rsa_pairs
from layerprobe.similarity.neighbours import cknna_pairs, mutual_knn_pairs
from layerprobe.similarity.subspace import procrustes_pairs, pwcca_pairs, svcca_pairs
from layerprobe.similarity.vectors import angular_pairs, centred_cosine_pairs, cosine_pairs

PAIR = torch.tensor([0]), torch.tensor([1])


def fresh_states(n_rows: int, seed: int) -> list[torch.Tensor]:
    """Gaussian rows in 5 dims, correlated between the states by the same maps for every seed."""
    draw, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    x, noise = torch.randn(2, n_rows, 5, generator=draw, dtype=torch.float64)
    turn, scale = torch.randn(2, 5, 5, generator=fixed, dtype=torch.float64)
    return [x + 0.3, x + 0.4 * x @ turn + 0.6 * noise @ scale]


@pytest.mark.parametrize(
    ("of_pairs", "low", "high"),
    [
        (cosine_pairs, 0.85, 1.2),
        (centred_cosine_pairs, 0.85, 1.2),
        (angular_pairs, 0.85, 1.2),
        (rsa_pairs, 0.8, 1.2),
        (mutual_knn_pairs, 1.0, 1.5),
        (cknna_pairs, 1.0, 1.5),
        (procrustes_pairs, 0.8, 1.2),
        (svcca_pairs, 0.8, 1.2),
        (pwcca_pairs, 0.8, 1.2),
    ],
)
def test_standard_errors_from_row_parts_agree_with_the_spread_over_samples(of_pairs, low: float, high: float) -> None:
    """200 samples give the spread itself with a standard error of 5 %."""
    n_rows = 120
    scores = [of_pairs(fresh_states(n_rows, seed), PAIR) for seed in range(200)]
    estimates = np.array([score.estimates[0] for score in scores])
    errors = [score.row_parts[:, 0].std(ddof=1) / n_rows**0.5 for score in scores]
    ratio = np.mean(errors) / estimates.std(ddof=1)
    assert low < ratio < high
    centre = np.mean([score.row_parts[:, 0].mean() for score in scores])
    assert centre == pytest.approx(estimates.mean(), abs=0.01)

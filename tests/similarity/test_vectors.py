"""Row-wise measures: their laws, edge values and a float64 definition written here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.vectors import (
    angular_distance,
    angular_pairs,
    block_influence,
    centred_cosine,
    centred_cosine_pairs,
    cosine,
    cosine_pairs,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_cosines(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    return [
        math.fsum(a * b for a, b in zip(u, v, strict=True)) / (math.hypot(*u) * math.hypot(*v))
        for u, v in zip(x.tolist(), y.tolist(), strict=True)
    ]


def test_cosine_and_angle_equal_their_definitions() -> None:
    x, y = normal(40, 6), normal(40, 6, seed=1) + 0.5
    expected = slow_cosines(x, y)
    assert cosine(x, y) == pytest.approx(np.mean(expected), abs=1e-14)
    assert angular_distance(x, y) == pytest.approx(np.mean([math.acos(c) / math.pi for c in expected]), abs=1e-14)
    centred = slow_cosines(x - x.mean(dim=0), y - y.mean(dim=0))
    assert centred_cosine(x, y) == pytest.approx(np.mean(centred), abs=1e-14)


def test_all_pairs_equal_the_single_pairs_and_their_rows() -> None:
    hidden = normal(3, 20, 5) + 0.3
    scores = cosine_pairs(hidden)
    for position, (a, b) in enumerate([(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]):
        assert scores.estimates[position] == pytest.approx(cosine(hidden[a], hidden[b]), abs=1e-15)
        np.testing.assert_allclose(
            scores.row_parts[:, position], slow_cosines(hidden[a], hidden[b]), rtol=0, atol=1e-14
        )


def slow_angles(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    return [math.acos(c) / math.pi for c in slow_cosines(x, y)]


def slow_centred(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    return slow_cosines(x - x.mean(dim=0), y - y.mean(dim=0))


PAIR_FORMS = [
    (cosine_pairs, cosine, slow_cosines),
    (centred_cosine_pairs, centred_cosine, slow_centred),
    (angular_pairs, angular_distance, slow_angles),
]


@pytest.mark.parametrize(("of_pairs", "plain", "slow_rows"), PAIR_FORMS)
def test_pairs_asked_for_come_in_their_order(of_pairs, plain, slow_rows) -> None:
    hidden = normal(4, 20, 5) + 0.3
    asked = [(3, 0), (1, 2), (1, 2), (0, 3)]
    scores = of_pairs(hidden, (torch.tensor([a for a, _ in asked]), torch.tensor([b for _, b in asked])))
    assert scores.row_parts.shape == (20, 4)
    for position, (a, b) in enumerate(asked):
        assert scores.estimates[position] == pytest.approx(plain(hidden[a], hidden[b]), abs=1e-15)
        expected = slow_rows(hidden[a], hidden[b])
        np.testing.assert_allclose(scores.row_parts[:, position], expected, rtol=0, atol=1e-14)
    assert of_pairs(hidden).estimates.shape == (10,)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0, 4], [1, 1], "pairs must name states 0 to 3; got state 4"),
        ([0], [-1], "pairs must name states 0 to 3; got state -1"),
        ([], [], "at least one each; got shapes (0,) and (0,)"),
    ],
)
def test_refuses_pairs_of_states_that_are_not_there(first: list[int], second: list[int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        cosine_pairs(normal(4, 20, 5), (torch.tensor(first), torch.tensor(second)))
    assert message in str(caught.value)


def test_equal_states_are_exactly_alike_and_opposite_ones_exactly_opposite() -> None:
    x = normal(512, 64).float()
    assert cosine(x, x) == 1.0
    assert centred_cosine(x, x) == 1.0
    assert angular_distance(x, x) == 0.0
    assert angular_distance(x, -x) == 1.0
    opposite = cosine_pairs([x, -x]).row_parts[:, 1]
    np.testing.assert_allclose(opposite, -1.0, rtol=0, atol=1e-15)
    assert opposite.min() == -1.0


def test_nearly_equal_states_keep_their_angle() -> None:
    angle = 1e-9  # 1 - cos is 5e-19: arccos of the rounded cosine would be 0
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert angular_distance(x, y) == pytest.approx(angle / math.pi, rel=1e-6)
    noisy = normal(512, 64) + 1e-9 * normal(512, 64, seed=1)
    assert 0 < angular_distance(normal(512, 64), noisy) < 1e-8


def test_rotation_and_scale_change_nothing() -> None:
    x, y = normal(50, 8), normal(50, 8, seed=1) + 0.4
    turn = torch.linalg.qr(normal(8, 8, seed=2))[0]
    for measure in (cosine, centred_cosine, angular_distance):
        assert measure(3 * x @ turn, 1e-200 * (y @ turn)) == pytest.approx(measure(x, y), abs=1e-14)
        assert measure(y, x) == pytest.approx(measure(x, y), abs=1e-15)


def test_a_coordinate_shared_by_all_rows_fools_the_plain_cosine_only() -> None:
    x, y = normal(512, 896), normal(512, 896, seed=1)
    x[:, 0], y[:, 0] = 100.0, 100.0
    assert cosine(x, y) == pytest.approx(100**2 / (100**2 + 896), abs=0.01)  # .92
    assert abs(centred_cosine(x, y)) < 0.01


def test_block_influence_is_one_minus_the_mean_cosine_of_neighbours() -> None:
    hidden = normal(4, 30, 7) + 0.5
    expected = [1 - np.mean(slow_cosines(hidden[i], hidden[i + 1])) for i in range(3)]
    np.testing.assert_allclose(block_influence(hidden), expected, rtol=0, atol=1e-14)


def test_an_identity_layer_and_a_scaling_layer_have_no_influence() -> None:
    x = normal(30, 7).float()
    influence = block_influence(torch.stack([x, x, 4 * x, x.flip(0)]))
    assert influence[:2].tolist() == [0.0, 0.0]
    assert influence[2] > 0.5


def test_no_layer_has_no_influence_to_report() -> None:
    assert block_influence(normal(1, 5, 3)).shape == (0,)


def test_half_precision_states_are_cast_up_before_any_product() -> None:
    x = normal(100, 32).bfloat16()
    y = (x.float() + 0.01 * normal(100, 32, seed=1).float()).bfloat16()
    assert cosine(x, y) == cosine(x.double(), y.double())
    assert angular_distance(x, y) == angular_distance(x.double(), y.double())


WITH_ZEROS = normal(10, 3)
WITH_ZEROS[[2, 5]] = 0.0
GOOD = normal(10, 3)
REFUSED = [
    (GOOD, WITH_ZEROS, "state 1 has 2 zero vectors of 10 rows"),
    (torch.zeros(10, 3), GOOD, "state 0 has 10 zero vectors of 10 rows"),
    (GOOD, normal(10, 4), "the same dim; got [3, 4]"),
    (GOOD, normal(9, 3), "same rows; got row counts [9, 10]"),
    (normal(0, 3), normal(0, 3), "at least 1 rows; got 0"),
    (GOOD, GOOD * float("inf"), "state 1 holds 30 NaN or infinite values of 30"),
]


@pytest.mark.parametrize(
    "measure",
    [cosine, angular_distance, *(lambda x, y, f=f: f([x, y]) for f in (block_influence, cosine_pairs, angular_pairs))],
)
@pytest.mark.parametrize(("x", "y", "message"), REFUSED)
def test_refuses_with_the_numbers(measure, x: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        measure(x, y)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_centred_cosine_refuses_rows_equal_to_the_mean_and_a_single_row() -> None:
    with pytest.raises(InputError, match="state 1 has 10 rows equal to the mean row of 10 rows"):
        centred_cosine(GOOD, torch.tensor([0.1, 0.3, 0.7]).expand(10, 3))  # their mean is off by rounding
    with pytest.raises(InputError, match="at least 2 rows; got 1"):
        centred_cosine(GOOD[:1], GOOD[:1])
    with pytest.raises(InputError, match="at least 2 rows; got 1"):
        centred_cosine_pairs([GOOD[:1], GOOD[:1]])

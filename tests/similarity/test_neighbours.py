"""RSA, mutual kNN and CKNNA: their laws, their ties, and slow definitions written here on their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from layerprobe.errors import InputError
from layerprobe.similarity.cka import linear_cka
from layerprobe.similarity.distances import rsa, rsa_pairs
from layerprobe.similarity.neighbours import cknna, cknna_pairs, mutual_knn, mutual_knn_pairs


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n_rows: int, *dims: int, seed: int = 0) -> list[torch.Tensor]:
    """States of different dims that share 3 directions, with a mean far from 0."""
    common = normal(n_rows, 3, seed=seed)
    return [
        common @ normal(3, dim, seed=seed + 10 + i) + 0.7 * normal(n_rows, dim, seed=seed + 20 + i) + 1.0
        for i, dim in enumerate(dims)
    ]


def orthogonal(dim: int) -> torch.Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=9))[0]


def slow_rsa(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(spearmanr(pdist(x.numpy()), pdist(y.numpy())).statistic)


def slow_cosines(x: torch.Tensor) -> np.ndarray:
    rows = [row / np.linalg.norm(row) for row in x.numpy()]
    return np.array([[float(u @ v) for v in rows] for u in rows])


def slow_lists(x: torch.Tensor) -> list[list[int]]:
    """All other rows from the nearest on."""
    cosines = slow_cosines(x)
    return [sorted((j for j in range(len(x)) if j != i), key=lambda j: -cosines[i, j]) for i in range(len(x))]


def slow_overlap(lists_x: list[list[int]], lists_y: list[list[int]], k: int) -> float:
    return float(np.mean([len(set(a[:k]) & set(b[:k])) / k for a, b in zip(lists_x, lists_y, strict=True)]))


def slow_mutual_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    return slow_overlap(slow_lists(x), slow_lists(y), k)


def slow_cknna(x: torch.Tensor, y: torch.Tensor, k: int, skip: int | None = None) -> float:
    """Sums over pairs of rows (i, j), without those of row `skip`; U-centring entry by entry."""
    n = len(x)

    def u_centred(cosines: np.ndarray) -> np.ndarray:
        off = cosines * (1 - np.eye(n))
        column, total = off.sum(axis=0), off.sum()
        return np.array(
            [
                [off[i, j] - (column[i] + column[j]) / (n - 2) + total / ((n - 1) * (n - 2)) for j in range(n)]
                for i in range(n)
            ]
        )

    def aligned(p: tuple[np.ndarray, list[list[int]]], q: tuple[np.ndarray, list[list[int]]]) -> float:
        mutual = [(i, j) for i in range(n) for j in p[1][i][:k] if j in q[1][i][:k] and skip not in (i, j)]
        return sum(p[0][i, j] * q[0][i, j] for i, j in mutual)

    a, b = ((u_centred(slow_cosines(state)), slow_lists(state)) for state in (x, y))
    return aligned(a, b) / (aligned(a, a) * aligned(b, b)) ** 0.5


@pytest.mark.parametrize(("n_rows", "k"), [(4, 1), (4, 2), (25, 3), (25, 10), (25, 23)])
def test_values_equal_their_slow_definitions(n_rows: int, k: int) -> None:
    x, y = related(n_rows, 4, 30)
    assert rsa(x, y) == pytest.approx(slow_rsa(x, y), abs=1e-12)
    assert mutual_knn(x, y, k) == pytest.approx(slow_mutual_knn(x, y, k), abs=1e-14)
    assert cknna(x, y, k) == pytest.approx(slow_cknna(x, y, k), abs=1e-12)


@pytest.mark.parametrize(
    ("of_pairs", "plain"),
    [(rsa_pairs, rsa), (mutual_knn_pairs, mutual_knn), (cknna_pairs, cknna)],
)
def test_pairs_of_states_of_different_dims_equal_the_plain_form(of_pairs, plain) -> None:
    states = related(40, 4, 7, 60)
    asked = [(2, 0), (0, 2), (1, 1), (2, 1)]
    scores = of_pairs(states, (torch.tensor([a for a, _ in asked]), torch.tensor([b for _, b in asked])))
    assert scores.row_parts.shape == (40, 4)
    for position, (a, b) in enumerate(asked):
        assert scores.estimates[position] == plain(states[a], states[b])
    assert scores.estimates[0] == pytest.approx(scores.estimates[1], abs=1e-14)
    assert 0.05 < scores.estimates[0] < 0.95
    assert of_pairs(states).estimates.shape == (6,)


def test_k_is_ten_unless_said_otherwise() -> None:
    x, y = related(60, 4, 5)
    assert mutual_knn(x, y) == mutual_knn(x, y, 10) != mutual_knn(x, y, 9)
    assert cknna(x, y) == cknna(x, y, 10) != cknna(x, y, 9)
    third = torch.tensor([0]), torch.tensor([1])
    assert mutual_knn_pairs([x, y], third, 3).estimates[0] == mutual_knn(x, y, 3)
    assert cknna_pairs([x, y], third, 3).estimates[0] == cknna(x, y, 3)


def test_rsa_is_invariant_to_rotation_scale_and_shift_and_changes_of_order_only() -> None:
    x, y = related(80, 6, 9)
    moved = 1e-200 * (y @ orthogonal(9) + 7.0)
    assert rsa(y, moved) == pytest.approx(1.0, abs=1e-9)
    assert rsa(x, moved) == pytest.approx(rsa(x, y), abs=1e-9)
    assert rsa(x[:, :1], -(x[:, :1])) == pytest.approx(1.0, abs=1e-12)
    assert rsa(y, x) == pytest.approx(rsa(x, y), abs=1e-14)
    stretched = y * torch.tensor([20.0] + [1.0] * 8)
    assert abs(rsa(x, stretched) - rsa(x, y)) > 0.05


@pytest.mark.parametrize("measure", [mutual_knn, cknna])
def test_neighbours_do_not_see_rotation_and_row_lengths_but_a_shift(measure) -> None:
    x, y = related(80, 6, 9)
    lengths = normal(80, 1, seed=4).exp()
    moved = 1e-200 * lengths * (y @ orthogonal(9))
    assert measure(y, moved) == pytest.approx(1.0, abs=1e-12)
    assert measure(x, moved) == pytest.approx(measure(x, y), abs=1e-9)
    assert measure(y, x) == pytest.approx(measure(x, y), abs=1e-14)
    assert measure(y, y + 5.0) < 0.99


def test_cknna_of_all_rows_but_one_as_neighbours_nears_the_cka_of_normalised_rows() -> None:
    x, y = related(60, 6, 9)
    units = [state / state.norm(dim=1, keepdim=True) for state in (x, y)]
    assert cknna(x, y, k=58) == pytest.approx(linear_cka(*units), abs=0.03)
    assert abs(cknna(x, y, k=5) - linear_cka(*units)) > 0.05


@pytest.mark.parametrize("of_pairs", [rsa_pairs, mutual_knn_pairs, cknna_pairs])
def test_equal_states_read_one_and_so_does_each_row(of_pairs) -> None:
    x = normal(50, 6).float()
    scores = of_pairs([x, x.clone(), 2 * x])
    np.testing.assert_allclose(scores.estimates, 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.row_parts, 1.0, rtol=0, atol=1e-10)


def test_independent_states_read_chance() -> None:
    n_rows, k = 120, 10
    pairs = [(normal(n_rows, 40, seed=s), normal(n_rows, 40, seed=s + 100)) for s in range(30)]
    assert np.mean([rsa(x, y) for x, y in pairs]) == pytest.approx(0.0, abs=0.01)
    chance = k / (n_rows - 1)  # .084
    assert np.mean([mutual_knn(x, y, k) for x, y in pairs]) == pytest.approx(chance, abs=0.006)
    assert np.mean([cknna(x, y, k) for x, y in pairs]) == pytest.approx(chance, abs=0.006)


def test_rsa_ranks_of_an_outlier_do_not_blur_the_others() -> None:
    """A row 1e6 away sets the scale of all sums; distances between the others still have their own ranks."""
    x, y = related(60, 5, 8)
    x[0] += 1e6
    assert rsa(x, y) == pytest.approx(slow_rsa(x, y), abs=1e-12)


def grid() -> torch.Tensor:
    """36 points of a square grid and the first 12 again: most distances tie."""
    points = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)).double()
    return torch.cat([points, points[:12]])


def test_rsa_shares_ranks_among_distances_that_tie_but_for_rounding() -> None:
    x, y = grid(), normal(48, 3)
    exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square().round()
    first, second = np.triu_indices(48, 1)
    expected = float(spearmanr(exact.numpy()[first, second], pdist(y.numpy())).statistic)
    assert rsa(x, y) == pytest.approx(expected, abs=1e-12)
    turned = x @ orthogonal(2) + 0.1  # equal distances now differ in their last digits
    assert rsa(turned, y) == pytest.approx(expected, abs=1e-12)
    assert rsa(x, turned) == pytest.approx(1.0, abs=1e-12)


def test_neighbours_that_tie_fall_to_the_lower_row_even_after_rounding() -> None:
    x = torch.cartesian_prod(*[torch.tensor([1.0, -1.0]).double()] * 6)  # 6 rows at cosine 4/6, 15 at 2/6
    turned = x @ orthogonal(6) * 0.1  # equal cosines now differ in their last digits
    assert mutual_knn(x, turned, k=10) == 1.0
    assert cknna(x, turned, k=10) == pytest.approx(1.0, abs=1e-12)
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    # nearest of 0: 1 before 3; of 1: 0 before 2; of 2: 1 before 3; of 3: 0 before 2
    other = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [1.0, -0.2]])
    # nearest of 0: 1; of 1: 0; of 2: 1; of 3: 0
    assert mutual_knn(square, other, k=1) == 1.0
    reversed_rows = mutual_knn(square.flip(0), other.flip(0), k=1)
    # square.flip(0) is a square again: 0: 1, 1: 0, 2: 1, 3: 0; other.flip(0): 3: 2, 2: 3, 1: 2, 0: 3
    assert reversed_rows == 0.0


def test_slices_of_rows_do_not_change_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    states = related(50, 4, 60)
    whole = mutual_knn_pairs(states), cknna_pairs(states)
    monkeypatch.setattr("layerprobe.similarity.neighbours._ENTRIES", 50 * 7)  # slices of 7 rows, the last of 1
    for before, after in zip(whole, (mutual_knn_pairs(states), cknna_pairs(states)), strict=True):
        np.testing.assert_allclose(after.row_parts, before.row_parts, rtol=0, atol=1e-12)


def test_half_precision_states_are_cast_up_before_any_product() -> None:
    x, y = (state.bfloat16() for state in related(60, 6, 9))
    for measure in (rsa, mutual_knn, cknna):
        assert measure(x, y) == measure(x.double(), y.double())


def test_rsa_parts_are_the_ones_of_leaving_each_row_out_with_fixed_ranks() -> None:
    n = 12
    x, y = related(n, 3, 20)
    scores = rsa_pairs([x, y], (torch.tensor([0]), torch.tensor([1])))
    first, second = np.triu_indices(n, 1)
    ranks = [pdist(state.numpy()).argsort().argsort() for state in (x, y)]
    for row in range(n):
        left = (first != row) & (second != row)
        without = np.corrcoef(ranks[0][left], ranks[1][left])[0, 1]
        assert scores.row_parts[row, 0] == pytest.approx(n * scores.estimates[0] - (n - 1) * without, abs=1e-10)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_mutual_knn_parts_are_the_shifted_ones_of_leaving_each_row_out(k: int) -> None:
    n = 12
    x, y = related(n, 3, 20)
    scores = mutual_knn_pairs([x, y], (torch.tensor([0]), torch.tensor([1])), k)
    pseudo = []
    for row in range(n):
        lists = [[[j for j in near if j != row] for i, near in enumerate(slow_lists(s)) if i != row] for s in (x, y)]
        pseudo.append(n * scores.estimates[0] - (n - 1) * slow_overlap(lists[0], lists[1], k))
    expected = np.array(pseudo) - np.mean(pseudo) + scores.estimates[0]
    np.testing.assert_allclose(scores.row_parts[:, 0], expected, rtol=0, atol=1e-12)


def test_cknna_parts_are_the_ones_of_leaving_out_the_terms_of_each_row() -> None:
    n, k = 12, 4
    x, y = related(n, 3, 20)
    scores = cknna_pairs([x, y], (torch.tensor([0]), torch.tensor([1])), k)
    for row in range(n):
        expected = n * scores.estimates[0] - (n - 1) * slow_cknna(x, y, k, skip=row)
        assert scores.row_parts[row, 0] == pytest.approx(expected, abs=1e-10)


GOOD = normal(15, 3)
CONSTANT = torch.tensor([0.1, 0.3, 0.7]).expand(15, 3)
ALL = [rsa, mutual_knn, cknna]
NEAR = [mutual_knn, cknna]
WITH_ZERO = torch.cat([GOOD[:14], torch.zeros(1, 3)])
FAR = torch.cat([torch.eye(14), torch.full((1, 14), 0.3)]).double()  # all rows but the last equally far and alike
FAR[14, 0] = 5.0
STAR = torch.cat([torch.eye(14), torch.ones(1, 14)])  # the last row is the nearest of all others
REFUSED = [
    (ALL, [normal(3, 2), normal(3, 2)], {}, "at least 4 rows; got 3"),
    (ALL, [normal(0, 2), normal(0, 2)], {}, "at least 4 rows; got 0"),
    (ALL, [GOOD, normal(14, 3)], {}, "same rows; got row counts [14, 15]"),
    (ALL, [GOOD, GOOD * float("nan")], {}, "state 1 holds 45 NaN or infinite values of 45"),
    (ALL, [GOOD / 0, GOOD], {}, "state 0 holds 45 NaN or infinite values of 45"),
    ([rsa], [GOOD, CONSTANT], {}, "state 1 is constant over its 15 rows"),
    ([rsa], [torch.zeros(15, 3), GOOD], {}, "state 0 is constant over its 15 rows"),
    ([rsa], [GOOD, torch.eye(15)], {}, "the 15 rows of state 1 are all equally far apart"),
    ([rsa], [GOOD, FAR], {}, "in state 1 all of 15 rows but one are equally far apart"),
    (NEAR, [GOOD, CONSTANT], {}, "in state 1 all 15 rows are equally similar"),
    (NEAR, [GOOD, torch.eye(15)], {}, "in state 1 all 15 rows are equally similar"),
    ([cknna], [GOOD, STAR], {"k": 1}, "those of state 1 do, with k 1 and 15 rows"),
    (NEAR, [GOOD, WITH_ZERO], {}, "state 1 has 1 zero vectors of 15 rows"),
    (NEAR, [GOOD, GOOD], {"k": 0}, "k must lie between 1 and rows - 2 = 13"),
    (NEAR, [GOOD, GOOD], {"k": 14}, "got k 14 for 15 rows"),
    (NEAR, [GOOD, GOOD], {"k": 15}, "got k 15 for 15 rows"),
    (NEAR, [GOOD[:11], GOOD[:11]], {}, "got k 10 for 11 rows"),
]
CASES = [(measure, *case) for measures, *case in REFUSED for measure in measures]


@pytest.mark.parametrize(("measure", "states", "options", "message"), CASES)
def test_refuses_with_the_numbers(measure, states: list[torch.Tensor], options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        measure(*states, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measure", ALL)
def test_constant_columns_change_nothing(measure) -> None:
    x, y = related(30, 4, 6)
    wide = torch.cat([x, torch.zeros(30, 2)], dim=1)
    assert measure(wide, y) == pytest.approx(measure(x, y), abs=1e-12)


def test_rsa_does_not_see_columns_that_are_constant_and_large() -> None:
    x, y = related(30, 4, 6)
    wide = torch.cat([x, torch.full((30, 2), 1234.567)], dim=1)
    assert rsa(wide, y) == pytest.approx(rsa(x, y), abs=1e-12)

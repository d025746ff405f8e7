"""The error of a mean over training seeds and users, by its sources."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import SeedNoise, TrainingNoise, mean_error, seeded_intervals, shared_noise
from layerprobe.evaluation.uncertainty import simultaneous_bounds


def crossed(
    shape: tuple[int, int, int], users: float, seeds: float, joint: float, generator: np.random.Generator
) -> np.ndarray:
    """Draws values [seeds, users, columns] of mean 0 with these standard deviations by source."""
    n_seeds, n_users, n_columns = shape
    return (
        users * generator.standard_normal((1, n_users, n_columns))
        + seeds * generator.standard_normal((n_seeds, 1, n_columns))
        + joint * generator.standard_normal(shape)
    )


def test_sources_are_those_of_a_two_way_analysis_of_variance() -> None:
    # By the sums of squares of a table of 3 seeds and 4 users, added up cell by cell.
    cells = np.array([[1.0, 4.0, 2.0, 5.0], [2.0, 6.0, 1.0, 7.0], [3.0, 8.0, 3.0, 8.0]])
    mean = cells.mean()
    rows, cols = cells.mean(axis=1), cells.mean(axis=0)
    by_user = sum(3 * (cols[u] - mean) ** 2 for u in range(4)) / 3
    by_seed = sum(4 * (rows[s] - mean) ** 2 for s in range(3)) / 2
    rest = sum((cells[s, u] - rows[s] - cols[u] + mean) ** 2 for s in range(3) for u in range(4)) / 6
    found = mean_error(cells[:, :, None])
    assert found.mean == pytest.approx([mean])
    assert found.by_users == pytest.approx([by_user / 12])
    assert found.joint == pytest.approx([rest / 12])
    assert found.by_seeds == pytest.approx([(by_seed - rest) / 12])
    expected = (by_user + by_seed - rest) ** 2 / (by_user**2 / 3 + by_seed**2 / 2)
    assert found.df == pytest.approx([expected])


def test_sources_are_found_again_in_many_seeds_and_users() -> None:
    values = crossed((400, 500, 1), users=2.0, seeds=0.5, joint=3.0, generator=np.random.default_rng(0))
    found = mean_error(values)
    assert found.by_seeds * 400 == pytest.approx([0.25], rel=0.2)
    assert found.joint * 400 * 500 == pytest.approx([9.0], rel=0.02)
    assert (found.by_users - found.joint) * 500 == pytest.approx([4.0], rel=0.2)


def test_one_seed_has_the_error_of_its_users_alone() -> None:
    values = np.random.default_rng(1).standard_normal((1, 50, 3))
    found = mean_error(values)
    assert found.standard_error == pytest.approx(values[0].std(axis=0, ddof=1) / np.sqrt(50))
    assert (found.by_seeds == 0).all()
    assert np.isinf(found.df).all()
    half = stats.t.ppf(0.975, 49) * found.standard_error
    low, high = seeded_intervals(values, 0.05)
    assert (low, high) == (pytest.approx(found.mean - half), pytest.approx(found.mean + half))


def test_equal_values_have_no_error_and_their_own_mean() -> None:
    found = mean_error(np.full((3, 7, 2), 0.1))
    assert (found.mean == 0.1).all()
    assert (found.standard_error == 0).all()
    bounds = simultaneous_bounds(np.full((3, 40, 2), 0.1), 0.05, 100, seed=0)
    assert (bounds.lower == 0.1).all()
    assert (bounds.high == 0.1).all()


def test_a_stated_noise_is_all_of_one_seed_and_the_larger_one_of_several() -> None:
    generator = np.random.default_rng(8)
    values = 0.1 * generator.standard_normal((3, 50, 2))
    one, several = mean_error(values[:1], trained=np.array([1, 2]), prior=0.3), mean_error(values, prior=0.3)
    assert one.by_seeds == pytest.approx([0.3**2, 2 * 0.3**2])
    assert np.isinf(one.df).all()
    assert several.by_seeds == pytest.approx([2 * 0.3**2 / 3] * 2)
    # Taken as known: the doubt is that about the users alone.
    assert several.df == pytest.approx((several.by_users + several.by_seeds) ** 2 / (several.by_users**2 / 49))
    wild = values + np.array([-1.0, 0.0, 1.0])[:, None, None]
    for stated, plain in (
        (mean_error(wild, prior=0.3), mean_error(wild)),
        (mean_error(wild, prior=0.0), mean_error(wild)),
    ):
        assert stated.by_seeds.tolist() == plain.by_seeds.tolist()
        assert stated.df.tolist() == plain.df.tolist()


def test_bounds_of_one_seed_with_a_stated_noise_are_those_of_the_normal_law() -> None:
    values = 0.1 * np.random.default_rng(9).standard_normal((400, 2))
    bounds = simultaneous_bounds(values, 0.05, 20_000, 0, TrainingNoise(prior=0.02))
    assert bounds.standard_error == pytest.approx(np.sqrt(values.var(axis=0, ddof=1) / 400 + 2 * 0.02**2))
    assert bounds.critical_alone == pytest.approx([stats.norm.ppf(0.95)] * 2, abs=0.05)
    assert bounds.critical_lower == pytest.approx(stats.norm.ppf(0.95**0.5), abs=0.05)


@pytest.mark.parametrize("prior", [-0.1, np.inf, np.nan])
def test_a_stated_noise_that_is_none_is_refused(prior: float) -> None:
    with pytest.raises(InputError, match="a stated training noise must be a finite number, at least 0"):
        mean_error(np.ones((1, 4, 1)), prior=prior)


def test_differences_of_a_study_share_their_noise_and_a_noisier_one_keeps_its_own() -> None:
    generator = np.random.default_rng(2)
    found = [crossed((3, 400, 1), 0.1, 0.02, joint, generator)[:, :, 0] for joint in (0.1, 0.2, 0.4)]
    noise = shared_noise([*found, found[0][:1], np.zeros((3, 400))])
    parts = [mean_error(each[:, :, None]) for each in found]
    joint = np.array([float(part.joint[0]) for part in parts]) * 3
    spread = np.array([each.mean(axis=1).var(ddof=1) for each in found])
    first = max(0.0, sum((spread - joint) / joint) / sum(1 / joint))
    weights = 1 / (joint + first) / sum(1 / (joint + first))
    assert first > 0
    assert noise.variance == pytest.approx(max(0.0, sum(weights * (spread - joint))))
    parts = weights * (joint + noise.variance)
    assert noise.df == pytest.approx(2 * sum(parts) ** 2 / (0.25 * sum(parts) ** 2 + 0.75 * sum(parts**2)))
    calm = np.zeros((3, 400, 1)) + 0.1 * generator.standard_normal((1, 400, 1))
    assert mean_error(calm, noise).by_seeds == pytest.approx([noise.variance / 3])
    assert mean_error(calm, noise, trained=1).by_seeds == pytest.approx([noise.variance / 2 / 3])
    assert mean_error(calm, noise).df > noise.df
    wild = calm + np.array([-1.0, 0.0, 1.0])[:, None, None]
    noisier = mean_error(wild, noise)
    assert noisier.by_seeds == pytest.approx([1 / 3])
    assert noisier.df == pytest.approx([2.0], rel=0.01)  # of its own three seeds, not of all models'
    assert shared_noise([found[0][:1]]) == SeedNoise(0.0, 0.0)


@pytest.mark.parametrize("n_seeds", [2, 3])
@pytest.mark.parametrize("training", [0.0, 0.02, 0.1])
def test_bounds_with_shared_noise_fail_no_more_often_than_they_say(n_seeds: int, training: float) -> None:
    # 800 studies of four depths; the deeper, the more of its luck with users a model shares with the full one.
    generator = np.random.default_rng(7)
    joint = np.array([0.3, 0.2, 0.1, 0.05])
    wrong = np.zeros((800, 4))
    for study in wrong:
        luck = training * generator.standard_normal((n_seeds, 1, 5))
        differences = luck[:, :, :4] - luck[:, :, 4:] + joint * generator.standard_normal((n_seeds, 60, 4))
        differences /= 10  # values lie in [-1, 1], as differences of metrics do
        noise = shared_noise(list(np.moveaxis(differences, -1, 0)))
        study[:] = seeded_intervals(differences, 0.1, noise)[0] > 0
    assert wrong.mean(axis=0).max() < 0.05 + 2 * (0.05 * 0.95 / 800) ** 0.5


def test_differences_that_move_together_give_the_degrees_of_freedom_of_one() -> None:
    generator = np.random.default_rng(8)
    own = crossed((3, 400, 1), 0.1, 0.05, 0.1, generator)[:, :, 0]
    assert shared_noise([own] * 6).df == pytest.approx(2.0)
    away = -own + 2 * own.mean(axis=1, keepdims=True)  # the same means by the seed, other users
    assert shared_noise([own, away]).df == pytest.approx(2.0)


def test_bounds_hold_where_the_full_model_is_the_noisiest() -> None:
    # Its luck is in every difference. Taken for half independent, they would give bounds that fail in 6.4 %.
    n_seeds = 3
    generator = np.random.default_rng(11)
    wrong = np.zeros((1000, 6))
    for study in wrong:
        luck = 0.01 * generator.standard_normal((n_seeds, 1, 6)) - 0.03 * generator.standard_normal((n_seeds, 1, 1))
        differences = luck + 0.05 * generator.standard_normal((n_seeds, 300, 6))
        study[:] = seeded_intervals(differences, 0.1, shared_noise(list(np.moveaxis(differences, -1, 0))))[0] > 0
    assert wrong.mean() < 0.06


@pytest.mark.parametrize(("seeds", "joint"), [(0.0, 1.0), (0.05, 0.0), (0.1, 1.0), (0.5, 0.1)])
def test_intervals_of_few_seeds_cover_the_mean(seeds: float, joint: float) -> None:
    # 4,000 columns are 4,000 studies. With 3 seeds the noise of training is known from 2 degrees of freedom.
    values = crossed((3, 100, 4000), users=0.3, seeds=seeds, joint=joint, generator=np.random.default_rng(3))
    low, high = seeded_intervals(values, 0.1)
    assert np.mean((low <= 0) & (high >= 0)) > 0.885


def test_leaving_training_noise_out_would_not_cover_the_mean() -> None:
    values = crossed((3, 100, 4000), users=0.3, seeds=0.1, joint=0.3, generator=np.random.default_rng(4))
    low, high = seeded_intervals(values.mean(axis=0, keepdims=True), 0.1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.7


def test_bounds_without_noise_of_training_are_those_of_the_mean_over_seeds() -> None:
    differences = np.random.default_rng(5).standard_normal((200, 3))
    alone = simultaneous_bounds(differences, 0.05, 10_000, seed=0)
    repeated = simultaneous_bounds(np.stack([differences] * 4), 0.05, 10_000, seed=0)
    assert repeated.standard_error == pytest.approx(alone.standard_error)
    assert repeated.critical_lower == pytest.approx(alone.critical_lower, rel=0.02)
    wide = simultaneous_bounds(
        np.stack([differences] * 4) + np.array([-0.2, 0.1, -0.1, 0.2])[:, None, None], 0.05, 10_000, seed=0
    )
    assert wide.mean == pytest.approx(alone.mean)
    assert (wide.lower < alone.lower).all()
    assert (wide.alone > wide.lower).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4)), "values must have shape"),
        (np.zeros((3, 0, 1)), "none of them 0"),
        (np.full((2, 3, 1), np.nan), "must be finite"),
    ],
)
def test_values_that_have_no_mean_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_error(values)


def test_resampling_three_seeds_would_fail_twice_as_often_as_it_says() -> None:
    # Why `simultaneous_bounds` draws the noise of training from a distribution: one-sided 5 % bounds of 600 studies.
    generator = np.random.default_rng(6)
    values = crossed((3, 60, 600), users=0.1, seeds=0.1, joint=0.1, generator=generator)
    drawn_seeds = generator.integers(0, 3, (200, 3))
    drawn_users = generator.integers(0, 60, (200, 60))
    per_seed = np.stack([values[:, chosen].mean(axis=1) for chosen in drawn_users])
    moved = np.take_along_axis(per_seed, drawn_seeds[:, :, None], axis=1).mean(axis=1)
    resampled = np.mean(np.quantile(moved, 0.05, axis=0) > 0)
    ours = np.mean([simultaneous_bounds(values[:, :, [j]], 0.05, 200, seed=j).alone[0] > 0 for j in range(600)])
    assert resampled > 0.08
    assert ours < 0.065

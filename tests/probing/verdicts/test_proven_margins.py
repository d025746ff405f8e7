"""The margin that each depth proves, and which depths could be the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_ranks import HR_1, evidence_of, hits

from layerprobe.evaluation.seeds import TrainingNoise
from layerprobe.evaluation.uncertainty import bootstrap_weights, simultaneous_bounds
from layerprobe.probing.decide import decide
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.verdicts.best import could_be_best

SHARES = {8: 0.5, 6: 0.499, 4: 0.495, 3: 0.497, 2: 0.48, 1: 0.6}
TABLES = {k: hits(share, flipped=0.0 if k == 8 else 0.05, seed=k) for k, share in SHARES.items()}
MARGINS = replace(HR_1, margin=0.1)


def test_what_is_proven_is_minus_the_lower_bound_that_holds_for_all_depths() -> None:
    together = decide(TABLES, {}, replace(MARGINS, rule="simultaneous")).depths
    in_sequence = decide(TABLES, {}, MARGINS).depths
    for k in (1, 2, 3, 4, 6):
        expected = max(0.0, -together[k].lower_bound / 0.5)
        assert together[k].proven_margin == pytest.approx(expected)
        assert together[k].proven_alone == pytest.approx(expected)
        assert in_sequence[k].proven_margin == pytest.approx(expected)  # valid for any margin, whatever the rule
    assert together[1].proven_margin == 0  # better than the full model, so every margin is kept
    assert together[8].proven_margin == together[8].proven_alone == 0


def test_what_is_proven_alone_is_the_largest_from_the_deepest_down() -> None:
    in_sequence = decide(TABLES, {}, MARGINS).depths
    largest = 0.0
    for k in (6, 4, 3, 2, 1):
        bound = decide({8: TABLES[8], k: TABLES[k]}, {}, MARGINS).depths[k].lower_bound  # alone: no other depth studied
        largest = max(largest, -bound / 0.5)
        assert in_sequence[k].proven_alone == pytest.approx(largest, rel=1e-4)
    found = [in_sequence[k].proven_alone for k in (6, 4, 3, 2, 1)]
    assert found == sorted(found)
    assert found[1] == found[2]  # depth 3 proves less on its own, but depth 4 comes before it
    assert in_sequence[6].proven_alone < in_sequence[6].proven_margin  # alone costs less than together


@pytest.mark.parametrize("rule", ["sequence", "simultaneous"])
@pytest.mark.parametrize("k", [6, 4, 3, 2])
def test_a_margin_just_above_is_kept_and_one_just_below_is_not(rule: str, k: int) -> None:
    options = replace(HR_1, rule=rule)
    proven = decide(TABLES, {}, options).depths[k].proven_alone
    above, below = (decide(TABLES, {}, replace(options, margin=proven + step)).depths[k] for step in (1e-6, -1e-6))
    assert above.not_worse
    assert not below.not_worse
    assert above.verdict == "not worse"
    assert below.verdict in ("undecided", "untested")


def test_the_margin_that_is_asked_for_does_not_change_what_is_proven() -> None:
    rows = [decide(TABLES, {}, replace(HR_1, margin=margin)).depths for margin in (0.001, 0.02, 0.3)]
    for k in SHARES:
        assert len({each[k].proven_margin for each in rows}) == 1
        assert len({each[k].proven_alone for each in rows}) == 1


def test_of_two_clearly_different_depths_one_could_be_the_best() -> None:
    decision = decide({4: hits(0.5), 2: hits(0.6), 1: hits(0.599)}, {"sasrec": hits(0.9)}, HR_1)
    assert {k: found.could_be_best for k, found in decision.depths.items()} == {1: True, 2: True, 4: False}
    alone = decide({4: hits(0.5), 2: hits(0.4)}, {}, HR_1)
    assert {k: found.could_be_best for k, found in alone.depths.items()} == {2: False, 4: True}
    assert all(row.could_be_best is None for row in decision.baselines.values())
    assert [row.could_be_best for row in decision.record().depths] == [True, True, False]


def not_beaten(metric: np.ndarray, alpha: float, n_boot: int) -> set[int]:
    """Depths that no other is shown to be better than: the bootstrap of the largest studentised error, in numpy."""
    found = set()
    for k in range(len(metric)):
        differences = np.array([other - metric[k] for place, other in enumerate(metric) if place != k])  # of all others
        n_users = differences.shape[1]
        error = differences.std(axis=1, ddof=1) / np.sqrt(n_users)
        mean = differences.mean(axis=1)
        weights = np.concatenate(list(bootstrap_weights(n_users, n_boot, 0))).astype(float)
        largest = ((weights @ differences.T / n_users - mean) / error).max(axis=1)
        if (mean - np.quantile(largest, 1 - alpha) * error).max() <= 0:
            found.add(k)
    return found


def test_the_depths_that_could_be_the_best_are_those_of_all_pairs() -> None:
    generator = np.random.default_rng(11)
    options, sizes = DecisionOptions(n_boot=200), []
    for _ in range(20):
        taste = generator.random(200)
        metric = np.clip(taste + generator.normal(0, 0.08, (5, 1)) * 0.2 + generator.normal(0, 0.1, (5, 200)), 0, 1)
        best = could_be_best(evidence_of(metric[:, None], options))
        assert {selection.depth for selection in best} == not_beaten(metric, options.alpha, options.n_boot)
        assert int(np.argmax(metric.mean(axis=1))) in {selection.depth for selection in best}
        sizes.append(len(best))
    assert min(sizes) < 3 < max(sizes)


def test_bounds_from_shared_resamples_are_those_of_the_differences_alone() -> None:
    generator = np.random.default_rng(12)
    taste = generator.random((1, 1, 150))
    metric = np.clip(taste + generator.normal(0, 0.01, (4, 3, 1)) + generator.normal(0, 0.1, (4, 3, 150)), 0, 1)
    evidence = evidence_of(metric, DecisionOptions(n_boot=300, seed=4))
    models = list(evidence.models)
    pairs = [(models[left], models[right]) for left, right in ((0, 3), (1, 3), (2, 3), (0, 1), (3, 0), (2, 1))]
    shared = evidence.bounds(pairs)
    differences = np.stack([metric[left.depth] - metric[right.depth] for left, right in pairs], axis=-1)
    own = simultaneous_bounds(differences, 0.05, 300, 4, TrainingNoise(evidence.noise))
    for name in ("lower", "low", "high", "alone", "mean"):
        np.testing.assert_allclose(getattr(shared, name), getattr(own, name), atol=1e-5)
    # The same pairs the other way round.
    there, back = evidence.bounds(pairs[:1]), evidence.bounds([(pairs[0][1], pairs[0][0])])
    np.testing.assert_allclose(there.mean, -back.mean)
    np.testing.assert_allclose(there.critical_two_sided, back.critical_two_sided, rtol=0.1)


def test_intervals_of_users_alone_are_those_of_the_mean_over_seeds() -> None:
    generator = np.random.default_rng(13)
    metric = np.clip(generator.random((1, 1, 150)) + generator.normal(0, 0.1, (3, 2, 150)), 0, 1)
    evidence = evidence_of(metric, DecisionOptions(n_boot=300, cover="users"))
    pairs = [(selection, evidence.full_key) for selection in evidence.smaller]
    means = metric.mean(axis=1)  # [models, users]
    own = simultaneous_bounds(np.stack([means[0] - means[2], means[1] - means[2]], axis=-1), 0.05, 300, 0)
    np.testing.assert_allclose(evidence.bounds(pairs).lower, own.lower, atol=1e-5)

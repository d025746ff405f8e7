"""One training seed is exploratory: no word claims more, unless a training noise is stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_ranks import HR_1, hits

from layerprobe.probing.decide import decide
from layerprobe.store.decision import FULL_NEEDED, KEEP, UNDECIDED, USE_BASELINE

NOISE = 0.01
STATED = replace(HR_1, prior_noise=NOISE)
LARGE = {KEEP: {4: hits(0.5), 2: hits(0.6), 1: hits(0.3)}, FULL_NEEDED: {4: hits(0.5), 2: hits(0.3), 1: hits(0.2)}}
CASES = {
    **{verdict: (tables, {"sasrec": hits(0.4)}) for verdict, tables in LARGE.items()},
    USE_BASELINE: (LARGE[KEEP], {"sasrec": hits(0.7)}),
    UNDECIDED: ({4: hits(0.5, 300), 2: hits(0.5, 300, flipped=0.2), 1: hits(0.2, 300)}, {"tfidf": hits(0.5, 300)}),
}


@pytest.mark.parametrize("verdict", CASES)
def test_no_word_claims_confidence(verdict: str) -> None:
    by_depth, floors = CASES[verdict]
    decision = decide(by_depth, floors, HR_1)
    assert decision.verdict == verdict
    assert decision.exploratory
    assert decision.record().exploratory
    text = " ".join([decision.sentence, *decision.notes]).lower()
    assert "confidence" not in text
    assert "significant" not in text
    assert decision.sentence.startswith("Exploratory, one training seed: ")
    assert decision.sentence.endswith(" Another training may give another answer: train three seeds (probe.seeds).")
    assert decision.notes[0] == (
        "Each depth was trained once. The intervals cover the choice of users, not training noise, so nothing here is "
        "shown of another training."
    )


def test_the_sentence_in_full() -> None:
    decision = decide({4: hits(0.5), 2: hits(0.499)}, {}, HR_1)
    assert decision.sentence == (
        "Exploratory, one training seed: keep 2 of 4 layers: depth 2 has an HR@1 of 0.4990, compared with 0.5000 for "
        "the full model (-0.2 %). The loss is within the margin of 2 % (for these trained models and 10,000 users). "
        "Another training may give another answer: train three seeds (probe.seeds)."
    )
    better = decide({4: hits(0.5), 2: hits(0.6)}, {}, HR_1)
    assert better.notes[-1] == "Above the full model on HR@1 for these trained models: depth 2."


@pytest.mark.parametrize("verdict", CASES)
def test_a_stated_noise_is_named_where_confidence_is(verdict: str) -> None:
    by_depth, floors = CASES[verdict]
    decision = decide(by_depth, floors, STATED)
    assert decision.verdict == verdict
    assert not decision.exploratory
    assert "95 % confidence, given a training noise of 1 %, " in decision.sentence
    assert " users, one seed" in decision.sentence
    assert decision.notes[0] == (
        "Each depth was trained once. Training noise was not measured: a standard deviation of 1 % of the full model's "
        "value was stated (decision.prior_noise)."
    )


def bounds_by_hand(share: float, flips: float, n_trained: int) -> tuple[float, float]:
    """Normal interval of a difference from HR@1 = .5: `share` lose 1, and as many as `flips` move up as down."""
    n_users, squares = 2_000, flips + (0.5 - share)
    users = (squares - (share - 0.5) ** 2) / (n_users - 1)
    training = n_trained * (NOISE * 0.5) ** 2
    half = scipy.stats.norm.ppf(0.975) * np.sqrt(users + training)
    return share - 0.5 - half, share - 0.5 + half


def test_a_stated_noise_widens_the_interval_as_the_normal_distribution_says() -> None:
    # `flipped` users leave their group, so the rest of the difference is as it was.
    other = hits(0.5, 2_000, flipped=0.1)
    options = replace(STATED, n_boot=20_000, rule="simultaneous")
    decision = decide({4: hits(0.5, 2_000), 2: other}, {"sasrec": other, "tfidf": other}, options)
    found = decision.depths[2]
    assert found.difference == 0
    low, high = bounds_by_hand(0.5, 0.1, n_trained=2)
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, rel=0.03), pytest.approx(high, rel=0.03))
    one_sided = -scipy.stats.norm.ppf(0.95) / scipy.stats.norm.ppf(0.975) * high
    assert found.lower_bound == pytest.approx(one_sided, rel=0.03)
    # The variance parts say the same: users, none together, and twice the stated variance.
    parts = decision.power.variance
    assert parts.users == pytest.approx(0.1, rel=1e-3)
    assert (parts.joint, parts.seeds) == (0, pytest.approx(2 * (NOISE * 0.5) ** 2))


def test_only_trained_models_have_the_stated_noise() -> None:
    # The users differ so little that the noise of training is most of what there is.
    other = hits(0.5, 2_000, flipped=0.02)
    options = replace(STATED, n_boot=20_000)
    one = decide({4: hits(0.5, 2_000), 2: other}, {"tfidf": other}, options)
    two = decide({4: hits(0.5, 2_000), 2: other}, {"sasrec": other}, options)
    ratio = two.baselines["sasrec"].ci_high / one.baselines["tfidf"].ci_high
    users, training = 0.02 / 1999, (NOISE * 0.5) ** 2
    assert ratio == pytest.approx(np.sqrt((users + 2 * training) / (users + training)), rel=0.04)


def test_a_stated_noise_below_what_seeds_show_changes_nothing_and_one_above_widens() -> None:
    tables = {4: [hits(0.5), hits(0.52), hits(0.48)], 2: [hits(0.49), hits(0.5), hits(0.51)]}
    shown = decide(tables, {}, HR_1).depths[2]
    below = decide(tables, {}, replace(HR_1, prior_noise=0.001)).depths[2]
    above = decide(tables, {}, replace(HR_1, prior_noise=0.2)).depths[2]
    assert below == shown
    assert above.ci_high > shown.ci_high


def test_one_seed_has_no_power_and_a_second_makes_no_printed_number_worse() -> None:
    tables = {k: [hits(0.5, 2000, flipped=0.1, seed=10 * k + seed) for seed in range(2)] for k in (1, 2)}
    one = decide({k: each[:1] for k, each in tables.items()}, {}, HR_1).power
    assert (one.n_seeds, one.covers_training) == (1, False)
    numbers = ("minimal_detectable_relative_difference", "users_needed_for_margin", "seeds_needed_for_margin")
    assert [getattr(one, name) for name in (*numbers, "users_needed_at_observed", "seeds_needed_at_observed")] == [
        None
    ] * 5
    two = decide(tables, {}, HR_1).power
    assert two.minimal_detectable_relative_difference is not None
    stated = decide({k: each[:1] for k, each in tables.items()}, {}, STATED).power
    assert stated.minimal_detectable_relative_difference is not None
    assert stated.covers_training
    assert stated.seeds_needed_for_margin is None


def test_the_record_of_one_seed_tells_no_training_noise() -> None:
    frame: pd.DataFrame = decide({4: hits(0.5), 2: hits(0.5)}, {}, HR_1).to_frame()
    assert frame["training_noise"].isna().all()

"""The student against plain fine-tuning of its layers: numbers, verdict and words."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from test_controls import ranks_table

from layerprobe.backbone.selection import parse_selection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import TrainingNoise, seeded_intervals, shared_noise
from layerprobe.evaluation.uncertainty import simultaneous_bounds
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.distilled import compare_distilled
from layerprobe.store.distilled import DistilledRecord
from layerprobe.store.records import from_plain, plain_of

OPTIONS = DecisionOptions(metric="hr", k=1, alpha=0.1)
ENDS = parse_selection("ends:2", 4)
FIRST, MISSED = 0, 50
"""Places above the target: HR@1 is 1 and 0."""


def hits(*shares: float) -> np.ndarray:
    """Places of 400 users, of whom these shares of the 100 in each quarter are hit."""
    quarters = [np.where(np.arange(100) < 100 * share, FIRST, MISSED) for share in shares]
    return np.concatenate(quarters)


def test_the_difference_is_paired_by_user_and_seed() -> None:
    student, plain = (hits(1, 0.5, 0, 0), hits(1, 1, 0, 0)), (hits(0.5, 0, 0, 0), hits(1, 0, 0, 0.25))
    found = compare_distilled(ENDS, [*map(ranks_table, student)], [*map(ranks_table, plain)], OPTIONS)
    gain = found.gain
    assert gain.value == pytest.approx((150 + 200) / 800)
    assert gain.plain_value == pytest.approx((50 + 125) / 800)
    assert gain.difference == pytest.approx((100 + 75) / 800)
    assert gain.relative == pytest.approx(175 / 175)
    differences = np.stack([(s == FIRST) * 1.0 - (p == FIRST) for s, p in zip(student, plain, strict=True)])
    low, high = seeded_intervals(differences[:, :, None], 0.1)
    assert (gain.ci_low, gain.ci_high) == pytest.approx((low[0], high[0]))
    assert (gain.seeds, gain.n_users) == (2, 400)


@pytest.mark.parametrize(
    ("student", "plain", "verdict", "said"),
    [
        (hits(1, 1, 0, 0), hits(1, 0, 0, 0), "better", "The difference is +0.2500 (+100.0 %), with a 90 %"),
        (hits(1, 0, 0, 0), hits(1, 1, 0, 0), "worse", "The difference is -0.2500 (-50.0 %), with a 90 % "),
        (
            hits(1, 0, 0, 0),
            hits(0, 1, 0, 0),
            "undecided",
            "undecided which of the two is better: the interval contains 0",
        ),
        (hits(1, 0, 0, 0), hits(1, 0, 0, 0), "undecided", "interval of -0.0075 to +0.0075 (400 users, one seed)"),
        (
            hits(1, 0, 0, 0),
            hits(0, 0, 0, 0),
            "better",
            "(400 users, one seed). The student is better, for these trained models.",
        ),
    ],
)
def test_the_verdict_follows_from_the_interval(student: np.ndarray, plain: np.ndarray, verdict: str, said: str) -> None:
    found = compare_distilled(ENDS, ranks_table(student), ranks_table(plain), OPTIONS)
    assert found.gain.verdict == verdict
    assert said in found.sentence


def test_the_sentence_says_whether_the_teacher_is_all_that_differs() -> None:
    tables = ranks_table(hits(1, 1, 0, 0)), ranks_table(hits(1, 0, 0, 0))
    alike = compare_distilled(ENDS, *tables, OPTIONS)
    gain = alike.gain
    bounds = f"{gain.ci_low:+.4f} to {gain.ci_high:+.4f}"
    head = (
        "The distilled student (ends:2, 2 layers) has an HR@1 of 0.5000; the same layers fine-tuned without a teacher "
        f"have 0.2500. The difference is +0.2500 (+100.0 %), with a 90 % interval of {bounds} (400 users, one seed). "
        "The student is better, for these trained models."
    )
    assert alike.sentence == (
        f"{head} Both had the same training budget: the same recipe and examples, at most as many epochs."
    )
    unlike = compare_distilled(ENDS, *tables, OPTIONS, ["it had more epochs", "it had another start"])
    assert unlike.sentence == (
        f"{head} The trainings differ in more than the teacher: it had more epochs; it had another start."
    )
    one = compare_distilled(parse_selection("last:1", 4), *tables, OPTIONS)
    assert one.sentence.startswith("The distilled student (last:1, 1 layer) has an HR@1 of 0.5000; the same")


def test_notes_say_what_the_interval_leaves_out() -> None:
    table = ranks_table(hits(1, 0, 0, 0))
    once, twice = (compare_distilled(ENDS, [table] * n, [table] * n, OPTIONS) for n in (1, 2))
    assert "not training noise: each was trained once." in once.notes[0]
    assert "covers the choice of users and training noise, but not the noise of the item table and" in twice.notes[0]
    assert "(400 users, 2 seeds each). " in twice.sentence


def test_the_interval_covers_what_was_asked_for() -> None:
    better, plain = [hits(1, 1, 0, 0), hits(0.9, 0.8, 0, 0)], [hits(1, 0, 0, 0)] * 2
    tables = [*map(ranks_table, better)], [*map(ranks_table, plain)]
    found = {
        cover: compare_distilled(ENDS, *tables, DecisionOptions("hr", 1, alpha=0.1, cover=cover))
        for cover in ("auto", "training", "users")
    }
    assert found["auto"].gain == found["training"].gain
    per_user = np.stack([(s == FIRST) * 1.0 - (p == FIRST) for s, p in zip(better, plain, strict=True)]).mean(axis=0)
    mean = (100 + 80 - 10) / 800
    alone = stats.t.ppf(0.95, 399) * per_user.std(ddof=1) / 20
    gain = found["users"].gain
    assert (gain.ci_low, gain.ci_high) == pytest.approx((mean - alone, mean + alone))
    assert gain.ci_low > found["auto"].gain.ci_low
    assert (gain.seeds, gain.verdict) == (2, "better")
    assert "(decision.cover users)" in found["users"].notes[0]


def test_one_seed_decides_nothing_where_training_is_to_be_covered() -> None:
    tables = ranks_table(hits(1, 1, 0, 0)), ranks_table(hits(1, 0, 0, 0))
    found = compare_distilled(ENDS, *tables, DecisionOptions("hr", 1, cover="training"))
    assert found.gain.ci_low > 0
    assert found.gain.verdict == "undecided"
    assert "better: one seed does not show training noise (decision.cover training)." in found.sentence


def test_the_stored_form_is_plain() -> None:
    table = ranks_table(hits(1, 0, 0, 0))
    record = compare_distilled(ENDS, table, table, OPTIONS).record("small", "keep:0,3", ["one more note"])
    content = plain_of(record)
    assert json.loads(json.dumps(content)) == content
    assert list(content) == [
        "student", "plain",
        "metric", "k", "alpha", "selection", "depth", "layers", "value", "plain_value", "difference", "relative",
        "ci_low", "ci_high", "verdict", "seeds", "n_users", "sentence", "notes", "against_baselines",
    ]  # fmt: skip
    assert (content["selection"], content["layers"], content["alpha"]) == ("ends:2", [0, 3], 0.1)
    assert (content["student"], content["plain"], content["notes"][-1]) == ("small", "keep:0,3", "one more note")
    assert from_plain(content, DistilledRecord) == record


@pytest.mark.parametrize(
    ("distilled", "plain", "message"),
    [
        ([], [ranks_table(hits(1, 0, 0, 0))], "the distilled ends:2 has no ranks"),
        ([ranks_table(hits(1, 0, 0, 0))], [ranks_table(hits(1, 0, 0, 0), 7)], "must be ranked on the same users"),
        ([ranks_table(hits(1, 0, 0, 0))], [ranks_table(hits(1, 0, 0, 0))] * 3, "the same seeds; got 1 and 3: leave"),
    ],
)
def test_what_cannot_be_paired_is_refused(distilled: list, plain: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_distilled(ENDS, distilled, plain, OPTIONS)


FLOORS = {"sasrec": hits(1, 0.5, 0, 0), "popularity": hits(0.25, 0, 0, 0)}


def hit(places: np.ndarray) -> np.ndarray:
    return (places == FIRST) * 1.0


def test_the_student_is_compared_with_every_baseline_by_bounds_for_all_together() -> None:
    student, plain, sasrec = ([hits(*share) for share in shares] for shares in (
        [(1, 1, 0.5, 0), (1, 0.9, 0, 0)], [(1, 0, 0, 0)] * 2, [(1, 0.5, 0, 0), (0.9, 0.5, 0, 0.1)],
    ))  # fmt: skip
    floors = {"sasrec": [*map(ranks_table, sasrec)], "popularity": ranks_table(FLOORS["popularity"])}
    found = compare_distilled(ENDS, [*map(ranks_table, student)], [*map(ranks_table, plain)], OPTIONS, [], floors)
    one, others = np.stack([*map(hit, student)]), [np.stack([*map(hit, sasrec)]), hit(FLOORS["popularity"])[None]]
    # Popularity is trained by no seed, so only one of the two models brings training noise.
    noise = shared_noise([one - np.stack([*map(hit, plain)]), one - others[0]])
    bounds = simultaneous_bounds(
        np.stack([one - other for other in others], axis=-1), 0.1, 2000, 0, TrainingNoise(noise, np.array([2, 1]))
    )
    assert [row.baseline for row in found.against_baselines] == ["sasrec", "popularity"]
    for column, row in enumerate(found.against_baselines):
        floor = others[column].mean()
        assert (row.selection, row.depth) == ("ends:2", 2)
        assert row.difference == pytest.approx(one.mean() - floor)
        assert row.relative == pytest.approx((one.mean() - floor) / floor)
        assert (row.ci_low, row.ci_high) == pytest.approx((bounds.low[column], bounds.high[column]))


@pytest.mark.parametrize(
    ("seeds", "student", "said"),
    [
        (1, hits(1, 1, 0.5, 0), "The student is better than the best baseline, SASRec (0.3750): +66.7 % ["),
        (2, hits(1, 1, 0.5, 0), "The student is significantly better than the best baseline, SASRec (0.3750): +66.7 %"),
        (2, hits(0.5, 0, 0, 0), "The student is significantly worse than the best baseline, SASRec (0.3750): -66.7 %"),
        (
            2,
            hits(1, 0.5, 0, 0),
            "The student is not shown to be better than the best baseline, SASRec (0.3750): 0.0 %",
        ),
    ],
)
def test_the_sentence_tells_the_student_against_the_best_baseline(seeds: int, student: np.ndarray, said: str) -> None:
    floors = {name: ranks_table(places) for name, places in FLOORS.items()}
    tables = [ranks_table(student)] * seeds, [ranks_table(hits(1, 0, 0, 0))] * seeds
    sentence = compare_distilled(ENDS, *tables, OPTIONS, [], floors).sentence
    assert said in sentence
    assert sentence.endswith("], for these trained models.") is (seeds == 1)


def test_a_stated_noise_widens_what_one_seed_shows() -> None:
    tables = ranks_table(hits(1, 1, 0, 0)), ranks_table(hits(1, 0, 0, 0))
    floors = {name: ranks_table(places) for name, places in FLOORS.items()}
    alone, stated = (
        compare_distilled(ENDS, *tables, DecisionOptions("hr", 1, alpha=0.1, prior_noise=noise), [], floors)
        for noise in (0.0, 0.5)
    )
    # Half of 0.25 is the standard deviation of one training, and two were trained: far more than the users' part.
    assert stated.gain.ci_low < 0 < alone.gain.ci_low
    assert stated.gain.ci_high - stated.gain.ci_low == pytest.approx(2 * 1.645 * 0.125 * 2**0.5, rel=0.05)
    assert "a standard deviation of 50 % of the plain model's value was stated" in stated.notes[0]
    # Another training changes SASRec, but not popularity.
    wide, narrow = (row.ci_high - row.ci_low for row in stated.against_baselines)
    assert wide > 1.3 * narrow > 2 * (alone.against_baselines[1].ci_high - alone.against_baselines[1].ci_low)


def test_a_baseline_of_one_training_is_named() -> None:
    tables = [ranks_table(hits(1, 1, 0, 0))] * 2, [ranks_table(hits(1, 0, 0, 0))] * 2
    found = compare_distilled(ENDS, *tables, OPTIONS, [], {"sasrec": ranks_table(FLOORS["sasrec"])})
    assert found.notes[-1].startswith("SASRec was trained once: the interval against it does not cover")

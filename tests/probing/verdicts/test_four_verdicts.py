"""The four verdicts and their sentences, from ranks with known hits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_ranks import HR_1, hits, ranks_table, twice

from layerprobe.backbone.selection import parse_selection
from layerprobe.probing.comparisons import Comparison
from layerprobe.probing.decide import Decision, decide
from layerprobe.probing.verdicts.baselines import AgainstBaseline
from layerprobe.store.decision import FULL_NEEDED, KEEP, UNDECIDED, USE_BASELINE, VERDICTS

TOGETHER = replace(HR_1, rule="simultaneous")
SURE = "95 % confidence, 10,000 users, 2 seeds"


def bracket(row: Comparison | AgainstBaseline, reference: float) -> str:
    """The interval as it is written; the bounds themselves are checked elsewhere."""
    low, high = (f"{round(100 * bound / reference, 1) + 0.0:+.1f} %" for bound in (row.ci_low, row.ci_high))
    return f"[{low}, {high}]"


def pair(decision: Decision, selection: str, floor: str = "sasrec") -> AgainstBaseline:
    return decision.floors.pairs[parse_selection(selection, decision.full_depth), floor]


def test_keep() -> None:
    decision = decide({8: twice(0.5), 1: twice(0.45), 4: twice(0.5), 2: twice(0.499)}, {}, HR_1)
    assert (decision.verdict, decision.depth, decision.baseline) == (KEEP, 2, None)
    assert decision.sentence == (
        "Keep 2 of 8 layers: depth 2 has an HR@1 of 0.4990, compared with 0.5000 for the full model (-0.2 %). The loss "
        f"is within the margin of 2 % ({SURE})."
    )


def test_keep_no_layer() -> None:
    decision = decide({4: twice(0.5), 0: twice(0.5), 2: twice(0.5)}, {}, TOGETHER)
    assert (decision.verdict, decision.depth) == (KEEP, 0)
    assert decision.sentence == (
        "Keep no layer (depth 0 of 4): item vectors and head alone have an HR@1 of 0.5000, compared with 0.5000 for "
        f"the full model (0.0 %). Any loss is within the margin of 2 % ({SURE})."
    )


def test_keep_a_depth_that_is_better_than_all() -> None:
    decision = decide({4: twice(0.5), 2: twice(0.6)}, {"sasrec": twice(0.55), "popularity": hits(0.1)}, HR_1)
    found = pair(decision, "first:2")
    assert found.relative == pytest.approx(0.6 / 0.55 - 1)
    assert found.verdict == "better"
    assert decision.sentence == (
        "Keep 2 of 4 layers: depth 2 has an HR@1 of 0.6000, compared with 0.5000 for the full model (+20.0 %). Any "
        f"loss is within the margin of 2 % ({SURE}). Depth 2 is significantly better than the full model. Depth 2 is "
        f"better than the best baseline, SASRec (0.5500): +9.1 % {bracket(found, 0.55)}."
    )
    assert decision.notes[-1] == (
        "Significantly better than the full model on HR@1 (95 % confidence): depth 2 and SASRec."
    )


def test_keep_although_a_baseline_is_better_than_what_is_kept() -> None:
    # Depth 4 is better than SASRec, so the advice is not to use SASRec; depth 2 is not.
    ranks = {8: twice(0.5), 4: twice(0.6), 2: twice(0.499)}
    decision = decide(ranks, {"sasrec": twice(0.55)}, HR_1)
    assert (decision.verdict, decision.depth, decision.baseline) == (KEEP, 2, None)
    assert [pair(decision, f"first:{k}").verdict for k in (2, 4, 8)] == ["worse", "better", "worse"]
    assert decision.sentence.endswith(
        f"({SURE}). But the baseline SASRec (0.5500) is better than depth 2, which differs from it by -9.3 % "
        f"{bracket(pair(decision, 'first:2'), 0.55)}."
    )


def test_the_best_baseline_may_be_beaten_by_none_or_by_another_depth() -> None:
    even = twice(0.5, flipped=0.1)
    none = decide({8: twice(0.5), 2: twice(0.499)}, {"sasrec": even}, HR_1)
    shown = f"-0.2 % {bracket(pair(none, 'first:2'), 0.5)}"
    assert none.sentence.endswith(
        f" Depth 2 lies below the best baseline, SASRec (0.5000): {shown}, not shown to be worse. No depth is shown to "
        "be better than it."
    )
    other = decide({8: twice(0.5), 4: twice(0.6), 2: twice(0.499)}, {"sasrec": even}, HR_1)
    assert pair(other, "first:4").verdict == "better"
    assert "Depth 2 lies below the best baseline, SASRec (0.5000): -0.2 % [" in other.sentence
    assert other.sentence.endswith("], not shown to be worse.")


def test_use_the_baseline() -> None:
    decision = decide({4: twice(0.5), 2: twice(0.3)}, {"sasrec": twice(0.6), "popularity": hits(0.1)}, HR_1)
    assert (decision.verdict, decision.depth, decision.baseline) == (USE_BASELINE, None, "sasrec")
    found = pair(decision, "first:4")
    assert decision.sentence == (
        "Use the baseline SASRec: it has an HR@1 of 0.6000, more than every depth. The best of them, depth 4, has "
        f"0.5000 (-16.7 % {bracket(found, 0.6)}; {SURE})."
    )
    # A tenth of the users differ, by 1, so the standard error is sqrt(.1 * .9 / (users - 1)). The bounds hold for four
    # pairs, so they are wider than 1.96 of them and narrower than Bonferroni's 2.50.
    error = (0.1 * 0.9 / 9999) ** 0.5
    assert 1.9 * error < found.ci_high - found.difference < 2.55 * error
    assert found.difference == pytest.approx(0.5 - 0.6)
    assert not any("Significantly better" in note for note in decision.notes)


def test_use_the_baseline_also_where_a_depth_passes() -> None:
    decision = decide({4: twice(0.5), 2: twice(0.499)}, {"tfidf": hits(0.55), "sasrec": twice(0.6)}, HR_1)
    assert (decision.verdict, decision.baseline) == (USE_BASELINE, "sasrec")
    assert decision.depth == 2
    assert decision.depths[2].not_worse
    assert decision.sentence.endswith(
        f"{SURE}). If layers are kept all the same: depth 2 is the smallest of them whose loss against the full model "
        "is within the margin of 2 %."
    )
    record = decision.record()
    assert (record.verdict, record.baseline, record.depth) == (USE_BASELINE, "sasrec", 2)


def test_a_baseline_that_is_better_than_the_full_model_but_not_than_every_depth_is_not_the_advice() -> None:
    decision = decide({4: twice(0.5), 2: twice(0.6, flipped=0.2)}, {"sasrec": twice(0.6)}, HR_1)
    assert decision.baselines["sasrec"].verdict == "better"
    assert decision.verdict == KEEP
    assert decision.baseline is None


def test_the_full_model_is_needed() -> None:
    decision = decide({4: twice(0.5), 1: twice(0.3), 2: twice(0.4)}, {"sasrec": twice(0.45)}, HR_1)
    assert (decision.verdict, decision.depth, decision.baseline) == (FULL_NEEDED, None, None)
    against_full = decision.depths[2]
    assert decision.sentence == (
        "The full model is needed: every smaller depth loses more than 2 % of its HR@1 of 0.5000 "
        f"({SURE}). The best of them, depth 2, has 0.4000 (-20.0 % {bracket(against_full, 0.5)}). The full model is "
        f"better than the best baseline, SASRec (0.4500): +11.1 % {bracket(pair(decision, 'first:4'), 0.45)}."
    )


def test_the_full_model_is_not_needed_where_one_smaller_depth_is_open() -> None:
    decision = decide({4: twice(0.5), 1: twice(0.3), 2: twice(0.49, flipped=0.2)}, {}, HR_1)
    assert decision.depths[1].verdict == "worse"
    assert decision.verdict == UNDECIDED


def test_undecided_says_which_depth_stopped_the_test_and_what_it_takes() -> None:
    decision = decide({4: twice(0.5, 300), 1: twice(0.2, 300), 2: twice(0.5, 300, flipped=0.2)}, {}, HR_1)
    assert (decision.verdict, decision.depth) == (UNDECIDED, None)
    assert [decision.depths[k].verdict for k in (1, 2)] == ["worse", "undecided"]
    needed = decision.power.users_needed_for_margin
    assert needed is not None
    two_digits = -(-needed // 1000) * 1000
    assert 10_000 < needed < 20_000
    assert decision.sentence == (
        "Undecided: no smaller depth is shown to be within 2 % of the full model's HR@1 of 0.5000, and not all are "
        "shown to be worse (95 % confidence, 300 users, 2 seeds). Depth 2, tested first, differs by 0.0 % "
        f"{bracket(decision.depths[2], 0.5)}. To show a margin of 2 %, if it truly equals the full model, takes about "
        f"{two_digits:,} users. Depth 1 is significantly worse, by more than 2 %."
    )


def test_undecided_with_enough_users_for_an_equal_depth_says_what_the_observed_loss_takes() -> None:
    decision = decide({4: twice(0.5, 40_000), 2: twice(0.4905, 40_000, flipped=0.02)}, {}, HR_1)
    assert decision.verdict == UNDECIDED
    power = decision.power
    assert power.users_needed_for_margin is not None
    assert power.users_needed_at_observed is not None
    assert power.users_needed_for_margin < 40_000 < power.users_needed_at_observed
    two_digits = -(-power.users_needed_at_observed // 10_000) * 10_000
    interval = bracket(decision.depths[2], 0.5)
    assert decision.sentence.endswith(
        f"Depth 2, tested first, differs by -1.9 % {interval}. To show a margin of 2 %, if that is its true loss, "
        f"takes about {two_digits:,} users."
    )


def test_undecided_beyond_the_margin_promises_nothing_of_more_users() -> None:
    decision = decide({4: twice(0.5, 300), 2: twice(0.48, 300, flipped=0.2)}, {}, TOGETHER)
    assert decision.verdict == UNDECIDED
    assert decision.sentence.endswith(
        f"Depth 2 differs by -4.0 % {bracket(decision.depths[2], 0.5)}. This loss is larger than the margin: "
        "if it is the true one, no number of users or seeds will show it to be enough."
    )
    assert (decision.power.users_needed_at_observed, decision.power.seeds_needed_at_observed) == (None, None)


def test_undecided_names_the_full_model_beside_the_best_baseline() -> None:
    ranks = {4: twice(0.5, 300), 2: twice(0.5, 300, flipped=0.2)}
    decision = decide(ranks, {"sasrec": twice(0.5, 300, flipped=0.1, seed=1)}, HR_1)
    assert decision.sentence.endswith(
        " The full model is not shown to be better than the best baseline, SASRec (0.5000): 0.0 % "
        f"{bracket(pair(decision, 'first:4'), 0.5)}, nor is any other depth."
    )


def test_a_floor_of_one_table_is_compared_with_every_seed() -> None:
    seeds = {4: [hits(0.5), hits(0.52), hits(0.54)], 2: [hits(0.4), hits(0.41), hits(0.42)]}
    decision = decide(seeds, {"popularity": hits(0.45), "tfidf": hits(0.0)}, HR_1)
    assert pair(decision, "first:4", "popularity").difference == pytest.approx(0.52 - 0.45)
    assert pair(decision, "first:2", "popularity").relative == pytest.approx(0.41 / 0.45 - 1)
    assert pair(decision, "first:2", "tfidf").relative is None
    # A deterministic floor adds no training noise; the interval has that of the selection alone, here sd .02 / sqrt(3),
    # of few degrees of freedom, and nearly nothing from users.
    found = pair(decision, "first:4", "popularity")
    assert found.ci_high - found.difference > 1.96 * 0.02 / 3**0.5
    assert set(decision.floors.pairs) == {
        (parse_selection(f"first:{k}", 4), name) for k in (2, 4) for name in ("popularity", "tfidf")
    }


def random_decision(generator: np.random.Generator) -> Decision:
    """Any study: few or many users, one to three seeds, depths and floors of any quality."""
    n_users, n_seeds = int(generator.choice([40, 300, 3000])), int(generator.integers(1, 4))
    base = generator.random(n_users) < 0.5

    def ranks(n_seeds: int) -> list:
        loss, luck = generator.choice([0.0, 0.01, 0.3]), generator.choice([0.02, 0.3])
        found = []
        for _ in range(n_seeds):
            hit = np.where(generator.random(n_users) < luck, generator.random(n_users) < 0.5, base)
            found.append(ranks_table(np.where(hit & (generator.random(n_users) >= loss), 0, 50)))
        return found

    floors = {"sasrec": ranks(n_seeds), "popularity": ranks(1)} if generator.random() < 0.6 else {}
    rule = "sequence" if generator.random() < 0.5 else "simultaneous"
    return decide({k: ranks(n_seeds) for k in (1, 2, 3)}, floors, replace(HR_1, n_boot=100, rule=rule))


def test_no_sentence_advises_to_keep_all_layers_and_undecided_advises_nothing() -> None:
    generator = np.random.default_rng(5)
    found = [random_decision(generator) for _ in range(60)]
    assert {decision.verdict for decision in found} == set(VERDICTS)
    for decision in found:
        text = " ".join([decision.sentence, *decision.notes])
        assert "keep all" not in text.lower()
        if decision.verdict == UNDECIDED:
            assert "keep" not in decision.sentence.lower()
            assert decision.depth is None
        if decision.verdict == USE_BASELINE:
            worst = max(pair.ci_high for (_, name), pair in decision.floors.pairs.items() if name == decision.baseline)
            assert worst < 0
        assert decision.exploratory is (decision.power.n_seeds == 1)

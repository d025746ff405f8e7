"""Decisions over any selections: several may share a depth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_ranks import HR_1, hits, twice

from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.probing.decide import Decision, decide
from layerprobe.probing.per_user import RankTables

TOGETHER = replace(HR_1, rule="simultaneous")


def ranks_of(**shares: float) -> dict[LayerSelection, RankTables]:
    """Ranks of two seeds by selection of eight layers; `keep_0_7=0.5` is `keep:0,7` with HR@1 = 0.5."""
    texts = {name: name.replace("_", ":", 1).replace("_", ",") for name in shares}
    return {parse_selection(texts[name], 8): twice(share) for name, share in shares.items()}


def decided(**shares: float) -> Decision:
    return decide(ranks_of(**shares), {}, TOGETHER)


def test_in_a_sequence_first_layers_represent_their_depth_and_others_do_not() -> None:
    # keep:0,7 is named before first:2 and is better; first:2 decides.
    decision = decide(ranks_of(keep_0_7=0.499, first_2=0.497, last_1=0.3, first_4=0.499, first_8=0.5), {}, HR_1)
    assert [each.text for each in decision.sequence] == ["first:4", "first:2", "last:1"]
    assert decision.selection is not None
    assert decision.selection.text == "first:2"
    assert decision.record().sequence == ("first:4", "first:2", "last:1")


def test_a_sequence_stops_at_the_first_depth_that_fails() -> None:
    decision = decide(ranks_of(first_1=0.2, first_2=0.5, first_4=0.48, first_8=0.5), {}, HR_1)
    verdicts = {each.text: found.verdict for each, found in decision.selections.items()}
    assert verdicts == {"first:1": "worse", "first:2": "untested", "first:4": "worse", "first:8": "not worse"}
    assert decision.selection is None
    assert decision.notes[2:] == (
        "Depth 2 is untested: depths are tested from the deepest down, and the test stopped because depth 4 did not "
        "pass. decision.rule simultaneous tests all at once.",
    )


def test_a_depth_of_a_sequence_is_tested_at_the_full_error() -> None:
    # Its bound is the one it has where no other depth is studied, and so higher than the simultaneous one.
    ranks = {
        parse_selection(f"first:{k}", 4): hits(0.5, flipped=flipped, seed=k)
        for k, flipped in ((4, 0.0), (3, 0.1), (2, 0.1), (1, 0.1))
    }
    full, three, two, one = ranks
    alone = decide({full: ranks[full], two: ranks[two]}, {}, HR_1).selections[two].lower_bound
    together = decide(ranks, {}, TOGETHER).selections
    in_sequence = decide(ranks, {}, HR_1).selections
    assert in_sequence[two].lower_bound == pytest.approx(alone, rel=1e-4)
    assert all(in_sequence[each].lower_bound > together[each].lower_bound for each in (one, two, three))
    assert all(in_sequence[each].ci_low == together[each].ci_low for each in (one, two, three))


def test_a_depth_that_is_better_beyond_a_failure_is_said_and_not_chosen() -> None:
    decision = decide(ranks_of(first_1=0.6, first_2=0.5, first_4=0.4, first_8=0.5), {}, HR_1)
    assert decision.selection is None
    verdicts = {each.text: found.verdict for each, found in decision.selections.items()}
    assert verdicts == {"first:1": "better", "first:2": "untested", "first:4": "worse", "first:8": "not worse"}
    assert "Significantly better than the full model on HR@1 (95 % confidence): depth 1." in decision.notes


def test_smaller_selections_outside_a_sequence_are_named() -> None:
    decision = decide(ranks_of(keep_7=0.5, first_1=0.3, first_2=0.5, first_8=0.5), {}, HR_1)
    assert decision.depth == 2
    assert (
        "Selection keep:7 is smaller than what is kept and also not worse, by bounds for all selections together. Only "
        "one selection per depth could be chosen; decision.rule simultaneous allows all." in decision.notes
    )


def test_at_the_smallest_depth_that_passes_the_highest_metric_is_chosen() -> None:
    decision = decided(first_1=0.2, first_2=0.497, keep_0_7=0.499, last_2=0.498, first_4=0.6, first_8=0.5)
    assert decision.selection is not None
    assert (decision.selection.text, decision.depth, decision.full_depth) == ("keep:0,7", 2, 8)
    assert decision.sentence.startswith(
        "Keep 2 of 8 layers (keep:0,7): they have an HR@1 of 0.4990, compared with 0.5000 for the full model "
        "(-0.2 %). The loss is within the margin of 2 % (95 % confidence, 10,000 users, 2 seeds)."
    )


def test_a_higher_metric_does_not_win_over_a_smaller_depth() -> None:
    decision = decided(keep_7=0.495, keep_0_7=0.6, first_8=0.5)
    assert decision.depth == 1
    assert decision.sentence.startswith("Keep 1 of 8 layers (keep:7): it has an HR@1 of 0.4950")


def test_first_layers_are_named_as_a_selection_beside_others() -> None:
    decision = decided(first_2=0.5, last_2=0.2, first_8=0.5)
    assert decision.sentence.startswith("Keep 2 of 8 layers (first:2): they have")


def test_the_order_of_the_selections_changes_nothing() -> None:
    shares = {"first_8": 0.5, "keep_0_7": 0.499, "first_2": 0.3}
    assert decided(**shares) == decided(**dict(reversed(shares.items())))


def test_all_bounds_are_simultaneous_so_more_selections_widen_them() -> None:
    noisy = hits(0.49, flipped=0.1)
    first, full = parse_selection("first:2", 8), parse_selection("first:8", 8)
    alone = decide({first: noisy, full: hits(0.5)}, {}, TOGETHER)
    more = {parse_selection(f"random:2@{seed}", 8): hits(0.49, flipped=0.1, seed=seed) for seed in range(1, 6)}
    together = decide({first: noisy, **more, full: hits(0.5)}, {}, TOGETHER)
    assert together.selections[first].lower_bound < alone.selections[first].lower_bound


def test_none_passed_is_said_of_selections() -> None:
    decision = decided(first_1=0.3, keep_0_7=0.3, first_8=0.5)
    assert (decision.depth, decision.selection) == (None, None)
    best = decision.selections[parse_selection("first:1", 8)]
    low, high = (f"{100 * bound / 0.5:+.1f} %" for bound in (best.ci_low, best.ci_high))
    assert decision.sentence == (
        "The full model is needed: every smaller selection loses more than 2 % of its HR@1 of 0.5000 (95 % confidence, "
        f"10,000 users, 2 seeds). The best of them, first:1, has 0.3000 (-40.0 % [{low}, {high}])."
    )


def test_notes_name_larger_ones_that_failed_equal_ones_that_are_worse_and_better_ones() -> None:
    decision = decided(keep_0_7=0.5, last_2=0.2, first_4=0.3, last_6=0.6, first_8=0.5)
    assert decision.notes[0].startswith("Each selection was trained 2 times. ")
    assert decision.notes[1].startswith(
        "Fewer than 30 users make up the difference in HR@1 from the full model, too few for a "
    )
    assert decision.notes[2:] == (
        "Selection first:4 is larger than keep:0,7 but did not pass the test: more layers are not always better here.",
        "Selection last:2 is as large as keep:0,7 but worse, by more than the margin: it matters which "
        "layers are kept.",
        "Significantly better than the full model on HR@1 (95 % confidence): last:6.",
    )


def test_depth_numbers_and_first_selections_give_the_same_decision() -> None:
    tables = {1: hits(0.4), 2: hits(0.499), 8: hits(0.5)}
    by_text = {parse_selection(f"first:{k}", 8): ranks for k, ranks in tables.items()}
    assert decide(tables, {}, HR_1) == decide(by_text, {}, HR_1)
    assert list(decide(tables, {}, HR_1).depths) == [1, 2, 8]


def test_the_record_names_selection_and_layers_at_the_top_and_in_each_entry() -> None:
    content = decided(keep_0_7=0.5, first_4=0.3, first_8=0.5).record()
    assert (content.depth, content.selection, content.layers) == (2, "keep:0,7", (0, 7))
    entries = [(row.depth, row.selection, row.layers) for row in content.depths]
    assert entries == [(2, "keep:0,7", (0, 7)), (4, "first:4", (0, 1, 2, 3)), (8, "first:8", tuple(range(8)))]
    nothing = decided(keep_0_7=0.1, first_8=0.5).record()
    assert (nothing.depth, nothing.selection, nothing.layers) == (None, None, None)


OTHER_BACKBONE = parse_selection("keep:0,3", 4)


@pytest.mark.parametrize(
    ("by_selection", "message"),
    [
        (ranks_of(keep_0_7=0.5, first_4=0.5), "with one that keeps all 8 layers; got keep:0,7 of 8, first:4 of 8"),
        (ranks_of(first_8=0.5, last_8=0.5, first_1=0.5), "with one that keeps all 8 layers"),
        (ranks_of(first_8=0.5) | {OTHER_BACKBONE: hits(0.5)}, "of one backbone.*keep:0,3 of 4"),
        (ranks_of(first_8=0.5, first_2=0.5) | {2: hits(0.4)}, "each once"),
        (ranks_of(first_8=0.5), "a decision needs the full model and a smaller depth"),
        ({}, "selections and ranks tables, at least one; got an empty mapping"),
        (ranks_of(first_8=0.5) | {parse_selection("keep:0,7", 8): []}, "keep:0,7 has no ranks"),
    ],
)
def test_selections_without_a_single_full_model_are_refused(by_selection: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decide(by_selection, {}, HR_1)
    assert "\n" not in str(caught.value)

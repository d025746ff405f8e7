"""Variants against the twins of a control arm."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from layerprobe import columns
from layerprobe.backbone.selection import parse_selection
from layerprobe.errors import InputError
from layerprobe.evaluation.uncertainty import simultaneous_bounds
from layerprobe.probing.controls import compare_control
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.store.records import plain_of

OPTIONS = DecisionOptions(metric="hr", k=1, margin=0.3, n_boot=300)
KEEP, FIRST, FULL = (parse_selection(text, 4) for text in ("keep:0,3", "first:2", "first:4"))
HALF_UP = np.array([0, 50] * 200)
"""Every other user's target comes first, the others' beyond the tenth place: NDCG@10 is 1/2."""


def ranks_table(n_higher: np.ndarray, first_user: int = 0) -> pd.DataFrame:
    """Test targets ranked in the whole catalogue, and rows of another split and protocol that must not count."""
    table = pd.DataFrame(
        {
            columns.USER: np.arange(len(n_higher)) + first_user,
            columns.TARGET: 3,
            columns.SPLIT: "test",
            columns.PROTOCOL: "full",
            columns.N_HIGHER: n_higher,
            columns.N_TIES: 0,
        }
    )
    return pd.concat([table.assign(split="valid", n_higher=0), table.assign(protocol="sampled-9", n_higher=0), table])


def test_differences_are_variant_minus_twin_with_bounds_over_all_selections() -> None:
    generator = np.random.default_rng(0)
    ranks = {each: generator.integers(0, 15, (2, 400)) for each in (KEEP, FULL)}
    arm = compare_control("random-init", {k: (ranks_table(v[0]), ranks_table(v[1])) for k, v in ranks.items()}, OPTIONS)
    gains = {k: np.where(v < 10, 1 / np.log2(2 + v), 0) for k, v in ranks.items()}
    bounds = simultaneous_bounds(np.stack([g[0] - g[1] for g in gains.values()], axis=1), 0.05, 300, seed=0)
    for column, each in enumerate((KEEP, FULL)):
        found = arm.twins[each]
        assert found.value == pytest.approx(gains[each][0].mean())
        assert found.control_value == pytest.approx(gains[each][1].mean())
        assert found.difference == pytest.approx(gains[each][0].mean() - gains[each][1].mean())
        assert (found.ci_low, found.ci_high) == pytest.approx((bounds.low[column], bounds.high[column]))
    assert arm.n_users == 400


def test_ndcg_at_ten_is_compared_whatever_the_decision_asks_for() -> None:
    content = compare_control("random-init", {FULL: (ranks_table(HALF_UP), ranks_table(HALF_UP + 2))}, OPTIONS).record()
    assert (content.metric, content.k) == ("ndcg", 10)
    assert content.selections[0].value == 1 / 2
    assert content.selections[0].control_value == pytest.approx(1 / 4)  # third place: 1 / log2(4)
    assert not hasattr(content, "margin")


def test_the_sentence_counts_what_is_significant_and_names_what_is_not() -> None:
    swapped = HALF_UP[::-1].copy()
    pairs = {
        parse_selection("first:1", 4): (ranks_table(HALF_UP), ranks_table(np.full(400, 50))),
        FIRST: (ranks_table(HALF_UP), ranks_table(swapped)),
        KEEP: (ranks_table(HALF_UP), ranks_table(np.zeros(400, int))),
        FULL: (ranks_table(HALF_UP), ranks_table(np.full(400, 50))),
    }
    pairs = {kept: ([variant] * 2, [twin] * 2) for kept, (variant, twin) in pairs.items()}
    mixed = compare_control("random-init", pairs, OPTIONS)
    assert [found.verdict for found in mixed.twins.values()] == ["better", "undecided", "worse", "better"]
    assert mixed.sentence == (
        "Pretrained weights give a significantly higher NDCG@10 than random weights at 2 of 4 selections (first:1 and "
        "first:4), with 95 % confidence for all together (400 users). Selection keep:0,3 is significantly worse with "
        "pretrained weights. Selection first:2 is undecided: the interval contains 0."
    )
    depths = compare_control("random-init", {k: v for k, v in pairs.items() if k != KEEP}, OPTIONS).sentence
    assert "at 2 of 3 depths (1 and 4), with" in depths
    assert depths.endswith("Depth 2 is undecided: the interval contains 0.")
    alone = compare_control("random-init", {FULL: pairs[FIRST]}, OPTIONS).sentence
    assert "at none of 1 depth, with" in alone
    alike = compare_control("random-init", {FIRST: pairs[FIRST], FULL: pairs[FIRST]}, OPTIONS).sentence
    assert alike.endswith("(400 users). All are undecided: their intervals contain 0.")


def test_one_seed_is_told_of_these_trained_models_without_a_word_of_significance() -> None:
    pairs = {
        FIRST: (ranks_table(HALF_UP), ranks_table(np.full(400, 50))),
        FULL: (ranks_table(HALF_UP), ranks_table(np.zeros(400, int))),
    }
    assert compare_control("random-init", pairs, OPTIONS).sentence == (
        "Pretrained weights give a higher NDCG@10 than random weights at 1 of 2 depths (2), with 95 % intervals for "
        "these trained models for all together (400 users, one seed). Depth 4 is worse with pretrained weights."
    )
    stated = compare_control("random-init", pairs, replace(OPTIONS, prior_noise=0.5))
    # Half of 0.5 is the standard deviation of one training, and both were trained.
    assert stated.twins[FIRST].verdict == "undecided"
    assert stated.twins[FIRST].ci_low == pytest.approx(0.5 - 2.2 * 0.25 * 2**0.5, abs=0.05)
    assert "give a significantly higher NDCG@10" in stated.sentence


def test_seeds_are_averaged_per_user() -> None:
    twins = [ranks_table(np.zeros(400, int)), ranks_table(np.full(400, 50))]
    found = compare_control("random-init", {FULL: ([ranks_table(HALF_UP)] * 2, twins)}, OPTIONS).twins[FULL]
    assert (found.value, found.control_value, found.seeds) == (0.5, 0.5, 2)


def test_the_dictionary_is_plain_json_with_layers() -> None:
    arm = compare_control("random-init", {KEEP: (ranks_table(HALF_UP), ranks_table(HALF_UP))}, OPTIONS)
    content = plain_of(arm.record())
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["control"] == "random-init"
    assert content["selections"][0]["selection"] == "keep:0,3"
    assert content["selections"][0]["layers"] == [0, 3]
    assert content["selections"][0]["depth"] == 2


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({}, "needs at least one selection with layers; got none"),
        ({FULL: (ranks_table(HALF_UP), ranks_table(HALF_UP, 1))}, "first:4 of random-init must be ranked on the same"),
        (
            {
                FIRST: (ranks_table(HALF_UP), ranks_table(HALF_UP)),
                FULL: (ranks_table(HALF_UP, 1), ranks_table(HALF_UP, 1)),
            },
            "first:4 must be ranked on the same users and targets as first:2",
        ),
        ({FULL: (ranks_table(HALF_UP), [])}, "first:4 of random-init has no ranks"),
    ],
)
def test_ranks_that_cannot_be_compared_are_refused_by_name(pairs: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        compare_control("random-init", pairs, OPTIONS)
    assert "\n" not in str(caught.value)

"""Which selection a budget picks, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from made_decisions import made_decision, made_row

from layerprobe.errors import InputError
from layerprobe.probing.budget import BudgetOptions, pick_within
from layerprobe.store.decision import DecisionRecord
from layerprobe.store.records import plain_of

# selection: depth, metric, verdict, ms, parameters
MODELS: dict[str, tuple[int, float, str, float, int]] = {
    "first:0": (0, 0.10, "worse", 1.0, 100),
    "first:1": (1, 0.19, "undecided", 2.0, 200),
    "keep:1": (1, 0.15, "untested", 500.0, 90),
    "last:1": (1, 0.16, "worse", 2.5, 200),
    "first:2": (2, 0.198, "not worse", 4.0, 300),
    "first:3": (3, 0.201, "better", 5.0, 400),
    "first:4": (4, 0.20, "not worse", 6.0, 500),
}
FULL = 0.20
# Validation orders them otherwise than the test: on test users last:1 < first:1 < first:2 < first:4 < first:3.
VALID = {"first:0": 0.09, "first:1": 0.17, "keep:1": 0.14, "last:1": 0.18, "first:2": 0.21, "first:3": 0.19,
         "first:4": 0.20}  # fmt: skip


def decision(selection: str | None = "first:2") -> DecisionRecord:
    rows = tuple(
        made_row(
            text, depth, value=value, difference=value - FULL, relative=value / FULL - 1, ci_low=value - FULL - 0.01,
            ci_high=value - FULL + 0.01, lower_bound=value - FULL - 0.001, verdict=verdict,
        )
        for text, (depth, value, verdict, _, _) in MODELS.items()
    )  # fmt: skip
    depth = None if selection is None else MODELS[selection][0]
    return made_decision(selection=selection, depth=depth, depths=rows)


def costs() -> pd.DataFrame:
    rows = [("variant", text, ms, parameters) for text, (_, _, _, ms, parameters) in MODELS.items()]
    return pd.DataFrame(
        [*rows, ("sasrec", "", 0.1, 10)], columns=["kind", "selection", "latency_ms_p95_1", "parameters"]
    )


@pytest.mark.parametrize(
    ("budget", "decided", "picked", "is_decided"),
    [
        ({"latency_ms": 4.0}, "first:2", "first:2", True),  # at most: a limit itself keeps the budget
        ({"latency_ms": 100.0}, "first:2", "first:2", True),  # not first:3, although it is better
        ({"latency_ms": 3.9}, "first:2", "last:1", False),
        ({"latency_ms": 2.4}, "first:2", "first:1", False),
        ({"latency_ms": 1.5}, "first:2", "first:0", False),
        ({"parameters": 299}, "first:2", "last:1", False),
        ({"parameters": 300}, "first:2", "first:2", True),
        ({"latency_ms": 100.0, "parameters": 150}, "first:2", "first:0", False),
        ({"latency_ms": 1.0, "parameters": 1000}, "first:2", "first:0", False),
        ({"parameters": 500}, None, "first:4", True),  # none decided: the full model
        ({"parameters": 499}, None, "first:2", False),  # first:3 has the highest test value within
        ({"parameters": 399}, None, "first:2", False),
    ],
)
def test_the_pick(budget: dict[str, Any], decided: str | None, picked: str, is_decided: bool) -> None:
    found = pick_within(BudgetOptions(**budget), decision(decided), costs(), VALID)
    assert (found.selection, found.is_decided) == (picked, is_decided)
    assert found.depth == MODELS[picked][0]
    assert found.layers == tuple(range(MODELS[picked][0]))
    taken = {"latency_ms": MODELS[picked][3], "parameters": MODELS[picked][4]}
    assert found.costs == {name: taken[name] for name in budget}
    found.require_met()
    assert plain_of(found.record()) == {
        "latency_ms": budget.get("latency_ms"), "parameters": budget.get("parameters"), "selection": picked,
        "depth": found.depth, "layers": list(range(MODELS[picked][0])), "is_decided": is_decided, "costs": found.costs,
        "sentence": found.sentence,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "decided", "phrases"),
    [
        ({"latency_ms": 2.4}, "first:2", [
            "Within the budget latency_ms=2.4: first:1 (1 of 4 layers), picked by validation NDCG@10 (0.1700, the "
            "highest within the budget), takes 2 ms per request (p95); the decided first:2 takes 4 ms per "
            "request (p95). ",
            "first:1 has an NDCG@10 of 0.1900, compared with 0.2000 for the full model: a difference of -0.0100 "
            "[-0.0200, 0.0000] (95 % for all together). It is undecided whether it is worse by more than the margin "
            "of 2 %.",
        ]),
        ({"latency_ms": 1.5}, "first:2", ["together). It is worse by more than the margin of 2 %."]),
        ({"parameters": 95}, "first:2", ["It was not tested whether it is worse by more than the margin of 2 %"]),
        ({"parameters": 450}, None, ["first:2 (2 of 4 layers), picked by", "; the full model takes 500 parameters."]),
        ({"latency_ms": 9.0}, "first:2", ["first:2 (2 of 4 layers), the decided selection,", "It is not worse by"]),
        ({"latency_ms": 9.0, "parameters": 100000}, None, [
            "first:4 (4 of 4 layers), the full model, takes 6 ms per request (p95) and 500 parameters. "
            "Its NDCG@10 is 0.2000; nothing is lost.",
        ]),
    ],
)  # fmt: skip
def test_the_sentence_says_cost_loss_and_how_sure(
    budget: dict[str, Any], decided: str | None, phrases: list[str]
) -> None:
    sentence = pick_within(BudgetOptions(**budget), decision(decided), costs(), VALID).sentence
    assert [phrase for phrase in phrases if phrase not in sentence] == []


@pytest.mark.parametrize(
    ("budget", "nearest"),
    [
        ({"latency_ms": 0.5}, "the nearest is first:0 with 1 ms per request (p95):"),
        ({"parameters": 80}, "the nearest is keep:1 with 90 parameters:"),
        # first:0 takes 1.1 and 1.1 of it, SASRec less but it is no selection
        ({"latency_ms": 0.9, "parameters": 90}, "first:0 with 1 ms per request (p95) and 100 parameters:"),
    ],
)
def test_a_budget_nobody_keeps_names_the_nearest(budget: dict[str, Any], nearest: str) -> None:
    options = BudgetOptions(**budget)
    found = pick_within(options, decision(), costs(), VALID)
    assert (found.selection, found.depth, found.layers, found.is_decided) == (None, None, None, False)
    with pytest.raises(InputError) as raised:
        found.require_met()
    assert f"no studied selection keeps the budget {options.label}; " in str(raised.value)
    assert nearest in str(raised.value)


def test_the_nearest_of_two_limits_exceeds_its_worst_limit_least() -> None:
    table = costs()
    table.loc[table["selection"] == "first:0", "latency_ms_p95_1"] = 50.0
    found = pick_within(BudgetOptions(latency_ms=1.0, parameters=100), decision(), table, VALID)
    # first:0: 50 times the latency; first:1: twice both; last:1: 2.5 times the latency
    assert "the nearest is first:1 with 2 ms" in found.sentence


def test_what_was_not_measured_is_not_picked() -> None:
    table = costs()
    found = pick_within(BudgetOptions(parameters=400), decision(), table[table["selection"] != "first:2"], VALID)
    assert found.selection == "first:3"
    assert "the decided first:2 was not measured" in found.sentence


def test_test_values_take_no_part_in_the_pick() -> None:
    """Whatever the test values are, the pick and the nearest selection stay the same."""
    options, none_decided = BudgetOptions(parameters=450), decision(None)
    mirrored = tuple(replace(row, value=1 - row.value) for row in none_decided.depths)
    equal = costs().assign(parameters=500)
    for rows in (none_decided.depths, mirrored):
        with_rows = replace(none_decided, depths=rows)
        assert pick_within(options, with_rows, costs(), VALID).selection == "first:2"
        found = pick_within(BudgetOptions(parameters=9), with_rows, equal, VALID)
        assert "the nearest is first:2 with 500 parameters" in found.sentence


def test_of_two_equal_validation_values_the_smaller_is_picked() -> None:
    found = pick_within(BudgetOptions(parameters=450), decision(None), costs(), dict.fromkeys(MODELS, 0.1))
    assert found.selection == "first:0"


@pytest.mark.parametrize("lost", [{}, {"first:1": math.nan}])
def test_a_measured_selection_needs_a_validation_value(lost: dict[str, float]) -> None:
    valid = {text: value for text, value in VALID.items() if text != "first:1"} | lost
    with pytest.raises(InputError, match=r"and first:1 has none: its ranks need rows with split valid"):
        pick_within(BudgetOptions(parameters=300), decision(), costs(), valid)


@pytest.mark.parametrize("wrong", [{"latency_ms": 0.0}, {"latency_ms": math.nan}, {"latency_ms": math.inf},
                                   {"parameters": 0}, {"parameters": -3, "latency_ms": 1.0}])  # fmt: skip
def test_limits_are_numbers_above_0(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"(latency_ms|parameters) must (be|lie)"):
        BudgetOptions(**wrong)

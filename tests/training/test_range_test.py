"""The learning-rate test: geometric rates, and the advice where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from layerprobe import columns
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError
from layerprobe.recommender.losses import next_item_objective
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training.options import TrainingOptions
from layerprobe.training.range_test import RISE, Average, RangeTest, RateRange, range_test
from layerprobe.training.rate_advice import RateAdvice, read_range, sentence, verdict_sentence

OPTIONS = TrainingOptions(batch_size=8, weight_decay=0.0)
DISTANCE = 1.0


def sasrec() -> SASRec:
    torch.manual_seed(5)
    return SASRec(12, SASRecOptions(dim=8, dropout=0.3, max_len=8))


def batches(split: Split) -> TrainBatches:
    return TrainBatches(split, 8, 8, "all", 0)


def bowl(model: SequenceModel, _batch: SequenceBatch) -> dict[str, torch.Tensor]:
    """The mean square distance of the first parameter from a point that lies `DISTANCE` from zero."""
    first = next(iter(model.parameters()))
    return {"loss": ((first - DISTANCE) ** 2).mean() + 0 * sum(value.sum() for value in model.parameters())}


def at_zero() -> SASRec:
    model = sasrec()
    torch.nn.init.zeros_(next(iter(model.parameters())))
    return model


def swept(loss: list[float], tried: RateRange, ending: str = "end", norm: float = 1.0) -> RangeTest:
    """A test that saw these losses."""
    average = Average(1 - 1 / tried.window)
    rows = [(i, rate, x, average.add(x), norm) for i, (rate, x) in enumerate(zip(tried.rates, loss, strict=False))]
    return RangeTest(pd.DataFrame(rows, columns=list(columns.RATE_RANGE)), ending, tried)


def test_rates_rise_by_one_factor_from_low_to_high() -> None:
    assert RateRange(1e-4, 1e-2, 11).rates == pytest.approx([1e-4 * 10 ** (2 * i / 10) for i in range(11)])


def test_the_average_is_unbiased_from_the_first_value_on() -> None:
    average = Average(0.9)
    assert average.add(5.0) == pytest.approx(5.0)
    assert average.add(2.0) == pytest.approx((0.9 * 5.0 + 2.0) / (0.9 + 1))
    assert average.add(3.0) == pytest.approx((0.81 * 5.0 + 0.9 * 2.0 + 3.0) / (0.81 + 0.9 + 1))


def test_a_bowl_is_left_alone_then_crossed_then_left_behind(split: Split) -> None:
    """Adam moves every entry by about the rate, so after step i an entry has gone the sum of the rates so far."""
    tried = RateRange(1e-6, 100.0, 161)
    test = range_test(at_zero(), batches(split), bowl, OPTIONS, tried)
    loss, rate = test.table[columns.LOSS], test.table[columns.LEARNING_RATE]
    assert rate.to_numpy() == pytest.approx(tried.rates[: len(rate)])
    gone = np.concatenate([[0.0], np.cumsum(tried.rates)])
    small = np.flatnonzero(gone[: len(loss)] < 0.05 * DISTANCE)
    assert len(small) > 60
    assert loss[small].to_numpy() == pytest.approx((DISTANCE - gone[small]) ** 2, rel=1e-2)
    crossing = tried.rates[np.searchsorted(gone, DISTANCE)]
    advice = read_range(test)
    assert advice is not None
    assert advice.turn is not None
    assert crossing / 4 < advice.steepest < crossing * 2
    assert crossing / 2 < advice.turn
    assert advice.largest_safe == pytest.approx(advice.turn / 3)
    assert test.ending == "rose"
    assert test.table[columns.SMOOTHED].iloc[-1] > RISE * DISTANCE**2 >= test.table[columns.SMOOTHED].iloc[-2]
    assert test.diverged_at == rate.iloc[-1] > advice.turn


def test_a_loss_that_stops_being_finite_is_what_was_found_and_no_error(split: Split) -> None:
    def breaking(model: SequenceModel, batch: SequenceBatch) -> dict[str, torch.Tensor]:
        loss = bowl(model, batch)["loss"]
        return {"loss": loss / (loss > 0.25)}  # less than half the way left: infinite

    tried = RateRange(1e-6, 100.0, 161)
    test = range_test(at_zero(), batches(split), breaking, OPTIONS, tried)
    half = np.flatnonzero(np.cumsum(tried.rates) > DISTANCE / 2)[0]  # the update of this step is the fatal one
    assert test.ending == "not finite"
    assert abs(len(test.table) - (half + 2)) <= 2
    assert np.isfinite(test.table[columns.LOSS][:-1]).all()
    assert math.isinf(test.table[columns.LOSS].iloc[-1])
    advice = read_range(test)
    assert advice is not None
    assert advice.turn in test.table[columns.LEARNING_RATE].iloc[-12:-1].to_list()


def test_a_gradient_that_is_not_finite_ends_it_too(split: Split) -> None:
    def steep(model: SequenceModel, _batch: SequenceBatch) -> dict[str, torch.Tensor]:
        return {"loss": sum(value.clamp(min=0).sqrt().sum() for value in model.parameters())}

    test = range_test(at_zero(), batches(split), steep, OPTIONS, RateRange())
    assert (test.ending, len(test.table)) == ("not finite", 1)
    assert math.isfinite(test.table[columns.LOSS].iloc[0])
    assert read_range(test) is None
    assert "before any rate was tried" in sentence(test, None)


def test_the_same_seed_gives_the_same_table_and_goes_on_into_further_epochs(split: Split) -> None:
    made = batches(split)
    assert len(made.plan(0)) < 40
    first, second = (range_test(sasrec(), made, next_item_objective, OPTIONS, RateRange(steps=40)) for _ in range(2))
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    assert len(first.table) == 40
    other = range_test(sasrec(), TrainBatches(split, 8, 8, "all", 1), next_item_objective, OPTIONS, RateRange(steps=40))
    assert not first.table[columns.LOSS].equals(other.table[columns.LOSS])


def test_the_options_rate_and_schedule_do_not_matter(split: Split) -> None:
    changed = TrainingOptions(batch_size=8, weight_decay=0.0, learning_rate=0.5, warmup_steps=9, epochs=1)
    found = [
        range_test(sasrec(), batches(split), next_item_objective, options, RateRange(steps=12)).table
        for options in (OPTIONS, changed)
    ]
    pd.testing.assert_frame_equal(*found, check_exact=True)


def valley(tried: RateRange, fall_at: float, rise_at: float, noise: float = 0.0) -> list[float]:
    """A loss that falls from 5 to 3 around one rate and rises by 20 around another."""
    places = np.log10(tried.rates)
    fall, rise = (1 / (1 + np.exp(-6 * (places - math.log10(rate)))) for rate in (fall_at, rise_at))
    return list(5 - 2 * fall + 20 * rise + noise * np.random.default_rng(0).normal(size=len(places)))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("steps", [100, 200, 1000])
def test_the_steepest_fall_and_the_turn_are_where_they_were_put(steps: int, noise: float) -> None:
    tried = RateRange(1e-6, 1.0, steps)
    advice = read_range(swept(valley(tried, 1e-4, 1e-1, noise), tried))
    assert advice is not None
    late = 10 ** (6 / 20)  # the smoothed loss is that much behind
    assert 1e-4 < advice.steepest < 1.5 * late * 1e-4
    assert advice.turn is not None
    nearly_fallen = 1e-4 * 10 ** (math.log(0.95 / 0.05) / 6)  # where the fall alone is 95 % of itself
    slack = 2 if noise else 1
    assert nearly_fallen / slack < advice.turn < slack * late**2 * nearly_fallen
    assert advice.largest_safe == pytest.approx(advice.turn / 3)
    assert advice.suggested == min(advice.steepest, advice.largest_safe)
    assert not advice.from_edge


@pytest.mark.parametrize(
    ("loss", "ending", "words"),
    [
        ([5.0 + 0.1 * (-1) ** i for i in range(100)], "end", "the loss does not fall at any rate from 1e-06 to 1"),
        ([5.0 + 0.01 * i for i in range(100)], "rose", "the loss never fell, and at 1 it had risen"),
        ([5.0, 4.9, math.nan], "not finite", "was no longer finite"),
        ([math.nan], "not finite", "before any rate was tried"),
    ],
)
def test_no_suggestion_where_the_loss_never_falls(loss: list[float], ending: str, words: str) -> None:
    test = swept(loss, RateRange(steps=100), ending)
    assert read_range(test) is None
    assert words in sentence(test, None)
    assert sentence(test, None).startswith("no suggestion")


def test_a_loss_that_still_falls_at_the_last_rate_has_no_turn() -> None:
    tried = RateRange(1e-6, 1e-2, 200)
    test = swept(valley(tried, 1e-3, 1e3), tried)
    advice = read_range(test)
    assert advice is not None
    assert (advice.turn, advice.largest_safe) == (None, pytest.approx(1e-2))
    assert "still falls at 0.01, the largest tried" in sentence(test, advice)


def test_a_loss_that_falls_fastest_at_once_asks_for_a_lower_start() -> None:
    tried = RateRange(1e-4, 1.0, 200)
    test = swept([5 * 0.97**i for i in range(200)], tried)
    advice = read_range(test)
    assert advice is not None
    assert advice.from_edge
    assert "a smaller low may show more" in sentence(test, advice)


@pytest.mark.parametrize(
    ("rate", "verdict", "words"),
    [
        (0.31, "too large", "above the turn"),
        (0.11, "risky", "above the safe range, which ends at 0.1"),
        (0.1, "safe", "in the safe range"),
        (0.002, "safe", "in the safe range"),
        (0.0019, "slow", "10 times below the suggestion"),
    ],
)
def test_how_a_rate_stands_to_the_test(rate: float, verdict: str, words: str) -> None:
    advice = RateAdvice(steepest=0.02, turn=0.3, largest_safe=0.1, suggested=0.02, from_edge=False)
    assert advice.verdict(rate) == verdict
    said = verdict_sentence(advice, "training.learning_rate", rate)
    assert said.startswith(f"training.learning_rate, {rate:g}, ")
    assert words in said


@pytest.mark.parametrize(("rate", "verdict"), [(2.0, "untested"), (1.0, "safe"), (1e-6, "safe")])
def test_where_no_turn_was_seen_nothing_is_suggested_or_called_slow(rate: float, verdict: str) -> None:
    advice = RateAdvice(steepest=0.5, turn=None, largest_safe=1.0, suggested=None, from_edge=False)
    assert advice.verdict(rate) == verdict
    said = verdict_sentence(advice, "training.learning_rate", rate)
    assert ("it was not tested" in said) == (verdict == "untested")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1.0, 1e-3, 50), "low must be below high; got 1 and 0.001"),
        ((1e-3, 1e-3, 50), "low must be below high"),
        ((0.0, 1.0, 50), "RateRange.low must be above 0"),
        ((-1.0, 1.0, 50), "RateRange.low must be above 0"),
        ((math.nan, 1.0, 50), "got nan"),
        ((1e-3, math.inf, 50), "got inf"),
        ((1e-3, 1.0, 9), "at least 10; got 9"),
    ],
)
def test_bad_ranges(values: tuple[float, float, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RateRange(*values)

"""How a training ended: slope and its noise, why it stopped, whether it was still improving."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerprobe.errors import InputError
from layerprobe.store.model_record import ModelRecord
from layerprobe.training.convergence import convergence, epoch_limits, read_valid


def model(valid: list[float], best_epoch: int | None = None) -> ModelRecord:
    best = int(np.argmax(valid)) + 1 if best_epoch is None else best_epoch
    return ModelRecord(
        kind="variant", selection="first:1", depth=1, seed=0, parameters={"total": 1}, train_seconds=1.0,
        users_per_second=1.0, epochs=len(valid), best_epoch=best, best_valid=max(valid), metrics=[],
    )  # fmt: skip


@pytest.mark.parametrize(("n_epochs", "n_last"), [(3, 3), (4, 3), (9, 3), (10, 4), (12, 4), (30, 10)])
def test_slope_and_noise_are_those_of_least_squares_over_the_last_third(n_epochs: int, n_last: int) -> None:
    valid = (0.2 + 0.05 * np.random.default_rng(n_epochs).random(n_epochs)).tolist()
    found = convergence(model(valid), valid, n_epochs, None)
    line = np.polyfit(np.arange(n_last), np.array(valid[-n_last:]) / max(valid), 1, full=True)
    residual, spread = line[1][0], n_last * (n_last**2 - 1) / 12
    assert found.slope == pytest.approx(line[0][0])
    assert found.slope_se == pytest.approx((residual / (n_last - 2) / spread) ** 0.5)


@pytest.mark.parametrize(
    ("valid", "allowed", "patience", "stopped_by", "rising"),
    [
        ([0.1, 0.2, 0.3, 0.41], 4, None, "limit", True),
        ([0.1, 0.2, 0.3, 0.41], 4, 5, "limit", True),
        ([0.1, 0.2, 0.3, 0.29], 4, 5, "limit", False),  # the best epoch is not the last
        ([0.1, 0.5, 0.4, 0.3], 9, 2, "patience", False),
        ([0.1, 0.5, 0.4, 0.3], 4, 2, "patience", False),  # at its limit and out of patience
        ([0.3, 0.5, 0.1, 0.501], 4, None, "limit", False),  # the last is best by chance: noise above the slope
        ([0.1, 0.2], 2, None, "limit", True),  # too short for a slope
        ([0.2, 0.1], 2, None, "limit", False),
    ],
)
def test_who_still_rises(valid: list[float], allowed: int, patience: int | None, stopped_by: str, rising: bool) -> None:
    found = convergence(model(valid), valid, allowed, patience)
    assert (found.stopped_by, found.rising) == (stopped_by, rising)
    assert (found.epochs, found.epochs_allowed, found.best_valid) == (len(valid), allowed, max(valid))
    assert np.isnan(found.slope) == np.isnan(found.slope_se) == (len(valid) < 3)


def test_without_a_log_the_best_epoch_alone_counts() -> None:
    found = convergence(model([0.1, 0.2, 0.3, 0.4]), None, 4, None)
    assert np.isnan(found.slope)
    assert found.rising
    assert not convergence(model([0.1, 0.2, 0.3, 0.4], best_epoch=2), None, 4, None).rising


def test_a_metric_of_nothing_has_no_slope() -> None:
    assert np.isnan(convergence(model([0.0, 0.0, 0.0], best_epoch=0), [0.0] * 3, 3, None).slope)


def test_the_log_gives_one_value_per_epoch_without_the_untrained_model(tmp_path: Path) -> None:
    rows = [{"epoch": 0, "valid_ndcg@10": 0.9}, {"step": 0, "epoch": 1, "loss": 3.0}]
    rows += [{"epoch": 1, "valid_ndcg@10": 0.1}, {"epoch": 2, "valid_ndcg@10": 0.2}]
    assert read_valid(tmp_path) is None
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert read_valid(tmp_path) == [0.1, 0.2]


@pytest.mark.parametrize(
    "text", ['{"epoch": 1, "valid_ndcg', '{"valid_ndcg@10": 0.1}', '{"epoch": 1, "valid_ndcg@10": "high"}', "1"]
)
def test_a_damaged_log_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(f"{text}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"log\.jsonl is damaged \(.*\); delete .* and train the model again"):
        read_valid(tmp_path)


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ({"training": {"epochs": 3, "patience": None}}, (3, None)),
        ({"training": {"epochs": 3}}, (3, 5)),  # the default of a key that is not stored
        ({"training": {"epochs": 3, "patience": 1}, "distill": {"training": None}}, (3, 1)),
        ({"training": {"epochs": 3, "patience": 1}, "distill": {"training": {"epochs": 7, "patience": 2}}}, (7, 2)),
        ({}, (20, 5)),
    ],
)
def test_limits_are_those_of_the_models_own_recipe(spec: dict, limits: tuple[int, int | None]) -> None:
    assert epoch_limits(spec) == limits

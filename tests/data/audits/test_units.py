"""Times of two units are told by their ranges; one unit, and numbers that only give an order, always pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerprobe.cli.main import main
from layerprobe.data.audits.raw import require_one_unit
from layerprobe.errors import InputError

FIRST = 1_600_000_000  # seconds since 1970, in 2020
SECONDS = np.arange(FIRST, FIRST + 1000)


def mixed(n_second: int, ticks: int) -> np.ndarray:
    """1,000 times of which the oldest are in another unit."""
    times = SECONDS.copy()
    times[:n_second] *= ticks
    return times


@pytest.mark.parametrize(("ticks", "unit"), [(10**3, "milli"), (10**6, "micro"), (10**9, "nano")])
@pytest.mark.parametrize("n_second", [11, 500, 989])
def test_two_units_are_refused_with_ranges_and_counts(ticks: int, unit: str, n_second: int) -> None:
    with pytest.raises(InputError) as caught:
        require_one_unit(mixed(n_second, ticks))
    text = str(caught.value)
    assert f"{1000 - n_second} rows look like seconds ({FIRST + n_second} to {FIRST + 999})" in text
    assert f"{n_second} rows look like {unit}seconds ({FIRST * ticks} to {(FIRST + n_second - 1) * ticks})" in text
    assert len(text) <= 300


@pytest.mark.parametrize("n_second", [1, 10])
def test_at_most_one_per_cent_of_a_second_unit_is_a_note(n_second: int) -> None:
    (note,) = require_one_unit(mixed(n_second, 1000))
    assert f"{n_second} rows look like milliseconds ({FIRST * 1000}" in note


@pytest.mark.parametrize(
    "times",
    [
        None,
        SECONDS,
        SECONDS * 1000,
        SECONDS * 10**9,
        np.arange(1000),  # order numbers
        np.arange(1000) - 500,
        np.linspace(0, 4e15, 1000).astype(np.int64),  # nanoseconds since the start: through all ranges
        np.linspace(0, 1e10, 1000).astype(np.int64),  # milliseconds since the start
        np.r_[0, SECONDS],  # a missing time as 0
        np.arange(1000) * 10_000_000 + 20_000_101_000_000,  # digits of a date
    ],
)
def test_one_unit_or_none_passes_in_silence(times: np.ndarray | None) -> None:
    assert require_one_unit(times) == []


def test_missing_times_as_zero_do_not_hide_a_second_unit() -> None:
    with pytest.raises(InputError, match="500 rows"):
        require_one_unit(np.r_[0, 0, mixed(500, 1000)])


def test_prepare_refuses_a_log_whose_older_half_is_in_milliseconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [FIRST + 60 * t for t in range(20)]
    times[:10] = [1000 * time for time in times[:10]]
    rows = [f"u{u},i{(u + t) % 9},{time}\n" for u in range(40) for t, time in enumerate(times)]
    (tmp_path / "log.csv").write_text("user,item,timestamp\n" + "".join(rows))
    command = ["prepare", "--source", "table", "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "data")]
    assert main(command) == 2
    assert (
        "400 rows look like seconds (1600000600 to 1600001140), 400 rows look like milliseconds"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "data").exists()

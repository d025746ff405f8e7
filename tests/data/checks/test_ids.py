"""Ids that stand for a missing value are refused unless declared; a user with a large share of the rows is noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerprobe.cli.main import main
from layerprobe.data.checks.ids import large_user, require_ids
from layerprobe.data.interactions import Interactions, from_columns
from layerprobe.errors import InputError


def log_of(users: list[str], items: list[str]) -> Interactions:
    return from_columns(np.array(users, dtype=object), np.array(items, dtype=object), np.arange(len(users)) + 5)


@pytest.mark.parametrize("marker", ["NA", "na", "Null", "None", "NaN", "nan", "\\N", "n/a", "<NA>", "#N/A", "NaT", ""])
@pytest.mark.parametrize("column", ["user", "item"])
def test_a_marker_is_refused_with_its_count_and_first_row(marker: str, column: str) -> None:
    marked, other = ["a", marker, "b", marker], ["x", "y", "z", "x"]
    users, items = (marked, other) if column == "user" else (other, marked)
    with pytest.raises(InputError) as caught:
        require_ids(log_of(users, items))
    text = str(caught.value)
    assert f"2 of 4 rows have no {column} but {marker!r}" in text
    assert f"user {users[1]!r}, item {items[1]!r}, time 6" in text
    assert "preprocess.keep_null_ids true" in text
    assert len(text) <= 300


@pytest.mark.parametrize("name", ["nana", "N", "0", "nullify", "nobody", "-", "A", "NAN1", "noNe."])
def test_names_that_only_resemble_a_marker_are_ids(name: str) -> None:
    require_ids(log_of([name, "b"], ["x", name]))


def test_long_ids_and_control_characters_are_not_printed_raw() -> None:
    with pytest.raises(InputError) as caught:
        require_ids(log_of(["NA"], ["\x1b[31m" + "i" * 5000]))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 330


def test_prepare_refuses_a_file_with_a_null_user_until_it_is_declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{'NA' if u % 4 == 0 else f'u{u}'},i{(u + t) % 9},{100 * t + u}\n" for t in range(6) for u in range(20)]
    (tmp_path / "log.csv").write_text("user,item,timestamp\n" + "".join(rows))
    command = ["prepare", "--source", "table", "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "data")]
    assert main(command) == 2
    assert "30 of 120 rows have no user but 'NA'" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert main([*command, "--preprocess.keep_null_ids", "true"]) == 0
    assert "16 users" in capsys.readouterr().out  # 15 others and NA


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([1000, *[10] * 1899], "5.0 %"),  # 1,000 of 19,990: just above 5 %
        ([1000, *[10] * 1900], None),  # 1,000 of 20,000: just 5 %
        ([999, 1], None),  # too few rows to say
        ([1, 3000, 999], "75.0 %"),
    ],
)
def test_a_user_with_a_large_share_is_noted(rows: list[int], share: str | None) -> None:
    found = large_user(np.array(rows))
    assert len(found) == (share is not None)
    if share is not None:
        assert f"one user holds {share} of all rows ({max(rows):,})" in found[0]

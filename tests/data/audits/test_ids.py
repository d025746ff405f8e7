"""Ids that stand for a missing value are refused unless declared; a user with a large share of the rows is noted."""

from __future__ import annotations

import numpy as np
import pytest

from layerprobe.data.audits.raw import require_ids
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
    assert f"must have a {column} id; 2 of 4 have a mark for a missing value, first {marker!r} in row 2" in text
    assert "read.null_ids true" in text
    assert len(text) <= 300


@pytest.mark.parametrize("name", ["nana", "N", "0", "nullify", "nobody", "-", "A", "NAN1", "noNe."])
def test_names_that_only_resemble_a_marker_are_ids(name: str) -> None:
    require_ids(log_of([name, "b"], ["x", name]))

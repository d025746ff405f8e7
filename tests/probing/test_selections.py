"""The distinct selections of a study."""

from __future__ import annotations

import pytest

from layerprobe.errors import InputError
from layerprobe.probing.selections import distinct_selections


def test_selections_come_by_depth_and_then_as_given() -> None:
    found = distinct_selections(["first:4", "keep:0,3", "first:1", "every:2", "last:1"], 4)
    assert [each.text for each in found.selections] == ["first:1", "last:1", "keep:0,3", "every:2", "first:4"]
    assert found.merged == ()
    assert found.merged_line is None


def test_of_texts_that_keep_the_same_layers_the_first_stays_and_the_others_are_named() -> None:
    found = distinct_selections(["first:4", "keep:0-1", "first:2", "ends:2", "uniform:2", "last:4"], 4)
    assert [each.text for each in found.selections] == ["keep:0-1", "ends:2", "first:4"]
    assert found.merged_line == (
        "selections that keep the same layers run once: first:2 as keep:0-1, uniform:2 as ends:2, last:4 as first:4"
    )


def test_a_text_given_twice_is_nothing_to_speak_of() -> None:
    found = distinct_selections(["first:1", "first:2", "first:1"], 2)
    assert [each.text for each in found.selections] == ["first:1", "first:2"]
    assert found.merged_line is None


def test_a_selection_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="'keep:0,4': a backbone of 4 layers has layers 0 to 3; got 4"):
        distinct_selections(["first:4", "keep:0,4"], 4)

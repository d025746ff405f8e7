"""Which keys of a study may change in a folder that holds it already: whole names and what lies below them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from layerprobe.errors import InputError
from layerprobe.store.atomic import write_yaml
from layerprobe.study.guard import FREE_KEYS, check_folder
from layerprobe.study.spec import StudySpec, to_plain
from layerprobe.study.study import Study


def recorded(folder: Path, dotted: str, value: Any) -> Study:
    """A study whose folder was written with another value of one key."""
    plain = to_plain(StudySpec())
    *sections, name = dotted.split(".")
    inner = plain
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    write_yaml(folder / "study.yaml", plain)
    return Study(StudySpec(), folder)


@pytest.mark.parametrize(
    "key",
    ["costly.x", "costly", "distillery", "decisions.margin", "similarityx", "probe.seedling", "items.every_seeds"],
)
def test_a_key_that_only_begins_like_a_free_one_is_guarded(key: str, tmp_path: Path) -> None:
    section = key.split(".")[0]
    named = section if section in ("costly", "decisions") else key
    with pytest.raises(InputError, match=f"holds another study; these keys differ: {named}"):
        check_folder(recorded(tmp_path, key, 1))


@pytest.mark.parametrize("key", ["cost.calls", "cost.x", "distill.weights.cosine", "decision.margin", "probe.seeds"])
def test_a_free_key_and_what_lies_below_it_may_change(key: str, tmp_path: Path) -> None:
    check_folder(recorded(tmp_path, key, 77))


def test_every_free_key_is_a_key_of_the_study() -> None:
    for key in FREE_KEYS:
        value: Any = StudySpec()
        for name in key.split("."):
            assert name in {entry.name for entry in dataclasses.fields(value)}, key
            value = getattr(value, name)

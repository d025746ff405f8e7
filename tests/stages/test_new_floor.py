"""A floor is one class and one line: it is ranked, drawn, sliced and compared, also in a finished study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_study import write_study

from layerprobe import kinds
from layerprobe.cli.main import main
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.catalogue import Catalogue
from layerprobe.data.splits import Split
from layerprobe.kinds import Kind
from layerprobe.probing import curves
from layerprobe.recommender import baselines
from layerprobe.stages import items
from layerprobe.stages.tables import points, slices
from layerprobe.store.atomic import read_json


class Newest:
    """Scores an item by its number in the catalogue."""

    names: tuple[str, ...] = ("newest",)
    max_len: int = 1

    def __init__(self, split: Split) -> None:
        self.n_items = split.sequences.n_items

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> Newest:
        assert catalogue.n_items == split.sequences.n_items
        return cls(split)

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        yield torch.arange(self.n_items + 1.0).expand(len(batch), -1)


@pytest.fixture
def with_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What adding the class, and its line to `kinds.KINDS`, does: every name that is derived from the line."""
    line = Kind("newest", "newest item", "floor", scorer="Newest")
    scored = (*kinds.SCORED_FLOORS, line)
    monkeypatch.setattr(baselines, "Newest", Newest, raising=False)
    for module in (kinds, baselines, points, items):
        monkeypatch.setattr(module, "SCORED_FLOORS", scored)
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, line))
    monkeypatch.setattr(curves, "NAMES", (*curves.NAMES, "newest"))
    monkeypatch.setattr(slices, "SLICED_KINDS", (*slices.SLICED_KINDS, "newest"))


@pytest.mark.usefixtures("with_newest")
def test_a_finished_study_ranks_a_floor_that_is_new(copied: Path, tmp_path: Path) -> None:
    known = {path.name: path.stat().st_mtime_ns for path in (copied / "baselines").glob("ranks-*.parquet")}
    before = read_json(copied / "decision.json")
    assert main(["run", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    ranks = pd.read_parquet(copied / "baselines" / "ranks-newest.parquet").query("protocol == 'full'")
    n_items = len(pd.read_parquet(copied / "data" / "items.parquet"))
    assert ranks["n_higher"].to_list() == [n_items - target for target in ranks["target"]]
    for name, written in known.items():  # those that were there are not ranked again
        assert (copied / "baselines" / name).stat().st_mtime_ns == written
    assert "newest" in set(pd.read_csv(copied / "curve.csv")["kind"])
    assert "newest" in set(pd.read_csv(copied / "slices.csv")["kind"])
    decision = read_json(copied / "decision.json")
    assert [row["name"] for row in decision["baselines"]] == [*(row["name"] for row in before["baselines"]), "newest"]
    assert decision["depths"] == before["depths"]


def test_a_finished_study_builds_no_floor_again(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Popularity", "Markov1", "TfIdf"):
        monkeypatch.setattr(baselines, name, None)
    assert main(["items", str(write_study(tmp_path)), "--out", str(copied)]) == 0


def test_every_line_of_a_scored_floor_names_a_class_that_makes_it(split: Split) -> None:
    catalogue = Catalogue([f"i{k}" for k in range(12)], ["one two"] * 12)  # pyright: ignore[reportArgumentType]
    timed = replace(split, times=np.arange(len(split.sequences.items)))
    made = {floor.names: type(floor).__name__ for floor in baselines.floors(timed, catalogue)}
    assert made == {(kind.name,): kind.scorer for kind in kinds.SCORED_FLOORS}
    without = {floor.names[0] for floor in baselines.floors(split, Catalogue(catalogue.item_ids, None))}
    assert without == {"popularity", "markov-1"}  # the others need times and titles

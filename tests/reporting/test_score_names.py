"""Reporting loads no torch, so it has names of its own: they must be those of what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import MEASURED
from layerprobe.reporting.words import score_names
from layerprobe.similarity import measures
from layerprobe.similarity.importance import LAYER_MEASURES


def test_every_measure_has_a_name_and_distances_are_told_apart() -> None:
    assert set(score_names.MEASURES) == set(measures.MEASURES) == set(get_args(measures.MeasureName))
    assert set(score_names.DISTANCES) == {name for name, each in measures.MEASURES.items() if each.same == 0}


def test_every_importance_and_form_is_explained() -> None:
    assert set(LAYER_MEASURES) <= set(score_names.BAR_TEXTS)
    assert set(score_names.BAR_TEXTS) == set(score_names.UNITS) <= set(score_names.SCORE_NAMES)
    assert set(score_names.FORMS) == set(MEASURED)


def test_every_score_of_a_study_has_a_name_and_every_name_is_one_of_a_study(finished: Path) -> None:
    scores = pd.read_csv(finished / "predictiveness.csv")["score"]
    bars = pd.read_csv(finished / "similarity" / "importance.csv")["measure"]
    assert set(scores) | set(columns.CEILINGS) == set(score_names.SCORE_NAMES)
    assert len(set(scores) & set(columns.CEILINGS)) == 1
    assert set(bars) == set(score_names.BAR_TEXTS)

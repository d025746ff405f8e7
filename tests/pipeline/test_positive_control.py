"""Positive control: on data that needs two look-ups, one layer must fail and two must do."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from layerprobe.cli.main import main
from layerprobe.data.synthetic import needed_depth
from layerprobe.pipeline.spec import load_spec
from layerprobe.store.atomic import read_json

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "positive-control.yaml"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The control with a two-layer backbone and fewer users, up to its decision."""
    folder = tmp_path_factory.mktemp("control") / "study"
    flags = ["--backbone.layers", "2", "--items.training.epochs", "1", "--data.synthetic.n_users", "3000"]
    assert main(["decide", str(CONFIG), "--out", str(folder), "--probe.depths", "[1]", *flags]) == 0
    return folder


def ndcg(study: Path, kind: str, depth: int) -> pd.Series:
    curve = pd.read_csv(study / "curve.csv")
    rows = curve.query("split == 'test' and protocol == 'full' and metric == 'ndcg' and k == 10")
    return rows[(rows["kind"] == kind) & (rows["depth"] == depth)].iloc[0]


@pytest.mark.slow
def test_the_curve_is_clearly_lower_below_the_needed_depth(study: Path) -> None:
    assert needed_depth(load_spec(CONFIG, []).data.synthetic) == 2
    one, two = ndcg(study, "variant", 1), ndcg(study, "variant", 2)
    assert two["value"] > 0.9
    assert one["ci_high"] < 0.75 < two["ci_low"]


@pytest.mark.slow
def test_both_layers_are_named_as_needed(study: Path) -> None:
    assert ndcg(study, "exit-norm", 1)["ci_high"] < 0.75
    lost = pd.read_csv(study / "similarity" / "drop-one" / "drop_one.csv").set_index("layer")["value"]
    assert (lost > 0.3).all()


@pytest.mark.slow
def test_the_decision_keeps_both_layers(study: Path) -> None:
    decision = read_json(study / "decision.json")
    assert decision["depth"] is None
    assert decision["depths"][0]["not_worse"] is False

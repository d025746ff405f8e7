"""Positive control: on data that needs two look-ups, one layer must fail and two must do."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from layerprobe.cli.main import main
from layerprobe.data.batches import query_batch
from layerprobe.data.synthetic import needed_depth
from layerprobe.probing.removal.importance import only_layers, predicted_rise
from layerprobe.recommender.model import Recommender
from layerprobe.similarity.importance import LAYER_MEASURES, NEEDED, importance_table, kept_layers
from layerprobe.similarity.orders import greedy_order
from layerprobe.similarity.sampling import sampled_states
from layerprobe.similarity.table import Resampling, pair_scores
from layerprobe.stages.similarity import sample_options
from layerprobe.store.atomic import read_json
from layerprobe.study.jobs.recommenders import load_teacher
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "positive-control.yaml"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The control with a two-layer backbone and fewer users, up to its decision."""
    folder = tmp_path_factory.mktemp("control") / "study"
    flags = ["--backbone.layers", "2", "--items.training.epochs", "1", "--data.synthetic.n_users", "3000"]
    flags += ["--probe.seeds", "[0]"]
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
    importance = pd.read_csv(study / "similarity" / "importance.csv").query("measure == 'drop-one-ndcg'")
    lost, low = importance["value"], importance["ci_low"]
    assert (lost > 0.3).all()
    assert (low > 0.25).all()


@pytest.mark.slow
def test_the_decision_keeps_both_layers(study: Path) -> None:
    decision = read_json(study / "decision.json")
    assert decision["depth"] is None
    assert decision["depths"][0]["not_worse"] is False


@pytest.mark.slow
def test_every_measure_of_importance_names_exactly_the_planted_identity_layers(study: Path) -> None:
    """The trained two layers stand at places 1 and 3 of five; the three others add nothing to the residual stream."""
    trained = Study(load_spec(study / "study.yaml", []), study)
    teacher = with_identity_layers(load_teacher(trained), places=(1, 3), n_layers=5)
    planted = {0, 2, 4}
    sample = sampled_states(teacher, trained.data.split, sample_options(trained))
    hidden = sample.hidden
    found = pair_scores(hidden, NEEDED)
    table = importance_table(found, hidden, Resampling(n_boot=100))
    ranking = trained.ranking_on(replace(trained.data.split, asked=sample.users))

    def value_of(kept: tuple[int, ...]) -> float:
        with only_layers(teacher, kept):
            return float(ranking.each_valid(teacher).mean())

    every = range(5)
    full = value_of(tuple(every))
    values = {str(name): rows["value"].to_numpy() for name, rows in table.groupby("measure")}
    values["drop-one-ndcg"] = np.array([full - value_of(tuple(i for i in every if i != layer)) for layer in every])
    values["taylor"] = np.abs(rises_of(trained, teacher, sample.users).mean(axis=0))
    assert set(values) == {*LAYER_MEASURES, "drop-one-ndcg", "taylor"}
    for name, value in values.items():
        assert set(np.argsort(value)[:3].tolist()) == planted, name
        np.testing.assert_allclose(value[sorted(planted)], 0, atol=1e-7, err_msg=name)
        assert value[[1, 3]].min() > 1e-3, name
    kept = kept_layers(found, 6)
    assert kept["bi"][2] == kept["cka"][2] == [1, 3]
    assert greedy_order(5, value_of)[:3] == [4, 2, 0]
    # A run of three takes a trained layer with it wherever it lies, so the best run of two or one is asked for.
    assert kept["angular"][4] == [0, 1, 2, 3]


def with_identity_layers(model: Recommender, places: tuple[int, ...], n_layers: int) -> Recommender:
    """Spreads the model's layers over the places of a deeper one whose other layers give out what they get."""
    inner = list(model.backbone.get_submodule("layers"))
    layers = []
    for place in range(n_layers):
        layer = copy.deepcopy(inner[0])
        if place in places:
            layer = inner[places.index(place)]
        else:
            for path in ("self_attn.o_proj", "mlp.down_proj"):
                layer.get_submodule(path).weight.data.zero_()
        layers.append(layer)
    model.backbone.layers = torch.nn.ModuleList(layers)
    model.backbone.config.num_hidden_layers = n_layers
    model.backbone.config.layer_types = None
    for index, layer in enumerate(layers):
        layer.self_attn.layer_idx = index
    return model


def rises_of(study: Study, teacher: Recommender, users: np.ndarray) -> np.ndarray:
    split = replace(study.data.split, asked=users)
    queries = split.queries("valid")
    chunks = np.array_split(np.arange(len(users)), 8)
    return np.concatenate([predicted_rise(teacher, query_batch(split, queries, rows, 62)) for rows in chunks])

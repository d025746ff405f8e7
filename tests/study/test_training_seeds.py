"""What differs between training seeds: initial weights, SASRec and, if asked for, the item table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import TINY, write_study
from transformers import LlamaConfig, LlamaModel

from layerprobe.backbone.options import BackboneOptions
from layerprobe.cli.main import main
from layerprobe.errors import InputError
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.model import Recommender
from layerprobe.store.atomic import read_tensors, write_yaml
from layerprobe.store.layout import ITEM_TABLE
from layerprobe.store.ledger import append_plan
from layerprobe.study.jobs.recommenders import build_variant, variant_job
from layerprobe.study.jobs.sasrec import sasrec_job
from layerprobe.study.parser import CHANGED_DEFAULTS, load_spec
from layerprobe.study.spec import StudySpec, to_plain
from layerprobe.study.study import Study
from layerprobe.training.model_folder import load_trained

SEEDS = [4, 0, 7]


def weights(model: Recommender) -> dict[str, torch.Tensor]:
    """Weights of the backbone's linear maps; norms all start at 1."""
    return {name: value for name, value in model.backbone.named_parameters() if name.endswith("proj.weight")}


@pytest.fixture
def built(recipe: RecipeOptions, item_table: torch.Tensor) -> Callable[..., dict[str, torch.Tensor]]:
    """Builds a recommender and returns its backbone's weights."""

    def build(seed: int, selection: str = "first:4", init_seed: int | None = None) -> dict[str, torch.Tensor]:
        own = replace(recipe, backbone=replace(recipe.backbone, init_seed=init_seed))
        return weights(build_recommender(own, item_table, selection, seed))

    return build


def test_each_seed_draws_its_own_initial_weights_and_the_same_ones_again(built: Callable) -> None:
    zero, one = built(0), built(1)
    assert len(zero) == 4 * 7
    assert not any(torch.equal(zero[name], one[name]) for name in zero)
    assert all(torch.equal(zero[name], again) for name, again in built(0).items())


@pytest.mark.parametrize("seed", [0, 1])
def test_within_a_seed_a_layer_starts_from_the_same_weights_in_every_selection(seed: int, built: Callable) -> None:
    whole, cut = built(seed), built(seed, "keep:0,3")
    assert len(cut) == 2 * 7
    for name, value in cut.items():
        assert torch.equal(value, whole[name.replace("layers.1.", "layers.3.")])


def test_a_number_gives_every_seed_the_same_initial_weights(built: Callable) -> None:
    first, second = built(0, init_seed=5), built(1, init_seed=5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], value) for name, value in built(5).items())


def test_seed_0_has_the_weights_of_older_versions(built: Callable, recipe: RecipeOptions) -> None:
    # They set the seed to 0 and built the model at full depth, whatever the training seed was.
    shape = recipe.backbone
    config = LlamaConfig(
        vocab_size=1,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.max_positions,
        initializer_range=shape.init_std,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stock = dict(LlamaModel(config).named_parameters())
    assert all(torch.equal(value, stock[name]) for name, value in built(0).items())


def test_stored_weights_have_no_seed(tmp_path: Path) -> None:
    options = BackboneOptions(checkpoint=str(tmp_path))
    assert not options.is_random
    assert options.drawn_with(3) == options
    redrawn = BackboneOptions(checkpoint=str(tmp_path), init="random")
    assert redrawn.drawn_with(3).init_seed == 3
    assert replace(redrawn, init_seed=5).drawn_with(3).init_seed == 5


def prepared(folder: Path, **items: object) -> Study:
    """A study of three seeds whose items stage is done."""
    asked = {**TINY["items"], **items}
    path = write_study(folder, items=asked, probe={"seeds": SEEDS, "depths": [2]})
    assert main(["items", str(path), "--out", str(folder / "study")]) == 0
    return Study(load_spec(path, []), folder / "study")


@pytest.fixture(scope="module")
def own_tables(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One table of SASRec's per seed. Read only."""
    return prepared(tmp_path_factory.mktemp("own"), table_per_seed=True)


@pytest.fixture(scope="module")
def one_table(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The first seed's table for all. Read only."""
    return prepared(tmp_path_factory.mktemp("one"))


def test_every_seed_reads_the_table_of_its_own_sasrec(own_tables: Study, one_table: Study) -> None:
    for seed in SEEDS:
        sasrec = load_trained(own_tables.sasrec_folders[seed], sasrec_job(own_tables, seed).build)
        assert torch.equal(own_tables.item_table_of(seed), sasrec.item_vectors())
        built = build_variant(own_tables, own_tables.selections[0], seed, from_teacher=False)
        shared = build_variant(one_table, one_table.selections[0], seed, from_teacher=False)
        assert torch.equal(built.item_table, own_tables.item_table_of(seed))
        assert torch.equal(shared.item_table, one_table.item_table_of(SEEDS[0]))
    tables = [own_tables.item_table_of(seed) for seed in SEEDS]
    assert not any(torch.equal(tables[0], other) for other in tables[1:])
    assert torch.equal(tables[0], one_table.item_table)
    assert not (one_table.sasrec_folders[SEEDS[1]] / ITEM_TABLE).exists()


def test_a_variant_depends_on_the_table_that_it_reads(own_tables: Study, one_table: Study) -> None:
    selection = own_tables.selections[0]
    own = [variant_job(own_tables, selection, seed).spec["items"] for seed in SEEDS]
    shared = [variant_job(one_table, selection, seed).spec["items"] for seed in SEEDS]
    assert len(set(own)) == 3
    assert set(shared) == {own[0]}


def test_a_random_table_is_another_draw_for_every_seed_and_the_first_as_ever(tmp_path: Path) -> None:
    study = prepared(tmp_path, kind="random", random_dim=6, table_per_seed=True)
    tables = [read_tensors(study.sasrec_folders[seed] / ITEM_TABLE)[0]["vectors"] for seed in SEEDS]
    for table, seed in zip(tables, SEEDS, strict=True):
        assert torch.equal(table, study.item_table_of(seed))
        torch.testing.assert_close(table[1:].norm(dim=1), torch.ones(len(table) - 1))
    drawn = torch.randn(tables[0].shape, generator=torch.Generator().manual_seed(study.spec.data.seed))
    torch.testing.assert_close(tables[0][1:], torch.nn.functional.normalize(drawn, dim=1)[1:])
    cosines = [
        float((tables[left][1:] * tables[right][1:]).sum(dim=1).mean()) for left, right in ((0, 1), (0, 2), (1, 2))
    ]
    assert max(map(abs, cosines)) < 0.2


def test_a_table_per_seed_needs_a_sasrec_of_every_seed(tmp_path: Path) -> None:
    items = {**TINY["items"], "table_per_seed": True, "every_seed": False}
    with pytest.raises(InputError, match=r"table_per_seed needs a SASRec of every seed; got items\.every_seed false"):
        load_spec(write_study(tmp_path, items=items), [])


def test_a_model_records_the_seed_that_drew_its_weights(one_table: Study) -> None:
    selection = one_table.selections[0]
    for seed in SEEDS:
        backbone = variant_job(one_table, selection, seed).spec["backbone"]
        assert backbone == to_plain(replace(one_table.spec.backbone, init_seed=seed))
    fixed = Study(replace(one_table.spec, backbone=replace(one_table.spec.backbone, init_seed=5)), one_table.folder)
    assert {variant_job(fixed, selection, seed).spec["backbone"]["init_seed"] for seed in SEEDS} == {5}


BEGUN = {"probe.seeds": [0], "items.every_seed": False, "distill.every_seed": False, "backbone.init_seed": 0}
DEFAULTS = {"probe.seeds": [0, 1, 2], "items.every_seed": True, "distill.every_seed": True, "backbone.init_seed": None}


def valued(spec: StudySpec, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(spec, section), name)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder that an older version began: its `study.yaml` names the defaults of its time."""
    plain = to_plain(StudySpec())
    for key, value in BEGUN.items():
        section, name = key.split(".")
        plain[section][name] = value
    (tmp_path / "begun").mkdir()
    write_yaml(tmp_path / "begun" / "study.yaml", plain)
    return tmp_path / "begun"


def test_the_keys_with_another_default_are_all_here() -> None:
    assert set(CHANGED_DEFAULTS) == set(BEGUN) == set(DEFAULTS)
    assert {key: valued(StudySpec(), key) for key in DEFAULTS} == DEFAULTS


def test_a_folder_keeps_what_it_was_begun_with_and_a_new_one_has_the_defaults(begun: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path, probe={"depths": [2], "seeds": None})
    kept = load_spec(path, [], lambda _: begun)
    assert {key: valued(kept, key) for key in BEGUN} == BEGUN
    assert kept.probe.depths == [2]
    assert kept.training == load_spec(path, []).training  # and nothing else
    for folder in (None, lambda _: tmp_path / "new"):
        assert {key: valued(load_spec(path, [], folder), key) for key in BEGUN} == DEFAULTS
    append_plan(begun, {}, (0, 1), ("first:4",))  # begun by this version, with other seeds on the command line
    assert {key: valued(load_spec(path, [], lambda _: begun), key) for key in BEGUN} == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("probe.seeds", [0, 1]),
        ("probe.seeds", [0, 1, 2]),
        ("items.every_seed", True),
        ("distill.every_seed", True),
        ("backbone.init_seed", 3),
        ("backbone.init_seed", None),
    ],
)
@pytest.mark.parametrize("where", ["file", "flag"])
def test_what_is_named_counts_also_where_it_is_the_default(
    key: str, value: Any, where: str, begun: Path, tmp_path: Path
) -> None:
    section, name = key.split(".")
    in_file = {section: {**TINY[section], name: value}} if where == "file" else {}
    probe = {"seeds": None, **in_file.pop("probe", {})}
    path = write_study(tmp_path, **{**in_file, "probe": probe})
    written = "null" if value is None else str(value).lower()
    flags = [f"--{key}", written] if where == "flag" else []
    spec = load_spec(path, flags, lambda _: begun)
    assert {each: valued(spec, each) for each in BEGUN} == {**BEGUN, key: value}

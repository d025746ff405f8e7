"""Folders of an older version: what was finished stays finished, also when options have been added since.

`old_study` was written by the last version before folders were compared this way (without its report), from
`old_study.yaml`. It is a file of that version, so it is never written anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from study_folders import Killed, contents, files, without_clock

from layerprobe.arguments import hints_of
from layerprobe.backbone.load import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.cli.main import main
from layerprobe.data.order import OrderOptions
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.sources.raw import SourceOptions
from layerprobe.data.synthetic import SyntheticOptions
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.errors import InputError
from layerprobe.evaluation.few import LEAST_DIFFERING
from layerprobe.pipeline.run import run_stages
from layerprobe.probing.probe_heads import ProbeHeadOptions
from layerprobe.probing.removal import cuts
from layerprobe.recommender.losses import LossOptions
from layerprobe.recommender.model import RecommenderOptions
from layerprobe.recommender.sasrec import SASRecOptions
from layerprobe.reporting import report
from layerprobe.reporting.figures import canvas
from layerprobe.stages import cost, similarity
from layerprobe.stages.teacher import exits
from layerprobe.store.atomic import read_json, read_yaml, write_json
from layerprobe.store.decision import read_decision
from layerprobe.store.run_folder import differing_keys, hash_file
from layerprobe.study.defaults import HASHED, defaults_of, hashed_options
from layerprobe.study.parser import load_spec, spec_parser
from layerprobe.study.spec import CostSpec, DataSpec, DistillSpec, SimilaritySpec, StudySpec, to_plain
from layerprobe.study.study import Study
from layerprobe.training import loop, model_folder
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.options import TrainingOptions

HERE = Path(__file__).parent
OLD, OLD_SPEC = HERE / "old_study", HERE / "old_study.yaml"
OPTIONS = (
    BackboneOptions, TuningOptions, PromptOptions, RecommenderOptions, TrainingOptions, LossOptions, SASRecOptions,
    ProbeHeadOptions, SimilaritySpec, CostSpec, DistillSpec, DistillationWeights, DataSpec, SourceOptions,
    PreprocessOptions, OrderOptions, SyntheticOptions,
)  # fmt: skip
NAME, DEFAULT = "tomorrow", 0.5
STAY = (
    "data/", "items/", "baselines/", "teacher/", "similarity/", "exits/", "variants/", "distillation/", "student/",
    "costs/costs", "costs/done",
)  # fmt: skip
"""What is never written twice; the other files are made again from it in every run."""


@pytest.fixture(autouse=True)
def options_read_anew() -> Iterator[None]:
    """Forgets what was read of the option classes before and after a test that adds options to them."""
    for read in (hints_of, spec_parser):
        read.cache_clear()
    yield
    for read in (hints_of, spec_parser):
        read.cache_clear()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the old study, free to change."""
    shutil.copytree(OLD, tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def nothing_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a model is trained, or the teacher or a cost is measured again."""
    for module, name in (
        (model_folder, "Trainer"),
        (cost, "serve"),
        (exits, "fit_probe_heads"),
        (similarity, "sampled_states"),
        (cuts, "only_layers"),
    ):
        monkeypatch.setattr(module, name, lambda *_a, of=name, **_k: pytest.fail(f"{of} was called again"))


def add_option(monkeypatch: pytest.MonkeyPatch, options: type, default: Any = DEFAULT) -> None:
    """Adds an option with a default to a dataclass, as a later version would; it is not for `__init__`."""
    later = make_dataclass("Later", [(NAME, Any, field(default=default, init=False))], bases=(options,), frozen=True)
    monkeypatch.setitem(options.__dataclass_fields__, NAME, later.__dataclass_fields__[NAME])
    monkeypatch.setitem(options.__annotations__, NAME, Any)
    monkeypatch.setattr(options, NAME, default, raising=False)
    hints_of.cache_clear()
    spec_parser.cache_clear()


def with_value(options: Any, value: Any) -> Any:
    """Returns the options with another value of the added one."""
    changed = replace(options)
    object.__setattr__(changed, NAME, value)
    return changed


def unclocked(folder: Path) -> dict[str, bytes]:
    """The files whose content no clock and no version enters."""
    left_out = ("study.yaml", "provenance.json", "curve.csv", "slices.csv", "report/", "files.json", "checked.json")
    return {name: content for name, content in contents(folder).items() if not name.startswith(left_out)}


def known_points(folder: Path) -> pd.DataFrame:
    """The curve without the floor that came later; it joins a finished study in its next run."""
    curve = without_clock(folder)
    return curve.loc[curve["kind"] != "markov-1-past"].reset_index(drop=True)


def assert_same_curve(old: Path) -> None:
    pd.testing.assert_frame_equal(known_points(old), without_clock(OLD), atol=1e-6)  # resamples are float32


def assert_same_decision(old: Path) -> None:
    """Values and verdicts stay. Bounds of the two selections are wider: fewer than 30 users differ, and they are exact.

    The power of one seed is not told any more.
    """
    now, before = (read_decision(folder) for folder in (old, OLD))
    assert (now.depth, now.selection, now.sequence, now.merged) == (
        before.depth, before.selection, before.sequence, before.merged,
    )  # fmt: skip
    same = ("value", "difference", "relative", "verdict", "not_worse", "seeds", "training_noise")
    floors = [row for row in now.baselines if row.name != "markov-1-past"]
    for row, then in zip((*now.depths, *floors), (*before.depths, *before.baselines), strict=True):
        assert [getattr(row, name) for name in same] == [pytest.approx(getattr(then, name)) for name in same]
        if row in floors:  # their bounds hold for the new one together
            continue
        bounds = [(each.ci_low, -each.ci_high, each.lower_bound) for each in (row, then)]
        if row.differing is not None and 0 < row.differing < LEAST_DIFFERING:
            assert all(wide < narrow for wide, narrow in zip(*bounds, strict=True))
        else:
            assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)
    assert before.power.minimal_detectable_relative_difference is not None
    assert now.power.minimal_detectable_relative_difference is None
    assert (now.exploratory, before.verdict) == (True, "")


@pytest.mark.usefixtures("nothing_made_anew")
def test_a_study_of_the_version_before_is_opened_and_its_report_drawn(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "save_figure", canvas.save_figure)
    assert main(["run", str(OLD_SPEC), "--out", str(old)]) == 0
    assert_same_curve(old)
    assert_same_decision(old)
    before, after = contents(OLD), contents(old)
    recorded = ("baselines/done.json", "items/done.json")  # gets the new floor, gets the hash of the item table
    stay = [name for name in before if name.startswith(STAY) and name not in recorded]
    assert {name: after[name] for name in stay} == {name: before[name] for name in stay}
    new = set(after) - set(before)
    assert {name for name in new if name.startswith(STAY)} == {
        "baselines/ranks-markov-1-past.parquet", "student/done.json",
    }  # fmt: skip
    assert (old / "report" / "report.md").read_text().startswith("# ")
    assert {path.suffix for path in (old / "report" / "figures").iterdir()} >= {".png", ".svg"}


@pytest.mark.usefixtures("nothing_made_anew")
def test_an_option_added_later_leaves_a_finished_study_as_it_is(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", str(OLD_SPEC), "--out", str(old)]) == 0
    before = unclocked(old)
    for options in OPTIONS:
        add_option(monkeypatch, options)
    assert main(["run", str(OLD_SPEC), "--out", str(old)]) == 0
    assert unclocked(old) == before
    assert read_yaml(old / "study.yaml")["training"]["loss"][NAME] == DEFAULT
    assert NAME not in read_yaml(old / "teacher" / "spec.yaml")["training"]


@pytest.mark.parametrize("section", ["backbone", "tuning", "prompt", "recommender", "training", "items", "data"])
def test_another_value_of_an_option_added_later_is_refused_and_named(
    section: str, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in OPTIONS:
        add_option(monkeypatch, options)
    spec = load_spec(OLD_SPEC, [], lambda _: old)
    if section == "items":
        spec = replace(spec, items=replace(spec.items, training=with_value(spec.items.training, 0.7)))
    else:
        spec = replace(spec, **{section: with_value(getattr(spec, section), 0.7)})
    name = f"{section}.training" if section == "items" else section
    with pytest.raises(InputError, match=f"these keys differ: {name}.{NAME};"):
        run_stages(Study(spec, old))


@pytest.mark.parametrize(("section", "folder"), [("similarity", "similarity"), ("cost", "costs")])
def test_another_value_of_an_option_added_later_makes_a_table_anew(
    section: str, folder: str, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_option(monkeypatch, SimilaritySpec)
    add_option(monkeypatch, CostSpec)
    spec = load_spec(OLD_SPEC, [], lambda _: old)
    spec = replace(spec, **{section: with_value(getattr(spec, section), 0.7)})
    monkeypatch.setattr(model_folder, "Trainer", lambda *_a, **_k: pytest.fail("a finished model was trained again"))
    before = read_json(old / folder / "done.json")["key"]
    run_stages(Study(spec, old), "decide")
    assert read_json(old / folder / "done.json")["key"] != before


def test_another_value_of_a_student_is_refused_and_named(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_option(monkeypatch, DistillationWeights)
    spec = load_spec(OLD_SPEC, [], lambda _: old)
    spec = replace(spec, distill=replace(spec.distill, weights=with_value(spec.distill.weights, 0.7)))
    with pytest.raises(InputError, match=f"another specification; these keys differ: distill.weights.{NAME};"):
        run_stages(Study(spec, old), "distill")


def test_a_half_trained_model_is_resumed_by_a_version_with_more_options(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(old / "distillation")
    with monkeypatch.context() as killed:
        killed.setattr(loop.Trainer, "_finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            main(["distill", str(OLD_SPEC), "--out", str(old)])
    assert "checkpoint/resume.safetensors" in files(old / "distillation" / "student")
    for options in OPTIONS:
        add_option(monkeypatch, options)
    spec = load_spec(OLD_SPEC, [], lambda _: old)
    weights = with_value(spec.distill.weights, 0.7)
    other = replace(spec, distill=replace(spec.distill, weights=weights))
    with pytest.raises(InputError, match=f"half-trained.* these keys differ: distill.weights.{NAME};"):
        run_stages(Study(other, old), "distill")
    assert main(["distill", str(OLD_SPEC), "--out", str(old)]) == 0
    assert NAME in read_yaml(old / "distillation" / "student" / "spec.yaml")["distill"]["weights"]
    assert_same_curve(old)


def test_a_key_that_only_the_older_folder_has_is_refused_and_named(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (old / "study.yaml", old / "teacher" / "spec.yaml"):
        known = read_yaml(path)
        known["training"]["gone"] = None
        path.write_text(yaml.safe_dump(known))
    done = read_json(old / "teacher" / "done.json")
    done["files"]["spec.yaml"] = hash_file(old / "teacher" / "spec.yaml")
    write_json(old / "teacher" / "done.json", done)
    assert main(["run", str(OLD_SPEC), "--out", str(old)]) == 2
    assert "holds another study; these keys differ: training.gone;" in capsys.readouterr().err
    (old / "study.yaml").write_bytes((OLD / "study.yaml").read_bytes())
    assert main(["run", str(OLD_SPEC), "--out", str(old)]) == 2
    assert "finished model of another specification; these keys differ: training.gone;" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_made_anew")
def test_a_model_without_its_specification_gets_it_again(old: Path) -> None:
    (old / "teacher" / "spec.yaml").unlink()
    assert main(["teach", str(OLD_SPEC), "--out", str(old)]) == 0
    assert read_yaml(old / "teacher" / "spec.yaml")["selection"] == "first:2"


@pytest.mark.parametrize(
    ("old_values", "new_values", "defaults", "differing"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"b": 2}, []),
        ({"a": 1}, {"a": 1, "b": 3}, {"b": 2}, ["b"]),
        ({"a": 1}, {"a": 1, "b": None}, {}, ["b"]),
        ({"a": 1, "b": None}, {"a": 1}, {"b": None}, ["b"]),
        ({"s": {"a": 1}}, {"s": {"a": 1, "b": 3}}, {"s": {"a": 0, "b": 2}}, ["s.b"]),
        ({}, {"s": {"a": 0, "b": 3}}, {"s": {"a": 0, "b": 2}}, ["s.b"]),
        ({"s": None}, {"s": {"a": 0}}, {"s": {"a": 0}}, ["s"]),
        ({"s": "hash"}, {"s": "hash"}, {"s": {"a": 0}}, []),
        ({"a": 1}, {"a": 2}, {"a": 1}, ["a"]),
    ],
)
def test_keys_that_differ(old_values: dict, new_values: dict, defaults: dict, differing: list[str]) -> None:
    assert differing_keys(old_values, new_values, defaults) == differing


def test_defaults_are_known_of_every_option_and_of_a_section_that_may_be_null() -> None:
    assert defaults_of(StudySpec()) == to_plain(StudySpec())
    own = DistillSpec(depth=2, training=TrainingOptions(epochs=3))
    assert defaults_of(own) == to_plain(DistillSpec()) | {"training": to_plain(TrainingOptions())}


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("data", DataSpec()),
        ("training", TrainingOptions()),
        ("probe.heads", ProbeHeadOptions()),
        ("similarity", SimilaritySpec()),
        ("cost", CostSpec()),
    ],
)
def test_a_hash_holds_the_options_of_the_first_release_and_later_ones_that_are_used(
    section: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hashed_options(section, options)
    assert set(dotted(first)) >= HASHED[section]
    add_option(monkeypatch, type(options))
    assert hashed_options(section, options) == first
    assert hashed_options(section, with_value(options, 0.7)) == first | {NAME: 0.7}
    assert NAME in {entry.name for entry in fields(options)}


def dotted(plain: dict[str, Any], prefix: str = "") -> list[str]:
    return [
        name
        for key, value in plain.items()
        for name in (dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"])
    ]

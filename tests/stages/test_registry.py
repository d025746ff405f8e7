"""Order, needs, commands and dry-run rows of stages come from one list, and a new stage is its line there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tiny_study import write_study

from layerprobe.cli import closing
from layerprobe.cli.main import build_parser
from layerprobe.errors import InputError
from layerprobe.pipeline.dry_run import plan as dry_run
from layerprobe.pipeline.run import run_stages
from layerprobe.stages.planned import Planned
from layerprobe.stages.registry import STAGES, stage_named, stages_until
from layerprobe.stages.stage import Stage
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study

NAMES = ["data", "items", "teach", "similarity", "probe", "curve", "cost", "decide", "distill", "export", "report"]
TOY = Stage("toy", "count the layers of the teacher", "toy_stage", reads=("teach",), on_main=True)


@pytest.fixture
def with_toy(monkeypatch: pytest.MonkeyPatch) -> tuple[Stage, ...]:
    """All stages and a toy one behind the teacher, its module as a user would write it."""
    module = ModuleType("toy_stage")
    exec(
        "from layerprobe.stages.planned import Planned\n"
        "def run(study):\n"
        "    (study.folder / 'toy.txt').write_text(f'{study.n_layers} layers')\n"
        "def plan(study):\n"
        "    training, reads = study.spec.training, study.spec.recommender.max_len\n"
        "    return [Planned('toy', 'recommender', (study.folder / 'toy',), training, reads)]\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "toy_stage", module)
    place = NAMES.index("similarity")
    return (*STAGES[:place], TOY, *STAGES[place:])


def study_in(folder: Path) -> Study:
    return Study(load_spec(write_study(folder), []), folder / "study")


def test_the_stages_are_those_of_the_design_in_order() -> None:
    assert [stage.name for stage in STAGES] == NAMES


def test_every_stage_reads_what_comes_before_it_and_has_a_module_that_runs() -> None:
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads) <= seen
        assert callable(stage._functions().run)
        assert set(stage.renews) <= set(NAMES)
        seen.add(stage.name)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("data", ["data"]),
        ("similarity", ["data", "items", "teach", "similarity"]),
        ("probe", ["data", "items", "teach", "similarity", "probe", "curve"]),  # the curve shows what probe has made
        ("decide", ["data", "items", "teach", "similarity", "probe", "curve", "cost", "decide"]),
        ("export", [*NAMES[:9], "curve", "export"]),  # and again once the student is there
        ("report", ["report"]),  # draws from whatever is there
        (None, [*NAMES[:9], "curve", "export", "report"]),
    ],
)
def test_a_command_needs_what_its_stage_reads(last: str | None, expected: list[str]) -> None:
    assert [stage.name for stage in stages_until(last)] == expected


def test_an_unknown_stage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="a stage must be one of data, items, .* report; got 'prob'"):
        stages_until("prob")


def test_each_stage_is_a_command_with_its_help() -> None:
    commands = next(action for action in build_parser()._actions if action.dest == "command")
    helps = {action.dest: action.help for action in commands._choices_actions}  # pyright: ignore[reportAttributeAccessIssue]
    for stage in STAGES:
        assert helps[stage.name] == f"run one stage: {stage.help}"


def test_only_stages_that_train_plan_models(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    planned = {stage.name: [row.label for row in stage.plan(study)] for stage in STAGES}
    assert {name for name, rows in planned.items() if rows} == {"items", "teach", "similarity", "probe", "distill"}
    assert planned["probe"] == ["variant: first:0, seed 0", "variant: first:2, seed 0"]


def test_a_toy_stage_is_one_line_and_its_module(
    with_toy: tuple[Stage, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_in(tmp_path)
    run_stages(study, "toy", stages=with_toy)
    assert (study.folder / "toy.txt").read_text() == "4 layers"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage ")]
    assert said == ["stage data", "stage items", "stage teach", "stage toy"]
    assert not (study.folder / "curve.csv").exists()
    monkeypatch.setattr(dry_run, "STAGES", with_toy)
    labels = [row.label for row in dry_run.planned_models(study)]
    assert labels.index("toy") == labels.index("teacher: first:4") + 1
    assert isinstance(dry_run.planned_models(study)[labels.index("toy")], Planned)
    assert stage_named("toy", with_toy) is TOY
    monkeypatch.setattr(closing, "STAGES", with_toy)
    assert closing.stage_lines(study, "toy") == [f"toy: done, in {study.folder}"]  # what its command ends with

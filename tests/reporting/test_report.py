"""The report: complete, the same every time, and honest about what a study does not have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from layerprobe.errors import InputError, StudyError
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.report import SECTIONS, make_report, write_report
from layerprobe.reporting.sections.answer import answer_section
from layerprobe.reporting.sections.cost import cost_section
from layerprobe.reporting.sections.data import data_section
from layerprobe.reporting.sections.decision.baselines import baselines_section
from layerprobe.reporting.sections.decision.evidence import decision_section
from layerprobe.reporting.sections.decision.robustness import robustness_section
from layerprobe.reporting.sections.depth import depth_section
from layerprobe.reporting.sections.effort import effort_section
from layerprobe.reporting.sections.layers import layers_section
from layerprobe.reporting.sections.predictiveness import worth_section
from layerprobe.reporting.sections.provenance import provenance_section
from layerprobe.reporting.sections.section import Section
from layerprobe.reporting.sections.slices import slices_section
from layerprobe.reporting.sections.student import student_section
from layerprobe.store.atomic import read_json, write_json

LAYER_NAMES = {"similarity", "to-final", "similarity-student", "importance", "blocks"}
NAMES = {
    *(
        "depth-variants",
        "depth-exits",
        "decision-margin",
        "proven-margin",
        "cost",
        "slices",
        "slice-differences",
        "predicted",
    ),
    *LAYER_NAMES,
}
ALL_FILES = {"report.md", *(f"figures/{name}{suffix}" for name in NAMES for suffix in (".svg", ".png", ".csv"))}


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def report(fake_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(fake_study, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return report.read_text(encoding="utf-8")


def test_a_report_is_these_files_and_no_other(report: Path) -> None:
    assert report.name == "report.md"
    assert files_of(report.parent) == ALL_FILES


@pytest.mark.parametrize("kind", ["fake_study", "rich_study", "mixed_study"])
def test_every_section_declares_the_figures_that_it_draws(kind: str, request: pytest.FixtureRequest) -> None:
    study = read_study(request.getfixturevalue(kind))
    for entry in SECTIONS:
        assert {named.name for named in entry.make(study).figures} == set(entry.figures), entry.make
    assert {name for entry in SECTIONS for name in entry.figures} == NAMES


def test_a_report_lies_in_the_study_and_loses_figures_it_no_longer_has(own_study: Path) -> None:
    (own_study / "report" / "figures").mkdir(parents=True)
    (own_study / "report" / "figures" / "similarity.svg").write_text("old", encoding="utf-8")
    (own_study / "report" / "figures" / "mine.svg").write_text("not ours", encoding="utf-8")
    shutil.rmtree(own_study / "similarity")
    for name in ("decision.json", "slices.csv", "predicted.csv"):
        (own_study / name).unlink()
    curve = pd.read_csv(own_study / "curve.csv")
    curve[curve["kind"] != "variant"].to_csv(own_study / "curve.csv", index=False)
    assert write_report(own_study) == own_study / "report" / "report.md"
    left = {"depth-exits.svg", "depth-exits.png", "depth-exits.csv", "mine.svg"}
    assert {path.name for path in (own_study / "report" / "figures").iterdir()} == left


def test_the_same_study_gives_the_same_bytes(report: Path, fake_study: Path, tmp_path: Path) -> None:
    again = write_report(fake_study, tmp_path).parent
    different = [name for name in ALL_FILES if (again / name).read_bytes() != (report.parent / name).read_bytes()]
    assert different == []


def test_every_link_of_the_report_leads_to_a_file(report: Path, text: str) -> None:
    links = re.findall(r"\]\((.+?)\)", text)
    assert len(links) == 2 * len(NAMES)
    assert all((report.parent / link).is_file() for link in links)


def test_the_first_thing_said_is_the_decision(text: str, fake_study: Path) -> None:
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("#")]
    assert paragraphs[0] == f"**{read_json(fake_study / 'decision.json')['sentence']}**"


def cells(text: str, start: str) -> list[str]:
    """Cells of the first table row that starts with `start`."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_curve_table_has_four_digits_and_valid_beside_test(text: str, fake_study: Path) -> None:
    curve = pd.read_csv(fake_study / "curve.csv")
    full = curve[(curve["selection"] == "first:2") & (curve["kind"] == "variant") & (curve["protocol"] == "full")]
    value = full.set_index(["metric", "k", "split"])["value"]
    low, high = full.set_index(["metric", "k", "split"]).loc[("ndcg", 10, "test"), ["ci_low", "ci_high"]]
    assert cells(text, "fine-tuned, first:2, seed 0")[2:] == [
        f"{value['hr', 10, 'valid']:.4f}",
        f"{value['hr', 10, 'test']:.4f}",
        f"{value['ndcg', 10, 'valid']:.4f}",
        f"{value['ndcg', 10, 'test']:.4f}",
        f"[{low:.4f}, {high:.4f}]",
        f"{value['mrr', 0, 'test']:.4f}",
    ]
    assert "### Protocol `sampled-999`" in text


def test_every_point_of_the_curve_has_a_row_in_each_protocol(text: str, fake_study: Path) -> None:
    curve = pd.read_csv(fake_study / "curve.csv")
    n_points = len(curve[["kind", "selection", "depth", "seed"]].drop_duplicates())
    for protocol in ("full", "sampled-999"):
        part = text.split(f"### Protocol `{protocol}`")[1].split("\n#")[0]
        assert len([line for line in part.splitlines() if line.startswith("| ")]) == n_points + 2


def test_the_student_is_compared_with_its_teacher(text: str, fake_study: Path) -> None:
    large = read_json(fake_study / "teacher" / "metrics.json")
    small = read_json(fake_study / "distillation" / "student" / "metrics.json")
    total = (large["parameters"]["total"], small["parameters"]["total"])
    share = f"{100 * total[1] / total[0]:.1f} %"
    assert cells(text, "**total**") == ["**total**", f"{total[0]:,}", f"{total[1]:,}", share]
    assert cells(text, "training, seconds")[1:] == ["13.0", "8.0", f"{100 * 8 / 13:.1f} %"]
    assert cells(text, "ranking, users per second")[1:3] == ["800", "1,333"]


def test_the_student_is_compared_with_plain_fine_tuning(text: str, fake_study: Path) -> None:
    stored = read_json(fake_study / "distilled.json")
    worth = text.split("**Was the distillation worth it?** ")[1].split("\n\n")
    assert "The student is better than the best baseline, SASRec (" in worth[0]
    assert worth[0] == stored["sentence"]
    assert cells(worth[1], "first:2 ") == [
        "first:2",
        "0, 1",
        f"{stored['value']:.4f}",
        f"{stored['plain_value']:.4f}",
        f"{stored['difference']:.4f}",
        f"[{stored['ci_low']:.4f}, {stored['ci_high']:.4f}]",
        stored["verdict"],
    ]
    assert worth[2] == (
        "NDCG@10 of 400 test users, ranked among the whole catalogue. The difference is distilled minus plain, user by "
        f"user; interval: 95 %. {' '.join(stored['notes'])}"
    )
    sasrec, *others = stored["against_baselines"]
    assert [row["baseline"] for row in others] == ["tfidf", "markov-1", "popularity"]
    assert cells(worth[3], "SASRec") == [
        "SASRec",
        f"{stored['value'] - sasrec['difference']:.4f}",
        f"{sasrec['difference']:.4f}",
        f"{100 * sasrec['relative']:.1f} %",
        f"[{sasrec['ci_low']:.4f}, {sasrec['ci_high']:.4f}]",
        "better",
    ]
    assert "Trained with" not in text


def test_of_several_seeds_the_exported_student_is_shown_and_the_others_counted(rich_study: Path) -> None:
    text = student_section(read_study(rich_study)).markdown
    assert text.count("### student: 6 layers") == 1
    assert "Trained with 2 seeds; shown is seed 0, which is exported." in text
    assert "2 seeds each" in text


def test_a_student_of_an_older_version_is_not_compared_with_the_baselines(own_study: Path) -> None:
    path = own_study / "distilled.json"
    write_json(path, {name: value for name, value in read_json(path).items() if name != "against_baselines"})
    text = student_section(read_study(own_study)).markdown
    assert "Not in this study: the student against the baselines (no `against_baselines in distilled.json`)." in text


def test_the_comparison_stands_with_the_student_it_is_of(own_study: Path) -> None:
    shutil.copytree(own_study / "distillation" / "student", own_study / "distillation" / "other")
    text = student_section(read_study(own_study)).markdown
    assert text.count("Was the distillation worth it?") == 1
    assert text.index("### student:") < text.index("Was the distillation worth it?")
    assert "Was the distillation" not in text.split("### other:")[1].split("### student:")[0]


PICK = {
    "latency_ms": 7.0, "parameters": None, "selection": "first:1", "depth": 1, "layers": [0], "is_decided": False,
    "costs": {}, "sentence": "made up",
}  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ({"selection": "first:2", "layers": [0, 1], "budget": None}, None),  # the student keeps these
        (
            {"selection": "first:1", "layers": [0], "budget": None},
            "This student is not the decided selection, first:1:",
        ),
        ({"budget": PICK}, "This student is not the budget's pick, first:1:"),
        ({"selection": None, "layers": None, "budget": None}, None),
    ],
)
def test_a_student_that_is_not_what_is_kept_says_so(own_study: Path, decision: dict, words: str | None) -> None:
    path = own_study / "decision.json"
    write_json(path, read_json(path) | decision)
    text = student_section(read_study(own_study)).markdown
    assert ("This student is not" in text) is (words is not None)
    assert (words or "") in text


def test_data_facts_show_the_counts_after_every_step_and_the_audit(text: str) -> None:
    assert cells(text, "read")[1:3] == ["490", "2,200"]
    assert cells(text, "k-core")[1:3] == ["400", "1,500"]
    assert cells(text, "item id rises, among neighbouring rows of the same time")[1] == "100.0 %"
    assert cells(text, "chance of")[1] == "0.067 %"
    assert "- rows of equal time (43.9 % of the pairs) are in catalogue order" in text
    assert "Warning:" not in text


def test_a_catalogue_order_is_flagged(own_study: Path) -> None:
    path = own_study / "data" / "facts.json"
    facts = read_json(path)
    write_json(path, facts | {"audit": facts["audit"] | {"catalogue_order": True}})
    assert "**Warning: the rows seem to be in catalogue order" in data_section(read_study(own_study)).markdown


ABSENT = [
    ("decision.json", answer_section, "a decision (no `decision.json`)", set()),
    ("decision.json", decision_section, "a decision (no `decision.json`)", set()),
    ("decision.json", baselines_section, "a decision (no `decision.json`)", set()),
    ("decision.json", robustness_section, "a decision (no `decision.json`)", set()),
    ("robustness.csv", robustness_section, "the verdict under other metrics (no `robustness.csv`)", set()),
    ("costs/costs.csv", cost_section, "costs (no `costs/costs.csv`)", set()),
    ("costs/front.csv", cost_section, "the front of quality against cost (no `costs/front.csv`)", set()),
    ("convergence.csv", effort_section, "how trainings ended (no `convergence.csv`)", set()),
    ("slices.csv", slices_section, "slices of users (no `slices.csv`)", set()),
    ("slice_differences.csv", slices_section, "differences to the full model by group (no", {"slices"}),
    ("data/facts.json", data_section, "data facts (no `data/facts.json`)", set()),
    (
        "similarity/similarity.parquet",
        layers_section,
        "similarity of states (no",
        LAYER_NAMES - {"similarity", "to-final"},
    ),
    ("similarity/null.csv", layers_section, "what shuffled rows give (no `similarity/null.csv`)", LAYER_NAMES),
    ("similarity/states.csv", layers_section, "what may mislead the measures (no", LAYER_NAMES),
    (
        "similarity/student.parquet",
        layers_section,
        "similarity of teacher and student (no",
        LAYER_NAMES - {"similarity-student"},
    ),
    ("similarity/importance.csv", layers_section, "importance of layers (no", LAYER_NAMES - {"importance"}),
    ("similarity/blocks.csv", layers_section, "distances over runs of layers (no", LAYER_NAMES - {"blocks"}),
    ("similarity/selections.json", layers_section, "the layers that the scores keep (no", LAYER_NAMES),
    ("predictiveness.csv", worth_section, "how well cheap scores predict (no `predictiveness.csv`)", {"predicted"}),
    ("predicted.csv", worth_section, "predicted against measured values (no `predicted.csv`)", set()),
    ("distillation", student_section, "a distilled student (no `distillation/`)", set()),
    (
        "distilled.json",
        student_section,
        "the student against plain fine-tuning of its layers (no `distilled.json`)",
        set(),
    ),
    ("teacher/metrics.json", student_section, "the teacher (no `teacher/metrics.json`)", set()),
    ("provenance.json", provenance_section, "provenance (no `provenance.json`)", set()),
    ("study.yaml", provenance_section, "the spec (no `study.yaml`)", set()),
]


@pytest.mark.parametrize(("name", "section", "phrase", "figures"), ABSENT)
def test_an_absent_part_is_said_in_one_line(
    name: str, section: Callable[[StudyFiles], Section], phrase: str, figures: set[str], own_study: Path
) -> None:
    assert phrase not in section(read_study(own_study)).markdown
    path = own_study / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    part = section(read_study(own_study))
    assert [line for line in part.paragraphs if line.startswith(f"Not in this study: {phrase}") and "\n" not in line]
    assert {named.name for named in part.figures} == figures


def test_a_curve_alone_makes_a_report(fake_study: Path, tmp_path: Path) -> None:
    shutil.copy(fake_study / "curve.csv", tmp_path / "curve.csv")
    report = make_report(read_study(tmp_path))
    assert {named.name for named in report.figures} == {"depth-variants", "depth-exits"}
    assert report.text.count("Not in this study: ") == 21


@pytest.mark.parametrize(
    ("kinds", "phrase", "gone"),
    [
        (("variant",), "Not in this study: variants", "depth-variants"),
        (("exit-raw", "exit-norm", "exit-probe"), "Not in this study: exits", "depth-exits"),
        (("tfidf", "distilled"), "Not in this study: TF-IDF, Markov-1 (past), distilled student (no such row", ""),
    ],
)
def test_absent_points_are_said(kinds: tuple[str, ...], phrase: str, gone: str, own_study: Path) -> None:
    curve = pd.read_csv(own_study / "curve.csv")
    curve[~curve["kind"].isin(kinds)].to_csv(own_study / "curve.csv", index=False)
    section = depth_section(read_study(own_study))
    assert phrase in section.markdown
    assert {named.name for named in section.figures} == {"depth-variants", "depth-exits"} - {gone}


def test_a_study_from_before_there_were_probes_is_drawn_without_them(own_study: Path) -> None:
    curve = pd.read_csv(own_study / "curve.csv")
    assert "a linear head of its own for every k" in depth_section(read_study(own_study)).markdown
    curve[curve["kind"] != "exit-probe"].to_csv(own_study / "curve.csv", index=False)
    section = depth_section(read_study(own_study))
    assert "head of its own" not in section.markdown
    assert {named.name for named in section.figures} == {"depth-variants", "depth-exits"}


def test_a_norm_that_changes_nothing_is_not_explained(own_study: Path) -> None:
    curve = pd.read_csv(own_study / "curve.csv")
    assert "mixes two effects" in depth_section(read_study(own_study)).markdown
    normed = curve[curve["kind"] == "exit-norm"]
    twins = pd.concat([curve[curve["kind"] != "exit-raw"], normed.assign(kind="exit-raw")])
    twins.to_csv(own_study / "curve.csv", index=False)
    text = depth_section(read_study(own_study)).markdown
    assert "The raw line and the normed line are the same" in text
    assert "mixes two effects" not in text


def test_later_commits_and_the_checkpoints_content_are_told_once(own_study: Path) -> None:
    path = own_study / "provenance.json"
    first = json.loads(path.read_text())
    later = {
        **first,
        "git": {"commit": "abcdef0123456", "dirty": False},
        "backbone": {"config.json": "0123456789abcdef0"},
    }
    path.write_text(json.dumps({**first, "continued": [later, later]}))
    text = make_report(read_study(own_study)).text
    assert "on another machine: commit abcdef0123." in text
    assert "| backbone's config.json | 0123456789abcdef" in text


def test_seeds_selections_and_missing_titles_are_told(rich_study: Path) -> None:
    text = make_report(read_study(rich_study)).text
    assert "fine-tuned, first:3, seed 1" in text
    assert "fine-tuned, last:2, seed 0" in text
    assert "no titles, so there is no TF-IDF floor" in text


def test_a_study_of_first_layers_alone_speaks_of_depths(text: str) -> None:
    assert "Every depth is compared" in text
    assert "Layers kept" not in text
    assert "Do the pretrained weights matter" not in text


def test_far_apart_validation_and_test_are_pointed_out(own_study: Path) -> None:
    curve = pd.read_csv(own_study / "curve.csv")
    is_valid = (curve["kind"] == "sasrec") & (curve["split"] == "valid")
    curve["value"] = curve["value"].mask(is_valid, 3 * curve["value"])
    curve.to_csv(own_study / "curve.csv", index=False)
    text = depth_section(read_study(own_study)).markdown
    assert text.count("differ by more than a factor of 1.5 for: SASRec.") == 2


def test_a_study_without_a_curve_writes_nothing(own_study: Path, tmp_path: Path) -> None:
    (own_study / "curve.csv").unlink()
    with pytest.raises(InputError, match="curve.csv is missing"):
        write_report(own_study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_curve_that_contradicts_itself_writes_nothing(own_study: Path, tmp_path: Path) -> None:
    curve = pd.read_csv(own_study / "curve.csv")
    curve.loc[curve["metric"] == "ndcg", "value"] = 0.9
    curve.to_csv(own_study / "curve.csv", index=False)
    with pytest.raises(StudyError, match="must lie in"):
        write_report(own_study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_reports_load_no_torch() -> None:
    code = "import sys, layerprobe.reporting.report, layerprobe.reporting.plots; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])

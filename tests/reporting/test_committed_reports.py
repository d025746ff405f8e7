"""Every report in `reports/` can be drawn again from the files beside it, with the same numbers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from layerprobe import columns
from layerprobe.publishing.verify import verify
from layerprobe.reporting import report
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.tables.layers import NULL_HIGH, NULL_LOW, NULL_VALUE
from layerprobe.store.atomic import write_csv
from layerprobe.store.decision import read_decision
from layerprobe.store.layout import FIGURES, REPORT, StudyLayout

REPORTS = Path(__file__).resolve().parents[2] / "reports"
FOLDERS = sorted(path for path in REPORTS.iterdir() if path.is_dir())
PUBLISHED = [path.name for path in FOLDERS if StudyLayout(path).manifest.exists()]
"""With ranks: everything in them is computed again."""
NAMES = [path.name for path in FOLDERS if path.name not in PUBLISHED]
"""Of versions that published no ranks: they are drawn again from what there is."""
NULL = {NULL_VALUE: columns.VALUE, NULL_LOW: columns.CI_LOW, NULL_HIGH: columns.CI_HIGH}
NOT_COMMITTED = ("data facts", "what may mislead the measures", "the layers that the scores keep", "the teacher")
NOT_KNOWN_THEN = (
    *("selections against baselines", "Markov-1 (past)", "the margin that each depth proves"),
    *("the verdict under other metrics", "how trainings ended"),
)
"""What the versions of the reports without ranks did not write."""


@pytest.fixture(scope="module", params=NAMES)
def committed(request: pytest.FixtureRequest) -> Path:
    """Folder of a committed report."""
    return REPORTS / request.param


@pytest.fixture(scope="module")
def drawn(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the same report, drawn again; of its figures only the tables are written."""
    study = tmp_path_factory.mktemp("study") / committed.name
    shutil.copytree(committed, study, ignore=shutil.ignore_patterns(FIGURES, REPORT))
    restore_tables(committed / FIGURES, StudyLayout(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "save_figure", write_table)
        yield report.write_report(study).parent


def restore_tables(figures: Path, study: StudyLayout) -> None:
    """Writes the files of a study that the tables of its figures hold in full."""
    study.similarity.mkdir()
    for name, path in (("importance", study.importance), ("blocks", study.blocks), ("predicted", study.predicted)):
        shutil.copy(figures / f"{name}.csv", path)
    similarity = pd.read_csv(figures / "similarity.csv")
    similarity.to_parquet(study.similarity_table)
    pd.read_csv(figures / "similarity-student.csv").to_parquet(study.student_similarity)
    to_final = pd.read_csv(figures / "to-final.csv").dropna(subset=NULL_VALUE)
    null = to_final[[columns.MEASURE, columns.LAYER, *NULL]].rename(columns={columns.LAYER: columns.LAYER_A, **NULL})
    size = similarity[[columns.N_ROWS, columns.DIM]].iloc[0]
    null.assign(**{columns.LAYER_B: similarity[columns.LAYER_B].max(), columns.N_PERMUTATIONS: 1, **size}).to_csv(
        study.null, index=False
    )


def write_table(folder: Path, named: NamedFigure) -> None:
    """Takes the place of `save_figure`: images take most of a report's time."""
    write_csv(folder / f"{named.name}.csv", named.table)


def test_there_are_reports() -> None:
    assert {"demo", "movielens-100k", "positive-control"} <= {*NAMES, *PUBLISHED}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_of_a_published_report_follows_from_its_ranks(name: str) -> None:
    checks = list(verify(REPORTS / name))
    assert {"curve.csv", "decision.json", REPORT} <= {checked.name for checked in checks}
    assert {checked.name: checked.differences[:3] for checked in checks if checked.differences} == {}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_report_is_drawn_again_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "save_figure", write_table)
        page = report.write_report(REPORTS / name, tmp_path)
    assert page.read_bytes() == (REPORTS / name / REPORT).read_bytes()
    tables = {path.name: path.read_bytes() for path in (tmp_path / FIGURES).iterdir()}
    assert tables == {path.name: path.read_bytes() for path in (REPORTS / name / FIGURES).glob("*.csv")}


def test_drawn_again_every_figure_shows_the_same_numbers(committed: Path, drawn: Path) -> None:
    tables = {path.name: path.read_bytes() for path in (drawn / FIGURES).iterdir()}
    assert tables == {path.name: path.read_bytes() for path in (committed / FIGURES).glob("*.csv")}


def test_drawn_again_it_has_the_decision_and_names_what_is_not_committed(committed: Path, drawn: Path) -> None:
    text = (drawn / REPORT).read_text()
    assert f"**{read_decision(committed).sentence}**" in text
    absent = (*NOT_COMMITTED, *NOT_KNOWN_THEN)
    assert {part: text.count(f"Not in this study: {part}") for part in absent} == dict.fromkeys(absent, 1)
    assert text.count("Not in this study") == len(absent)


def test_the_committed_text_has_the_decision_and_its_links_lead_to_files(committed: Path) -> None:
    text = (committed / REPORT).read_text()
    assert f"**{read_decision(committed).sentence}**" in text
    names = sorted(path.stem for path in (committed / FIGURES).glob("*.csv"))
    assert len(names) == 12
    assert all(f"![{name}](figures/{name}.svg)" in text and f"]({FIGURES}/{name}.csv)" in text for name in names)
    assert all((committed / FIGURES / f"{name}{suffix}").is_file() for name in names for suffix in (".svg", ".png"))

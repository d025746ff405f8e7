"""What a report says of the effort of trainings, and the warning for its top."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.reporting.files.effort_files import read_convergence
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.findings.effort import budget_check, undertrained_line
from layerprobe.reporting.sections.effort import effort_section

NAN = float("nan")


def trained(
    kind: str, depth: int | None, *rising: bool, selection: str | None = None, **changes: object
) -> list[dict[str, object]]:
    """One row per seed; whoever rises has its best epoch last."""
    text = selection or ("" if depth is None else f"first:{depth}")
    facts: dict[str, object] = {
        "kind": kind, "selection": text, "depth": depth, "epochs": 4, "epochs_allowed": 4, "stopped_by": "limit",
        "best_valid": 0.1, "slope": 0.02, "slope_se": 0.01, "settings_tried": 1, "train_seconds": 30.0,
    }  # fmt: skip
    return [
        {**facts, "seed": seed, "rising": rises, "best_epoch": 4 if rises else 3, **changes}
        for seed, rises in enumerate(rising)
    ]


def table_of(*rows: list[dict[str, object]]) -> pd.DataFrame:
    table = pd.DataFrame([row for group in rows for row in group])
    return table[list(columns.CONVERGENCE)].astype({"depth": "Int64"})


FULL, SASREC = trained("variant", 4, True), trained("sasrec", None, False)
DEPTHS = [trained("variant", depth, depth > 0) for depth in range(4)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([FULL, SASREC, *DEPTHS], "the full model and 3 of 4 smaller depths still rose at the last epoch (best"),
        ([FULL, SASREC], "of the full model still rose at the last epoch (best epoch 4 of 4). More epochs may change"),
        ([trained("variant", 4, False), trained("sasrec", None, True)], "NDCG@10 of SASRec still rose"),
        (
            [FULL, trained("variant", 2, True, selection="last:2"), trained("variant", 1, False)],
            "the full model and 1 of 2 smaller selections still",
        ),
        ([trained("variant", 4, False), trained("distilled", 2, True)], "NDCG@10 of the student still rose"),
        (
            [trained("variant", 4, False), *(trained("random-init", k, k > 1) for k in (1, 2, 3))],
            "of 2 of 3 random initialisation twins still rose",
        ),
        (
            [trained("teacher", 4, True, selection="first:4"), trained("variant", 4, False)],
            "NDCG@10 of the teacher still rose",
        ),
        ([FULL, trained("variant", 1, False, True)], "the full model and the smaller depth still rose"),  # 1 of 2 seeds
        ([FULL, trained("sasrec", None, True, epochs_allowed=9)], "the full model and SASRec still rose at the last "
         "epoch (best epoch 4 of 4 or 9 of 9)."),
    ],
)  # fmt: skip
def test_the_warning_names_who_still_rose(rows: list, said: str) -> None:
    line = undertrained_line(table_of(*rows))
    assert line is not None
    assert line.startswith("Training may have been too short: the validation NDCG@10 of ")
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize("rows", [[trained("variant", 4, False), SASREC], [trained("variant", 4, True, False, False)]])
def test_no_warning_where_less_than_half_of_the_seeds_rose(rows: list) -> None:
    assert undertrained_line(table_of(*rows)) is None


def test_the_same_effort_is_said_and_so_is_another() -> None:
    same, settled = budget_check(table_of(trained("variant", 4, False), trained("variant", 1, False), SASREC))
    assert same == "All models had the same limit and the same search: at most 4 epochs and 1 setting."
    assert settled == "No training still rose at its last epoch."
    other = trained("sasrec", None, False, epochs_allowed=9, settings_tried=101)
    differ, _ = budget_check(table_of(trained("variant", 4, False), trained("variant", 1, False), other))
    assert differ == (
        "Models differ in limit or search. The full model and the smaller models: at most 4 epochs and 1 setting; "
        "SASRec: at most 9 epochs and 101 settings. A model with fewer epochs or less search may be weaker than it "
        "could be."
    )
    assert "1 of 3 trainings still rose at their last epoch, but less" in " ".join(
        budget_check(table_of(trained("variant", 4, True, False, False)))
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slope": NAN}, "2 trainings have no log, so the slope is not known"),
        ({"slope": NAN, "epochs": 2}, "2 trainings have fewer than 3 epochs, too few for a slope"),
    ],
)
def test_what_is_not_known_is_said(change: dict, said: str) -> None:
    assert said in " ".join(budget_check(table_of(trained("variant", 4, False, False, **change), SASREC)))


def test_the_section_has_a_row_per_model_with_all_its_seeds(own_study: Path) -> None:
    rows = table_of(
        trained("variant", 4, True, True, train_seconds=90.0), trained("variant", 1, False, True, epochs_allowed=5),
        trained("sasrec", None, False, settings_tried=101),
    )  # fmt: skip
    rows.to_csv(own_study / "convergence.csv", index=False)
    section = effort_section(read_study(own_study))
    lines = [line for line in section.markdown.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["full model", "first:4", "2", "4", "4", "2.00 %", "2 of 2", "1", "3.0 min"],
        ["fine-tuned", "first:1", "2", "5", "3-4", "2.00 %", "1 of 2", "1", "1.0 min"],
        ["SASRec", "-", "1", "4", "3", "2.00 %", "0 of 1", "101", "30 s"],
    ]
    assert "Training may have been too short" in section.paragraphs[0]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = table_of(FULL, SASREC, trained("variant", 1, False, slope=NAN, slope_se=NAN))
    written.to_csv(tmp_path / "convergence.csv", index=False)
    pd.testing.assert_frame_equal(read_convergence(tmp_path / "convergence.csv"), written, check_dtype=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop(columns="rising"), "must have the columns .*; missing: rising"),
        (lambda table: table.assign(rising="yes"), "must hold True or False in the column rising; got 'yes'"),
        (lambda table: table.assign(epochs="many"), "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(change: Callable[[pd.DataFrame], pd.DataFrame], said: str, tmp_path: Path) -> None:
    path = tmp_path / "convergence.csv"
    change(table_of(FULL, SASREC)).to_csv(path, index=False)
    with pytest.raises(InputError, match=rf"convergence\.csv {said}"):
        read_convergence(path)

"""Data that a study cannot use are refused before a file of them is written, in a run as in a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import write_study

from layerprobe.cli.main import main

RANKED = {"sampled": None, "remove_history": False, "ks": [1, 10], "n_boot": 100}


def write_log(folder: Path, n_users: int, n_items: int, n_rows: int = 8) -> Path:
    """Users whose rows are a minute apart and walk through the items."""
    log = folder / "log.csv"
    rows = [
        f"u{user},i{(user * 7 + 3 * place) % n_items},{1_600_000_000 + 60 * place}\n"
        for user in range(n_users)
        for place in range(n_rows)
    ]
    log.write_text("user,item,timestamp\n" + "".join(rows))
    return log


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with, its exit code being 2."""
    assert main(arguments) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert len(line) <= 320
    return line


@pytest.mark.parametrize(
    ("n_users", "n_items", "changes", "part"),
    [
        (50, 1, {}, "cut-offs must be smaller than the catalogue, else every target is a hit; got 10"),
        (50, 10, {}, "and 10 items: a study needs more than 10"),
        (50, 15, {"evaluation": {**RANKED, "ks": [1, 10, 20]}}, "got 20 in evaluation.ks and 15 items: leave it out"),
        (50, 15, {"decision": {"k": 15}}, "decision.k must be smaller than the catalogue"),
        (4, 200, {}, "cka needs at least 5 rows; got 4"),
        (50, 30, {"evaluation": {**RANKED, "sampled": 29}}, "sampled-29 needs 29 items a user never met"),
        (50, 30, {"training": {"loss": {"kind": "sampled-softmax", "negatives": 40}}}, "training: "),
    ],
)
@pytest.mark.parametrize("way", ["run", "dry-run", "prepared"])
def test_what_no_study_can_use_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str, n_users: int, n_items: int, changes: dict, part: str
) -> None:
    log, data = write_log(tmp_path, n_users, n_items), {"source": "table"}
    if way == "prepared":
        assert main(["prepare", "--source", "table", "--path", str(log), "--out", str(tmp_path / "made")]) == 0
        log, data = tmp_path / "made", {"source": "prepared"}
    study = write_study(tmp_path, **{"data": data, "evaluation": RANKED, **changes})
    arguments = ["run", str(study), "--path", str(log), "--out", str(tmp_path / "study")]
    assert part in refusal(arguments + ["--dry-run"] * (way == "dry-run"), capsys)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_data_of_a_refused_run_are_looked_at_again_with_the_options_of_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    log = tmp_path / "log.csv"  # every last item was met before
    rows = [f"u{u},i{(u * 7 + min(t, 12 - t)) % 40},{t}\n" for u in range(60) for t in range(9)]
    log.write_text("user,item,timestamp\n" + "".join(rows))
    study = write_study(tmp_path, data={"source": "table"}, evaluation=RANKED)
    arguments = ["run", str(study), "--path", str(log), "--out", str(tmp_path / "study")]
    with monkeypatch.context() as patch:  # a machine without room: data are written, and the study is not begun
        patch.setattr("layerprobe.pipeline.dry_run.plan._refusal", lambda *_: "the plan does not fit")
        assert "the plan does not fit" in refusal(arguments, capsys)
    assert (tmp_path / "study" / "data" / "done.json").exists()
    changed = [*arguments, *extra, "--evaluation.remove_history", "true"]
    assert "60 of 60 test targets (100.0 %) were met before" in refusal(changed, capsys)
    assert not (tmp_path / "study" / "study.yaml").exists()

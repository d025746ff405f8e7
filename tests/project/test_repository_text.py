"""The repository speaks of the project only: no path of a machine it was written on, no talk of how."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Spelled in two parts, so that this file does not hold what it looks for.
FORBIDDEN = tuple(
    a + b for a, b in [("/wo", "rk/"), ("/ro", "ot/"), ("/op", "t/"), ("sub", "agent"), (" this", " session")]
)
BINARY = {".png", ".gz", ".parquet", ".safetensors"}
# A study of an older version, which a test opens: no newer code could write it, so its few small files are kept.
OLD_STUDY = Path("tests/study/old_study")
# Published reports, whose ranks travel with them.
REPORTS = Path("reports")


def repository_files(root: Path) -> list[Path]:
    """Files that are tracked, or would be: what git ignores is not part of the repository."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("not a git checkout, so which files belong to the repository is not known")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    return [path for name in listed.split("\0") if name and (path := root / name).is_file()]


def forbidden_lines(name: str, text: str) -> list[str]:
    return [
        f"{name}:{number}: {word}"
        for number, line in enumerate(text.lower().splitlines(), start=1)
        for word in FORBIDDEN
        if word in line
    ]


def test_no_file_holds_a_forbidden_word(root):
    files = [path for path in repository_files(root) if path.suffix not in BINARY]
    assert len(files) > 80
    found = [
        line
        for path in files
        for line in forbidden_lines(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("word", FORBIDDEN)
def test_each_forbidden_word_is_found_in_any_case(word):
    assert forbidden_lines("page.md", f"first line\nsee{word.upper()}here") == [f"page.md:2: {word}"]


def test_no_results_folder_or_data_is_part_of_the_repository(root):
    tracked = [path.relative_to(root) for path in repository_files(root)]
    assert [str(path) for path in tracked if path.parts[0] in {"runs", ".venv", "shared"}] == []
    data = [path for path in tracked if path.suffix in {".gz", ".parquet", ".safetensors", ".pkl"}]
    stray = [path for path in data if OLD_STUDY not in path.parents and not is_of_report(path)]
    assert [str(path) for path in stray] == []


def is_of_report(path: Path) -> bool:
    """Whether it is a Parquet file at a place that `layerprobe publish` gives it: never of a log or a catalogue."""
    inside = path.parts[2:-1]
    return path.parts[0] == "reports" and path.suffix == ".parquet" and inside in {("ranks",), ("similarity",)}


def test_a_report_may_hold_ranks_but_no_log():
    assert is_of_report(REPORTS / "demo/ranks/test-full.parquet")
    others = ("demo/data/interactions.parquet", "demo/items.parquet", "demo/ranks/model.safetensors")
    assert not any(is_of_report(REPORTS / name) for name in others)


def test_the_ranks_of_each_report_are_small(root):
    for folder in (root / REPORTS).iterdir():
        assert sum(path.stat().st_size for path in folder.glob("ranks/*")) < 9 * 2**20


def test_the_one_study_that_is_kept_is_small_and_has_no_report(root):
    files = [path for path in repository_files(root) if OLD_STUDY in path.relative_to(root).parents]
    assert len(files) > 50
    assert sum(path.stat().st_size for path in files) < 500_000
    assert [str(path) for path in files if path.suffix in {".png", ".svg", ".pkl", ".gz"}] == []

"""A published folder holds what its report is drawn from, and the ranks to the last bit; nothing else travels."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.data.recency import Recency
from layerprobe.errors import InputError
from layerprobe.publishing.packing import Luggage, packed_recency, write_packed
from layerprobe.publishing.publish import publish
from layerprobe.reporting.figures.canvas import FIGURE_SUFFIXES, NamedFigure
from layerprobe.store.atomic import read_json, write_text
from layerprobe.store.layout import StudyLayout
from layerprobe.store.manifest import changed_files, read_manifest
from layerprobe.store.packed_ranks import model_name, read_packed
from layerprobe.store.run_folder import hash_file

PARTS = {("valid", "full"), ("valid", "sampled-20"), ("test", "full"), ("test", "sampled-20")}


def touch(folder: Path, named: NamedFigure) -> None:
    """Takes the place of `save_figure`: images take most of a report's time."""
    for suffix in FIGURE_SUFFIXES:
        write_text(folder / f"{named.name}{suffix}", "")


def rank_files(study: Path) -> list[Path]:
    return sorted([*study.rglob("ranks.parquet"), *study.rglob("ranks-*.parquet")])


def test_the_ranks_of_every_model_are_equal_to_the_last_bit(finished: Path, published: Path) -> None:
    packed = read_packed(StudyLayout(published))
    files = rank_files(finished)
    assert len(files) == len(packed.models) > 10
    for path in files:
        table = packed.read(published / path.relative_to(finished))
        pd.testing.assert_frame_equal(table, pd.read_parquet(path), check_exact=True)


def test_only_small_integers_travel_and_no_id_title_or_weight(published: Path) -> None:
    names = [path.relative_to(published).as_posix() for path in published.rglob("*.parquet")]
    assert {name.split("/")[0] for name in names} == {"ranks", "similarity"}
    for path in (published / "ranks").glob("*.parquet"):
        schema = parquet.read_schema(path)
        assert {str(field.type) for field in schema} <= {"uint8", "uint16", "uint32", "int64"}
    assert not list(published.rglob("*.safetensors")) + list(published.rglob("items.parquet"))
    text = "".join(path.read_text() for path in published.rglob("*.json"))
    assert "item-" not in text
    assert "title-" not in text


def test_the_manifest_is_written_last_and_has_every_file(published: Path) -> None:
    manifest = read_manifest(published)
    there = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert set(manifest.files) == there - {"manifest.json"}
    assert all(hash_file(published / name) == value for name, value in manifest.files.items())
    assert manifest.study == "tiny"
    newest = max(published.rglob("*"), key=lambda path: path.stat().st_mtime_ns if path.is_file() else 0)
    assert newest.name == "manifest.json"


def test_the_report_is_drawn_again_without_torch_to_the_same_bytes(
    finished: Path, published: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(published, folder)
    (folder / "report.md").unlink()
    command = "import sys; from layerprobe.cli.main import main; code = main(['report', sys.argv[1]])"
    done = subprocess.run(
        [sys.executable, "-c", f"{command}; sys.exit(code or 'torch' in sys.modules)", str(folder)], check=False
    )
    assert done.returncode == 0
    assert (folder / "report.md").read_bytes() == (finished / "report" / "report.md").read_bytes()
    tables = {path.name: path.read_bytes() for path in (folder / "figures").glob("*.csv")}
    assert tables == {path.name: path.read_bytes() for path in (finished / "report/figures").glob("*.csv")}
    assert changed_files(folder, read_manifest(folder)) == {}


def test_drawing_again_hides_no_edited_file(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(published, folder)
    write_text(folder / "curve.csv", (folder / "curve.csv").read_text().replace("0.", "0.0", 1))
    monkeypatch.setattr("layerprobe.reporting.report.save_figure", touch)
    assert main(["report", str(folder)]) == 0
    assert changed_files(folder, read_manifest(folder))["curve.csv"] == "changed"


def test_it_is_drawn_elsewhere_where_asked(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerprobe.reporting.report.save_figure", touch)
    assert main(["report", str(published), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page/report.md").read_bytes() == (published / "report.md").read_bytes()


def test_publishing_again_replaces_the_folder_and_no_file_of_somebody_else(
    finished: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(published, folder)
    (folder / "notes.txt").write_text("mine")
    assert main(["publish", str(finished), str(folder)]) == 2
    assert "OUT holds notes.txt, which `publish` did not write and would delete" in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    (folder / "curve.csv").write_text("spoilt")
    assert main(["publish", str(finished), str(folder)]) == 0
    assert read_manifest(folder) == read_manifest(published)


def test_what_is_too_large_stays_at_home_by_the_stated_order(finished: Path, tmp_path: Path) -> None:
    study = StudyLayout(finished)
    ranks = {path: pd.read_parquet(path) for path in rank_files(finished)}
    exits = {model_name(study, path) for path in ranks if path.parent == study.exits}

    def travelled(limit: int) -> dict[tuple[str, str], set[str]]:
        record = write_packed(StudyLayout(tmp_path), Luggage(study, ranks, None), {}, limit)
        parts = {(part.split, part.protocol): set(part.models) for part in record.parts}
        left = {(part.split, part.protocol): set(part.models) for part in record.left_out}
        assert {path.stem for path in tmp_path.glob("ranks/*.parquet")} == {"-".join(key) for key in parts}
        for key in PARTS:  # each model is in one of the two
            assert parts.get(key, set()) | left.get(key, set()) == {model_name(study, path) for path in ranks}
            assert not parts.get(key, set()) & left.get(key, set())
        return parts

    everything = travelled(10**9)
    assert set(everything) == PARTS
    size = sum(path.stat().st_size for path in tmp_path.glob("ranks/*.parquet"))
    first = travelled(size - 1)
    assert {key for key in PARTS if first[key] == everything[key] - exits} == {
        key for key in PARTS if "full" not in key
    }
    assert set(travelled(1)) == {("test", "full")}
    assert travelled(1)["test", "full"] == everything["test", "full"]


def test_ranks_of_other_users_are_refused(finished: Path, tmp_path: Path) -> None:
    study = StudyLayout(finished)
    ranks = {path: pd.read_parquet(path) for path in rank_files(finished)}
    other = study.teacher / "ranks.parquet"
    ranks[other] = ranks[other].assign(user=lambda table: table["user"] + 1)
    with pytest.raises(InputError, match="teacher has other values in the column user"):
        write_packed(StudyLayout(tmp_path), Luggage(study, ranks, None), {})


def test_the_times_that_slices_use_travel_with_the_test_users(published: Path) -> None:
    packed = read_packed(StudyLayout(published))
    with_times = [part for part in packed.record.parts if "recency" in packed.shared(part)]
    assert [(part.split, part.protocol) for part in with_times] == [("test", "full")]
    recency = packed_recency(packed)
    assert isinstance(recency, Recency)
    assert recency.users.tolist() == packed.shared(with_times[0])["user"].tolist()


def test_users_with_several_targets_travel_with_their_times(tmp_path: Path) -> None:
    study = StudyLayout(tmp_path / "study")
    users, lengths = np.array([0, 0, 2, 2, 2, 5]), np.array([3, 4, 1, 2, 3, 9])
    table = pd.DataFrame(
        {
            **{"user": users, "target": [4, 4, 1, 2, 1, 3], "split": "test", "protocol": "full"},
            **{"n_higher": [0, 70_000, 3, 300, 1, 0], "n_ties": 0, "n_candidates": 80_000},
            **{"history_length": lengths, "target_popularity": [1, 1, 2, 3, 2, 0]},
        }
    ).astype({name: "int32" for name in columns.RANKS if name not in ("split", "protocol")})
    recency = Recency(users, np.array([5, 2**40, 0, 1, 1, 7]), "s", lengths)
    out = StudyLayout(tmp_path / "out")
    record = write_packed(out, Luggage(study, {study.teacher / "ranks.parquet": table}, recency), {})
    assert [(part.users, part.targets) for part in record.parts] == [(3, 6)]
    packed = read_packed(out)
    pd.testing.assert_frame_equal(packed.read(out.teacher / "ranks.parquet"), table[list(columns.RANKS)])
    read = packed_recency(packed)
    assert read is not None
    assert read.beside(table)["recency"].tolist() == recency.gaps.tolist()


@pytest.mark.parametrize("spoil", [lambda page: page.unlink(), lambda page: page.write_text("older")])
def test_a_report_that_is_missing_or_older_than_its_files_is_drawn_anew(
    copied: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil
) -> None:
    monkeypatch.setattr("layerprobe.reporting.report.save_figure", touch)
    spoil(copied / "report" / "report.md")
    folder = publish(copied, tmp_path / "out").folder
    assert (folder / "report.md").read_bytes() == (published / "report.md").read_bytes()


def without_sasrec(curve: str) -> str:
    return "".join(line for line in curve.splitlines(keepends=True) if "sasrec" not in line)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("study/decision.json", None, "decision.json is missing"),
        ("study/provenance.json", None, "provenance.json is missing"),
        ("study/curve.csv", without_sasrec, "it differs in ('sasrec'"),
        ("study/study.yaml", None, "has no study.yaml"),
        ("study/study.yaml", lambda _: "name: tiny", "must hold every option of a study"),
        ("out/mine.txt", lambda _: "not a report", "holds other files"),
        ("out", lambda _: "a file", "out"),
    ],
)
@pytest.mark.usefixtures("copied")
def test_what_cannot_be_published_is_one_line(tmp_path: Path, capsys, name: str, spoil, said: str) -> None:
    path = tmp_path / name
    (tmp_path / "study" / "files.json").unlink()  # as of an older version: there is no hash to find it by
    if spoil is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(spoil(path.read_text() if path.exists() else ""))
    before = sorted(tmp_path.rglob("*"))
    assert main(["publish", str(tmp_path / "study"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_published_folder_of_another_study_is_not_replaced(
    finished: Path, published: Path, tmp_path: Path, capsys
) -> None:
    for name, old, new in (
        ("study.yaml", "name: tiny", "name: other"),
        ("data/split.json", '"sha256": "', '"sha256": "0'),
    ):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(published, folder)
        write_text(folder / name, (folder / name).read_text().replace(old, new, 1))
        assert main(["publish", str(finished), str(folder)]) == 2
        assert "published folder of study tiny on this log" in capsys.readouterr().err


def test_a_published_folder_is_not_published_again(published: Path, tmp_path: Path, capsys) -> None:
    assert main(["publish", str(published), str(tmp_path / "out")]) == 2
    assert "published folder already" in capsys.readouterr().err


def test_the_command_says_what_travels(finished: Path, tmp_path: Path, capsys) -> None:
    assert main(["publish", str(finished), str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "models, valid full, valid sampled-20, test full and test sampled-20" in lines[0]
    assert lines[-1].startswith(f"published: {tmp_path / 'out'}")
    assert read_json(tmp_path / "out/ranks/packed.json")["left_out"] == []

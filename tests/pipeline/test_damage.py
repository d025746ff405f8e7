"""Every kind of file of a finished study, cut, with a flipped bit, emptied or gone: found, never read, made again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from study_folders import contents, files
from tiny_study import TINY, write_study

import layerprobe as lp
from layerprobe.cli.main import main
from layerprobe.errors import InputError
from layerprobe.export.student import load_student
from layerprobe.pipeline.run import run_stages
from layerprobe.reporting.report import write_report
from layerprobe.store.atomic import read_tensors
from layerprobe.store.layout import StudyLayout
from layerprobe.store.model_record import read_model_record
from layerprobe.store.seals import hashes
from layerprobe.store.seals.seal import damage, read_seal
from layerprobe.store.seals.study_seals import records
from layerprobe.study.study import Study
from layerprobe.training import model_folder
from layerprobe.training.loop import Trainer

REDRAWN = "report/"
"""What every run draws anew, so that a person may do with it what she likes."""
OWN_CHAIN = "decisions.jsonl"
"""Its lines hold hashes of each other (`tests/store/test_ledger.py`)."""
CACHE = "checked.json"
"""Only says what need not be hashed again."""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Changes one bit, and gives the file its old date."""
    found, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(bytes(content))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


DAMAGES = pytest.mark.parametrize("harm", [cut, flip, empty, remove])


def sealed(study: Path) -> dict[str, Path]:
    """Every record of a study with a student, by path of the file."""
    layout = StudyLayout(study)
    found = [*records(layout), layout.student / "done.json"]
    return {
        path.relative_to(study).as_posix(): record
        for record in found
        for path in (record, *(record.parent / name for name in read_seal(record).files))
    }


def test_every_file_of_a_study_has_its_hash_or_a_reason(finished: Path) -> None:
    without = files(finished) - set(sealed(finished))
    assert {name for name in without if not name.startswith(REDRAWN)} == {OWN_CHAIN, CACHE}


@DAMAGES
def test_every_damage_is_found_by_name_and_nothing_else_is(harm: Callable[[Path], None], copied: Path) -> None:
    for name, record in sealed(copied).items():
        path = copied / name
        if path == record:  # without the record its folder is not finished, or one of an older version
            continue
        kept = path.read_bytes()
        harm(path)
        assert list(damage(record)) == [path.relative_to(record.parent).as_posix()]
        path.write_bytes(kept)
        assert damage(record) == {}


@pytest.mark.parametrize("harm", [cut, flip, empty])
def test_a_damaged_record_is_found_too(harm: Callable[[Path], None], copied: Path) -> None:
    for record in set(sealed(copied).values()):
        kept = record.read_bytes()
        harm(record)
        assert list(damage(record)) == [record.name]
        record.write_bytes(kept)


def test_a_flipped_bit_is_found_in_a_file_whose_hash_is_remembered_and_whose_date_is_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(1000))
    before = path.stat()
    monkeypatch.setattr(hashes.time, "time_ns", lambda: before.st_ctime_ns + hashes.SETTLED_NS + 1)
    first = hashes.known_hash(path)
    time.sleep(0.05)  # longer than a tick of the file system's clock
    flip(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert hashes.known_hash(path) == hashes.hash_file(path) != first


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(hashes.time, "time_ns", lambda: path.stat().st_ctime_ns + hashes.SETTLED_NS + 1)
    first = hashes.known_hash(path)
    hashes.remember(tmp_path / "checked.json")
    hashes._KNOWN.clear()
    hashes.recall(tmp_path / "checked.json")
    monkeypatch.setattr(hashes, "hash_file", lambda _: pytest.fail("read again"))
    assert hashes.known_hash(path) == first


def shown_by_report(name: str) -> bool:
    return not name.startswith("student/") and not any(
        part in name for part in ("checkpoint/", "interactions", "data/items", "sequences", "item_table", "probe_heads")
    )


@DAMAGES
def test_a_report_of_damaged_files_is_refused_in_one_line_that_names_the_file(
    harm: Callable[[Path], None], copied: Path
) -> None:
    for name in sealed(copied):
        path = copied / name
        if not shown_by_report(name) or (path.name == "done.json" or name == "files.json") and harm is remove:
            continue
        kept = path.read_bytes()
        harm(path)
        with pytest.raises(InputError) as caught:
            write_report(copied)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        assert "run the study" in message
        path.write_bytes(kept)


@DAMAGES
def test_a_damaged_student_recommends_nothing(harm: Callable[[Path], None], copied: Path) -> None:
    student = copied / "student"
    for name in files(student) - {"README.md", "done.json"}:
        kept = (student / name).read_bytes()
        harm(student / name)
        with pytest.raises(InputError) as caught:
            load_student(student)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        (student / name).write_bytes(kept)
    load_student(student)


@pytest.mark.parametrize("harm", [cut, empty, remove])
def test_a_student_of_a_version_without_hashes_is_refused_in_one_line_too(
    harm: Callable[[Path], None], copied: Path
) -> None:
    student = copied / "student"
    (student / "done.json").unlink()
    load_student(student)
    for name in files(student) - {"README.md", "student.json"}:
        kept = (student / name).read_bytes()
        harm(student / name)
        with pytest.raises(InputError) as caught:
            load_student(student)
        assert "\n" not in str(caught.value)
        (student / name).write_bytes(kept)


@pytest.mark.parametrize("harm", [cut, flip, empty, remove])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_damaged_data_folder_is_refused_in_one_line(harm: Callable[[Path], None], hashed: bool, copied: Path) -> None:
    data = copied / "data"
    if not hashed:
        (data / "done.json").unlink()
    for name in files(data) - {"done.json"}:
        if harm is flip and not hashed:  # a flipped bit is only found by a hash
            continue
        kept = (data / name).read_bytes()
        harm(data / name)
        with pytest.raises(InputError) as caught:
            lp.load_prepared(data)
        assert "\n" not in str(caught.value)
        (data / name).write_bytes(kept)
    lp.load_prepared(data)


def unclocked(study: Path) -> dict[str, bytes]:
    """The files that two runs write alike; the order of an item table's metadata is one of chance."""
    clock = ("costs/", "curve.csv", "convergence.csv", "provenance.json", OWN_CHAIN, CACHE, "files.json", REDRAWN)
    told = ("log.jsonl", "metrics.json", "done.json", "decision.json", "predicted.csv", ".damaged")
    left_out = (*told, "item_table.safetensors", "predictiveness.csv", "README.md")
    return {
        name: text
        for name, text in contents(study).items()
        if not name.startswith(clock) and not name.endswith(left_out)
    }


@pytest.mark.parametrize("are_records", [True, False])
@pytest.mark.parametrize("harm", [cut, flip, remove])
def test_a_run_makes_every_damaged_file_again(
    harm: Callable[[Path], None],
    are_records: bool,
    copied: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, kept = unclocked(copied), vectors(copied)
    for name, record in sealed(copied).items():
        if (copied / name == record) == are_records and not name.endswith(("provenance.json", "README.md")):
            harm(copied / name)
    assert main(["run", str(write_study(tmp_path)), "--out", str(copied)]) == 0, capsys.readouterr().err
    assert unclocked(copied) == before
    assert torch.equal(vectors(copied), kept)
    assert all(damage(record) == {} for record in set(sealed(copied).values()))


def vectors(study: Path) -> torch.Tensor:
    return read_tensors(study / "items" / "item_table.safetensors")[0]["vectors"].clone()  # of the file, not a view


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("teacher/ranks.parquet", []),
        ("teacher/metrics.json", []),
        ("teacher/spec.yaml", []),
        ("items/item_table.safetensors", []),
        ("similarity/importance.csv", []),
        ("exits/ranks-exit-raw-2.parquet", []),
        ("baselines/ranks-popularity.parquet", []),
        ("data/items.parquet", []),
        ("variants/first-2/seed-0/checkpoint/model.safetensors", ["variant first:2 seed 0"]),
        ("variants/first-0/seed-0/done.json", ["variant first:0 seed 0"]),
        ("items/log.jsonl", ["sasrec seed 0"]),
    ],
)
def test_only_what_is_damaged_is_made_again(
    name: str, trained: list[str], copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, kept, labels = unclocked(copied), vectors(copied), []

    class Counted(Trainer):
        def run(self):
            labels.append(self.label)
            return super().run()

    monkeypatch.setattr(model_folder, "Trainer", Counted)
    flip(copied / name)
    assert main(["probe", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    assert labels == trained
    later = {f"similarity/student.{kind}" for kind in ("parquet", "json")}  # by the stage distill
    now = unclocked(copied)
    assert {name: text for name, text in before.items() if name not in later - set(now)} == now
    assert torch.equal(vectors(copied), kept)


def test_a_description_that_is_made_again_says_the_same(
    finished: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "Trainer", None)
    cut(copied / "teacher" / "metrics.json")
    assert main(["teach", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    now, before = (read_model_record(study / "teacher") for study in (copied, finished))
    assert replace(now, users_per_second=0, train_seconds=0) == replace(before, users_per_second=0, train_seconds=0)
    assert now.train_seconds == pytest.approx(before.train_seconds, rel=1e-3, abs=1e-3)


def test_models_made_from_weights_that_have_other_bits_now_are_trained_again(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[str] = []

    class Shifted(Trainer):
        """Trains like a device whose sums round in another way."""

        def run(self):
            labels.append(self.label)
            return super().run()

        def _step(self, examples):
            super()._step(examples)
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.mul_(1 + 1e-4)

    monkeypatch.setattr(model_folder, "Trainer", Shifted)
    flip(copied / "teacher" / "checkpoint" / "model.safetensors")
    assert main(["distill", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    assert labels == ["variant first:4 seed 0", "distilled first:2 seed 0"]


def test_a_damaged_study_yaml_is_written_again_only_where_the_study_is_the_same(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copied / "study.yaml").read_bytes()
    cut(copied / "study.yaml")
    assert (
        main(
            [
                "data",
                str(write_study(tmp_path, evaluation={**TINY["evaluation"], "ks": [1, 5, 10]})),
                "--out",
                str(copied),
            ]
        )
        == 2
    )
    assert "is another one than it recorded" in capsys.readouterr().err
    assert main(["data", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    assert (copied / "study.yaml").read_bytes() == before


def test_a_damaged_provenance_is_refused_and_begun_anew_where_it_is_deleted(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(copied / "provenance.json")
    asked = ["data", str(write_study(tmp_path)), "--out", str(copied)]
    assert main(asked) == 2
    assert "provenance.json was changed after it was written: restore it, or delete it" in capsys.readouterr().err
    (copied / "provenance.json").unlink()
    assert main(asked) == 0
    assert (copied / "provenance.json").exists()


def test_a_card_that_was_edited_stays_and_is_noted(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "student" / "README.md").write_text("My words.")
    load_student(copied / "student")
    run_stages(Study(lp.Study.open(write_study(tmp_path), copied).spec, copied), "export")
    assert (copied / "student" / "README.md").read_text() == "My words."
    assert "README.md was changed after it was written, and is left as it is" in capsys.readouterr().err


def test_a_study_as_python_reads_it_refuses_damaged_files(copied: Path) -> None:
    study = lp.Study.load(copied)
    for name, read in (
        ("decision.json", lambda: study.decision),
        ("teacher/ranks.parquet", lambda: study.ranks("teacher")),
        ("teacher/checkpoint/model.safetensors", study.teacher),
    ):
        kept = (copied / name).read_bytes()
        flip(copied / name)
        with pytest.raises(InputError, match="was changed after it was written"):
            read()
        (copied / name).write_bytes(kept)
        read()


def test_a_study_of_a_version_without_records_gets_them(copied: Path, tmp_path: Path) -> None:
    for name in ("files.json", "checked.json", "student/done.json"):
        (copied / name).unlink()
    shutil.rmtree(copied / "report")
    assert main(["run", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    assert {"files.json", "checked.json", "student/done.json"} <= files(copied)
    assert "curve.csv" in read_seal(copied / "files.json").files

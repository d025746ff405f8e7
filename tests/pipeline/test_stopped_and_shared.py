"""Runs that are stopped, run twice at once, or lie somewhere else: one line, nothing harmed, and the folder resumes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_folders import contents, files
from tiny_study import TRAINING, write_study

from layerprobe.cli.main import main
from layerprobe.errors import InputError
from layerprobe.store import atomic
from layerprobe.store.atomic import is_rest, make_folder, write_json
from layerprobe.store.seals.lock import sole_writer
from layerprobe.training import loop, model_folder
from layerprobe.training.checkpoint import saved_progress

CODE = "import sys; from layerprobe.cli.main import main; sys.exit(main(sys.argv[1:]))"
SLOW = {**TRAINING, "epochs": 100_000}


def test_a_second_run_in_the_same_folder_is_refused_in_one_line_and_harms_nothing(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(copied)
    (copied / ".curve.csv.abc.tmp").write_text("half written by the first run")
    with sole_writer(copied):
        assert main(["run", str(write_study(tmp_path)), "--out", str(copied)]) == 2
    error = capsys.readouterr().err
    assert f"another run is writing to {copied}: wait until it has ended, or choose another --out" in error
    assert error.count("\n") == 1
    (copied / ".curve.csv.abc.tmp").unlink()  # the second run has left it alone
    assert contents(copied) == before


def test_a_folder_is_free_when_its_run_has_ended_and_an_empty_one_is_not_left(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for _ in range(2):
        with sole_writer(folder):
            assert folder.is_dir()
        assert not folder.exists()


@pytest.mark.parametrize(
    ("stop", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_run_in_one_line_with_its_code_and_the_folder_resumes(
    stop: signal.Signals, code: int, word: str, tmp_path: Path
) -> None:
    study, out = write_study(tmp_path, training=SLOW), tmp_path / "study"
    asked = [sys.executable, "-c", CODE, "run", str(study), "--out", str(out)]
    said = []
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith("variant first:4 seed 0: epoch 3"):  # in the middle of the teacher's training
                process.send_signal(stop)
    assert process.returncode == code
    last = said[-1]
    assert last == f"layerprobe: {word}; run the same command to resume\n"
    assert not any("Traceback" in line for line in said)
    assert not [path for path in out.rglob(".*") if is_rest(path)]
    resume = out / "teacher" / "checkpoint" / "resume.safetensors"
    assert saved_progress(resume.parent).epoch >= 2  # it is saved after that line
    with sole_writer(out):  # nobody holds it any more
        pass


def half_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study whose teacher was stopped after its first epoch; returns the command that resumes it."""
    three = {**TRAINING, "epochs": 3}
    asked = ["teach", str(write_study(tmp_path, training=three)), "--out", str(tmp_path / "study")]
    trained = loop.Trainer._after_epoch

    def stop(self: loop.Trainer, checkpoint: Path) -> None:
        trained(self, checkpoint)
        if self.label.startswith("variant") and self.progress.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_after_epoch", stop)
        assert main(asked) == 130
    return asked


def test_a_damaged_half_trained_model_is_never_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = half_trained(tmp_path, monkeypatch)
    study = tmp_path / "study"
    shutil.copytree(study, tmp_path / "kept")
    assert main(asked) == 0
    assert "resumed at step" in capsys.readouterr().err
    whole = (study / "teacher" / "checkpoint" / "model.safetensors").read_bytes()
    for name in sorted(files(tmp_path / "kept" / "teacher" / "checkpoint")):
        for harm in (flipped, lambda content: content[: len(content) // 2], lambda _: b""):
            shutil.rmtree(study)
            shutil.copytree(tmp_path / "kept", study)
            path = study / "teacher" / "checkpoint" / name
            path.write_bytes(harm(path.read_bytes()))
            assert main(asked) == 0
            error = capsys.readouterr().err
            assert f"{name} " in error
            assert "the training starts from its beginning" in error
            assert (study / "teacher" / "checkpoint" / "model.safetensors").read_bytes() == whole


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[-5] ^= 1
    return bytes(changed)


def test_a_half_trained_model_of_a_version_without_checksums_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = half_trained(tmp_path, monkeypatch)
    checkpoint = tmp_path / "study" / "teacher" / "checkpoint"
    for path in checkpoint.iterdir():
        tensors, told = atomic.read_tensors(path)
        atomic.write_tensors(path, {name: value.clone() for name, value in tensors.items()}, {
            name: text for name, text in told.items() if name != "sums"
        })  # fmt: skip
    assert main(asked) == 0
    assert "resumed at step" in capsys.readouterr().err


@pytest.fixture
def nothing_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a model is trained."""
    monkeypatch.setattr(model_folder, "Trainer", lambda *_a, **_k: pytest.fail("a model was trained again"))


@pytest.mark.usefixtures("nothing_trained")
def test_a_study_that_was_moved_or_is_reached_by_a_link_goes_on(copied: Path, tmp_path: Path) -> None:
    moved, link = tmp_path / "elsewhere" / "study", tmp_path / "link"
    moved.parent.mkdir()
    copied.rename(moved)
    link.symlink_to(moved)
    study = str(write_study(tmp_path))
    for out in (moved, link):
        assert main(["curve", study, "--out", str(out)]) == 0
    assert link.is_symlink()
    with sole_writer(moved):  # the same folder by both names
        assert main(["curve", study, "--out", str(link)]) == 2


@pytest.mark.parametrize("below", ["", "inner"])
def test_a_link_to_nothing_is_refused_in_one_line(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    assert main(["run", str(write_study(tmp_path)), "--out", str(link / below)]) == 2
    error = capsys.readouterr().err
    assert f"{link} is a link to {tmp_path / 'nowhere'}, which is not there" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_below_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=f"cannot be made: {tmp_path}/file is a file; give another place"):
        make_folder(tmp_path / "file" / "inner")


@pytest.mark.parametrize(("number", "code"), [(errno.EROFS, 2), (errno.EACCES, 2), (errno.ENOSPC, 1)])
def test_a_disk_that_takes_nothing_is_one_line_and_the_study_goes_on_later(
    number: int, code: int, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    study, before = str(write_study(tmp_path)), (copied / "curve.csv").read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "any text")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.tempfile, "mkstemp", refuse)
        assert main(["curve", study, "--out", str(copied)]) == code
    error = capsys.readouterr().err.splitlines()
    assert os.strerror(number) in error[-1]
    assert not any("Traceback" in line for line in error)
    assert (copied / "curve.csv").read_bytes() == before
    assert main(["curve", study, "--out", str(copied)]) == 0


def test_a_clock_that_goes_back_harms_nothing(copied: Path, tmp_path: Path) -> None:
    later = time.time() + 10_000
    for name in files(copied):
        os.utime(copied / name, (later, later))
    assert main(["curve", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    write_json(copied / "checked.json", {"curve.csv": [1, 2, 3, 4, "0" * 64], "other": "no row", "teacher": [1]})
    assert main(["curve", str(write_study(tmp_path)), "--out", str(copied)]) == 0

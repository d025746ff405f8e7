"""Files are whole or absent, and a finished stage is recognised for what it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from layerprobe.errors import InputError, StudyError
from layerprobe.store import atomic
from layerprobe.store.atomic import disk_full_said, replacing, replacing_folder
from layerprobe.store.provenance import PACKAGES, provenance
from layerprobe.store.run_folder import hash_value, is_done, mark_done


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        _fail_halfway(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _fail_halfway(path: Path) -> None:
    with atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [0.1 + 0.2, 1e-17], "b": ["x", "ü"]})
    atomic.write_csv(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)
    atomic.write_json(tmp_path / "v.json", {"ü": [1, None]})
    assert atomic.read_json(tmp_path / "v.json") == {"ü": [1, None]}
    atomic.write_yaml(tmp_path / "v.yaml", {"b": 1, "a": 2})
    assert list(atomic.read_yaml(tmp_path / "v.yaml")) == ["b", "a"]
    tensors = {"x": torch.arange(6.0).reshape(2, 3).T}
    atomic.write_tensors(tmp_path / "t.safetensors", tensors, {"kind": "test"})
    found, metadata = atomic.read_tensors(tmp_path / "t.safetensors")
    assert torch.equal(found["x"], tensors["x"])
    assert metadata == {"kind": "test"}


def test_arrays_are_written_as_tensors_would_be(tmp_path: Path) -> None:
    arrays = {"b": np.arange(12).reshape(3, 4).T, "a": np.linspace(0, 1, 5, dtype=np.float32)}
    atomic.write_arrays(tmp_path / "a.safetensors", arrays, {"kind": "test"})
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    atomic.write_tensors(tmp_path / "t.safetensors", tensors, {"kind": "test"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "v.json", {"value": float(np.nan)})
    assert not (tmp_path / "v.json").exists()


def test_equal_values_have_equal_hashes_whatever_their_order() -> None:
    assert hash_value({"a": 1, "b": [2]}) == hash_value({"b": [2], "a": 1})
    assert hash_value({"a": 1}) != hash_value({"a": 2})


def test_done_needs_the_same_key_and_unchanged_files(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("result")
    assert not is_done(tmp_path, "key")
    mark_done(tmp_path, "key", [tmp_path / "r.txt"])
    assert is_done(tmp_path, "key")
    with pytest.raises(InputError, match="another specification"):
        is_done(tmp_path, "other")
    (tmp_path / "r.txt").write_text("changed")
    with pytest.raises(InputError, match="was changed"):
        is_done(tmp_path, "key")
    (tmp_path / "r.txt").unlink()
    with pytest.raises(InputError, match="missing"):
        is_done(tmp_path, "key")


def test_provenance_names_versions_seeds_and_device() -> None:
    found = provenance("cpu", [3])
    assert set(found["versions"]) == set(PACKAGES)
    assert found["versions"]["torch"] == torch.__version__
    assert (found["device"], found["seeds"]) == ("cpu", [3])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "any text"), "No space left on device"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "No space left on device"),
        (OSError(errno.EDQUOT, "any text"), os.strerror(errno.EDQUOT)),
    ],
)
@pytest.mark.parametrize("writer", [replacing, replacing_folder, disk_full_said])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    writer, error: Exception, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(StudyError) as caught, writer(path):
        raise error
    assert str(caught.value) == (
        f"could not write {path}: {reason}; an earlier version of it is unchanged: free space and run the same "
        "command again"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "kept"
    path.mkdir()
    (path / "file").write_text("old")
    real, calls = os.replace, iter(range(9))

    def failing(source: object, target: object) -> None:
        if next(calls) == 1:  # the old folder is out of the way, the new one not yet there
            raise OSError(errno.EIO, "broken")
        real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="broken"), replacing_folder(path) as folder:
        (folder / "file").write_text("new")
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), SafetensorError("invalid header")])
def test_other_errors_of_writing_pass_as_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)), disk_full_said(tmp_path / "file"):
        raise error

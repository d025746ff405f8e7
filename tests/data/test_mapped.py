"""A data folder of any size is read through a map of its file: no copy in memory, and no way to change the file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from layerprobe.data.prepare import sequences_hash
from layerprobe.data.sequences import Sequences, load_sequences

ROLLUP = Path("/proc/self/smaps_rollup")
ROWS, USERS, ITEMS = 16_000_000, 1_000, 500
MIB = 2**20


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of 16 million rows, a file of 122 MiB."""
    path = tmp_path_factory.mktemp("mapped") / "sequences.safetensors"
    offsets = np.linspace(0, ROWS, USERS + 1).astype(np.int64)
    Sequences(np.arange(ROWS) % ITEMS + 1, offsets, ITEMS).save(path)
    return path


def private_bytes() -> int:
    """Memory of this process that no file stands behind."""
    return next(1024 * int(line.split()[1]) for line in ROLLUP.read_text().splitlines() if line.startswith("Anonymous"))


@pytest.mark.skipif(not ROLLUP.exists(), reason="only Linux tells private from mapped memory")
def test_loading_and_reading_every_row_takes_no_private_memory(stored: Path) -> None:
    load_sequences(stored)  # what the libraries set up once is not counted
    before = private_bytes()
    sequences = load_sequences(stored)
    assert int(sequences.items.sum()) == ROWS // ITEMS * (ITEMS * (ITEMS + 1) // 2)
    taken = private_bytes() - before
    assert taken < sequences.items.nbytes / 8
    copy = sequences.items.copy()
    assert private_bytes() - before > copy.nbytes * 7 / 8  # what a copy would have shown


def test_hashing_copies_nothing_and_reads_every_row(stored: Path) -> None:
    sequences = load_sequences(stored)
    tracemalloc.start()
    found = sequences_hash(sequences)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MIB
    last = Sequences(np.r_[sequences.items[:-1], 1], sequences.offsets, ITEMS)
    assert sequences.items[-1] != 1
    assert sequences_hash(last) != found


def test_what_is_written_into_the_array_never_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sequences.safetensors"
    Sequences(np.arange(1, 10), np.array([0, 4, 9]), 9).save(path)
    before = path.read_bytes()
    sequences = load_sequences(path)
    sequences.items[:] = 7
    sequences.offsets[:] = 3
    assert path.read_bytes() == before
    assert load_sequences(path).items.tolist() == list(range(1, 10))


def test_the_arrays_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "sequences.safetensors"
    Sequences(np.arange(1, 10), np.array([0, 4, 9]), 9).save(path)
    sequences = load_sequences(path)
    Sequences(np.ones(3, dtype=np.int64), np.array([0, 3]), 1).save(path)  # another run takes the file's name
    assert sequences.items.tolist() == list(range(1, 10))


@pytest.mark.parametrize("how", ["strided", "big-endian", "int32"])
def test_the_hash_is_that_of_the_values_however_they_lie(how: str) -> None:
    items, offsets = np.arange(1, 10), np.array([0, 4, 9])
    expected = sequences_hash(Sequences(items, offsets, 9))
    other = {"strided": np.repeat(items, 2)[::2], "big-endian": items.astype(">i8"), "int32": items.astype(np.int32)}
    assert sequences_hash(Sequences(other[how], offsets, 9)) == expected

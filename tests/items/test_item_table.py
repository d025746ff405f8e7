"""Item tables: frozen, padded with a zero row, and bound to their data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from layerprobe.errors import StudyError
from layerprobe.items.table import from_vectors, load_item_table, random_table


def test_row_0_is_zero_and_the_source_is_not_touched() -> None:
    source = torch.ones(4, 2, requires_grad=True)
    table = from_vectors(source, "sasrec", "h")
    assert table.vectors.tolist() == [[0, 0], [1, 1], [1, 1], [1, 1]]
    assert not table.vectors.requires_grad
    assert source[0].tolist() == [1, 1]


def test_random_vectors_have_length_one_and_follow_the_seed() -> None:
    first, same, other = (random_table(50, 8, seed, "h").vectors for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    torch.testing.assert_close(first[1:].norm(dim=1), torch.ones(50))


def test_a_table_of_other_data_is_refused(tmp_path: Path) -> None:
    table = random_table(5, 3, 0, "mine")
    table.save(tmp_path)
    assert torch.equal(load_item_table(tmp_path, "mine").vectors, table.vectors)
    with pytest.raises(StudyError, match="was made for other data"):
        load_item_table(tmp_path, "yours")

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from layerprobe import columns, processes
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import PARTS, Part, Split
from layerprobe.errors import InputError, StudyError
from layerprobe.evaluation import counts
from layerprobe.evaluation.metrics import hit_rate
from layerprobe.evaluation.negatives import sampled_negatives
from layerprobe.evaluation.ranks import Protocols, rank_targets

COUNTS = [columns.N_HIGHER, columns.N_TIES, columns.N_CANDIDATES]


class TableScorer:
    """Gives each question the scores stored at the position of its last history item, which is unique to it."""

    def __init__(self, *tables: torch.Tensor, max_len: int = 50) -> None:
        self.tables = tables
        self.names = tuple(f"output-{i}" for i in range(len(tables)))
        self.max_len = max_len
        self.calls = 0

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        self.calls += 1
        for table in self.tables:
            yield table[batch.flat]


def random_table(split: Split, levels: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (len(split.sequences.items), split.sequences.n_items + 1)
    return torch.randint(0, levels, size, generator=generator).float()


def by_hand(split: Split, table: torch.Tensor, part: Part, protocols: Protocols) -> dict[str, list[tuple[int, ...]]]:
    """Counts candidate by candidate, the slow and obvious way."""
    queries = split.queries(part)
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in protocols.names}
    for row in range(len(queries)):
        scores = table[queries.ends[row] - 1]
        target = int(queries.targets[row])
        history = set(split.sequences.items[queries.starts[row] : queries.ends[row]].tolist())
        others = [set(range(1, split.sequences.n_items + 1)) - {target}]
        if protocols.remove_history:
            others[0] -= history
        if protocols.sampled is not None:
            drawn = sampled_negatives(split, part, protocols.sampled, protocols.seed, np.array([row]))
            others.append(set(drawn[0].tolist()))
        for name, items in zip(protocols.names, others, strict=True):
            higher = sum(bool(scores[item] > scores[target]) for item in items)
            ties = sum(bool(scores[item] == scores[target]) for item in items)
            found[name].append((higher, ties, len(items) + 1))
    return found


@pytest.mark.parametrize("remove_history", [True, False])
@pytest.mark.parametrize("sampled", [None, 2])
def test_counts_equal_counting_candidate_by_candidate(split: Split, remove_history: bool, sampled: int | None) -> None:
    protocols = Protocols(sampled=sampled, seed=5, remove_history=remove_history)
    table = random_table(split)
    ranks = rank_targets(TableScorer(table), split, PARTS, protocols, batch_size=7)["output-0"]
    for part in PARTS:
        for name, expected in by_hand(split, table, part, protocols).items():
            rows = ranks[(ranks[columns.SPLIT] == part) & (ranks[columns.PROTOCOL] == name)]
            assert [tuple(row) for row in rows[COUNTS].to_numpy().tolist()] == expected
    assert len(ranks) == len(PARTS) * len(protocols.names) * len(split.evaluated)


def test_rows_name_user_target_history_and_popularity(split: Split) -> None:
    ranks = rank_targets(TableScorer(random_table(split)), split, ["test"], Protocols(sampled=2))["output-0"]
    queries = split.queries("test")
    assert tuple(ranks.columns) == columns.RANKS
    assert ranks[columns.PROTOCOL].unique().tolist() == ["full", "sampled-2"]
    for _, rows in ranks.groupby(columns.PROTOCOL):
        np.testing.assert_array_equal(rows[columns.USER], split.evaluated)
        np.testing.assert_array_equal(rows[columns.TARGET], queries.targets)
        np.testing.assert_array_equal(rows[columns.HISTORY_LENGTH], queries.ends - queries.starts)
        np.testing.assert_array_equal(rows[columns.TARGET_POPULARITY], split.train_counts()[queries.targets])
    assert {str(ranks[name].dtype) for name in (columns.USER, columns.TARGET, *COUNTS)} == {"int32"}


def test_the_batch_size_changes_nothing(split: Split) -> None:
    scorer = TableScorer(random_table(split))
    tables = [rank_targets(scorer, split, PARTS, Protocols(sampled=2), size)["output-0"] for size in (1, 7, 512)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


# Few users at a time; more candidates than float32 can count.
@pytest.mark.parametrize(("name", "value"), [("COUNT_ROWS", 7), ("COUNT_ROWS", 1), ("EXACT", 4)])
def test_how_users_are_counted_changes_nothing(
    split: Split, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    scorer = TableScorer(random_table(split), random_table(split, seed=1))
    expected = rank_targets(scorer, split, PARTS, Protocols(sampled=2))
    monkeypatch.setattr(counts, name, value)
    found = rank_targets(scorer, split, PARTS, Protocols(sampled=2))
    for output in scorer.names:
        pd.testing.assert_frame_equal(found[output], expected[output])


@pytest.mark.parametrize(
    ("device", "n_rows", "sizes"),
    [("cpu", 130, [43, 43, 44]), ("cpu", 64, [64]), ("cpu", 1, [1]), ("meta", 130, [130])],
)
def test_a_processor_counts_in_pieces_of_equal_size_and_a_gpu_all_at_once(
    device: str, n_rows: int, sizes: list[int]
) -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    batch = counts.Candidates(9, torch.ones(n_rows, dtype=torch.int64), nothing, nothing, None)
    pieces = batch.pieces(torch.device(device))
    assert [rows.stop - rows.start for rows, _ in pieces] == sizes
    assert [len(piece.targets) for _, piece in pieces] == sizes


@pytest.mark.parametrize("n_processes", [2, 3, 50])
def test_the_processes_of_a_launch_rank_every_user_once(
    n_processes: int, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = TableScorer(random_table(split), random_table(split, seed=1))
    whole = rank_targets(scorer, split, PARTS, Protocols(sampled=2), 7)
    calls, scorer.calls = scorer.calls, 0
    monkeypatch.setattr(processes, "count", lambda: n_processes)
    monkeypatch.setattr(processes, "summed", lambda counts: counts)  # here the test adds up
    parts = []
    for index in range(n_processes):
        monkeypatch.setattr(processes, "index", lambda index=index: index)
        parts.append(rank_targets(scorer, split, PARTS, Protocols(sampled=2), 7))
    assert scorer.calls == calls
    for name, expected in whole.items():
        ranked = [part[name][columns.N_CANDIDATES] > 0 for part in parts]
        assert (sum(each.astype(int) for each in ranked) == 1).all()
        added = expected.assign(**{column: sum(part[name][column] for part in parts) for column in COUNTS})
        pd.testing.assert_frame_equal(added, expected)
    if n_processes == 3:
        assert min(each.sum() for each in ranked) > 0.2 * len(ranked[0])  # a fair share each


def test_outputs_of_one_forward_are_ranked_apart(split: Split) -> None:
    first, second = random_table(split, seed=1), random_table(split, seed=2)
    together = TableScorer(first, second)
    ranks = rank_targets(together, split, ["test"], Protocols(sampled=2))
    assert together.calls == 1
    for name, table in zip(together.names, (first, second), strict=True):
        alone = rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=2))["output-0"]
        pd.testing.assert_frame_equal(ranks[name], alone)


def test_a_target_that_was_met_before_stays_a_candidate() -> None:
    split = Split(Sequences(np.array([1, 2, 1, 3, 1]), np.array([0, 5]), 4))
    table = torch.tensor([[9.0, 1.0, 2.0, 2.0, 1.0]]).repeat(5, 1)
    row = rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=None))["output-0"].iloc[0]
    # Items 2 and 3 score higher but were met; item 4 ties; the target itself is no tie.
    assert row[COUNTS].tolist() == [0, 1, 2]


def test_the_whole_history_is_removed_where_the_scorer_reads_less(split: Split) -> None:
    table = random_table(split)
    short, long = TableScorer(table, max_len=1), TableScorer(table, max_len=50)
    expected = rank_targets(long, split, ["test"], Protocols(sampled=None))["output-0"]
    pd.testing.assert_frame_equal(rank_targets(short, split, ["test"], Protocols(sampled=None))["output-0"], expected)


def test_the_padding_column_is_ignored(split: Split) -> None:
    table = random_table(split)
    expected = rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=2))["output-0"]
    for padding in (float("nan"), float("inf"), 100.0):
        table[:, 0] = padding
        found = rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=2))["output-0"]
        pd.testing.assert_frame_equal(found, expected)


def test_a_constant_scorer_reaches_chance_and_nothing_else(split: Split) -> None:
    table = torch.full_like(random_table(split), 0.1)
    ranks = rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=2))["output-0"]
    values = hit_rate(ranks[columns.N_HIGHER].to_numpy(), ranks[columns.N_TIES].to_numpy(), 2)
    np.testing.assert_allclose(values, 2 / ranks[columns.N_CANDIDATES], rtol=1e-12)


def test_scores_are_compared_in_float32(split: Split) -> None:
    almost_equal = torch.full_like(random_table(split), 1.0, dtype=torch.float64)
    almost_equal += 1e-12 * random_table(split, levels=100)
    ranks = rank_targets(TableScorer(almost_equal), split, ["test"], Protocols(sampled=None))["output-0"]
    assert ranks[columns.N_HIGHER].sum() == 0
    np.testing.assert_array_equal(ranks[columns.N_TIES], ranks[columns.N_CANDIDATES] - 1)


def test_finite_scores_whose_sum_overflows_are_fine(split: Split) -> None:
    table = random_table(split)
    expected = rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=None))["output-0"]
    huge = rank_targets(TableScorer(table * 6e37), split, ["test"], Protocols(sampled=None))["output-0"]
    pd.testing.assert_frame_equal(huge, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_stops_with_output_and_user(split: Split, value: float) -> None:
    good, broken = random_table(split), random_table(split)
    queries = split.queries("test")
    broken[queries.ends[5] - 1, 3] = value
    message = rf"output-1 for test targets: .*1 of \d+ users .*first user row {queries.users[5]};"
    with pytest.raises(StudyError, match=message):
        rank_targets(TableScorer(good, broken), split, ["test"], Protocols(sampled=None))


def test_scores_of_another_catalogue_are_refused(split: Split) -> None:
    table = random_table(split)[:, :-1]
    with pytest.raises(StudyError, match=r"must have shape \(\d+, 13\); got \(\d+, 12\)"):
        rank_targets(TableScorer(table), split, ["test"], Protocols(sampled=None))


@pytest.mark.parametrize(("parts", "batch_size"), [([], 512), (["test"], 0)])
def test_ranking_needs_a_part_and_a_batch(split: Split, parts: list[Part], batch_size: int) -> None:
    with pytest.raises(InputError, match="needs a part and batch_size >= 1"):
        rank_targets(TableScorer(random_table(split)), split, parts, Protocols(), batch_size)

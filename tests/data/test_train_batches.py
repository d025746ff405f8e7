"""Training batches: what is a target, which windows are read, and that a step may be cut in any way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import Portion, TrainBatches, equal_cuts, training_examples
from layerprobe.errors import InputError

MAX_LEN = 8


@pytest.fixture
def long() -> Split:
    """Sixty users over 30 items, lengths 1 to 60, some many windows long, some too short to train on; seeded."""
    generator = np.random.default_rng(11)
    lengths = np.concatenate([generator.integers(1, 61, size=57), [3, 4, MAX_LEN + 3]])
    items = generator.integers(1, 31, size=int(lengths.sum()))
    return Split(Sequences(items.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]), 30))


@pytest.fixture
def two_users() -> Split:
    """User 0 met 1..6, user 1 met 7, 8, 9."""
    return Split(Sequences(np.arange(1, 10), np.array([0, 6, 9]), 9))


def training_items(split: Split) -> list[tuple[int, list[int]]]:
    """Per user, where the sequence begins and the items it may be trained on."""
    starts = split.sequences.offsets[:-1].tolist()
    ends = split.train_ends.tolist()
    return [(start, split.sequences.items[start:end].tolist()) for start, end in zip(starts, ends, strict=True)]


def transitions(split: Split) -> list[int]:
    """Position of every training item that another one follows."""
    return [start + i for start, items in training_items(split) for i in range(len(items) - 1)]


def targets_of(batches: TrainBatches) -> list[int]:
    return sorted(torch.cat([batch.flat for batch in batches.epoch(0)]).tolist())


def rows_of(batch: SequenceBatch) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Per row, its inputs, and the places in it and the items of its targets."""
    for row, (items, length) in enumerate(zip(batch.items.tolist(), batch.lengths.tolist(), strict=True)):
        mine = batch.row == row
        yield items[:length], batch.pos[mine].tolist(), batch.targets[mine].tolist()


@pytest.mark.parametrize("stride", [None, 1, 2, 3, 7, 8])
def test_with_all_every_training_transition_is_a_target_once_whatever_the_stride(
    stride: int | None, long: Split
) -> None:
    reach = 100 if stride is None else MAX_LEN  # without windows the newest inputs must be all of them
    assert targets_of(TrainBatches(long, reach, 7, "all", 0, stride)) == transitions(long)


def test_without_windows_the_newest_inputs_alone_are_read(long: Split) -> None:
    kept = [
        start + i
        for start, items in training_items(long)
        for i in range(len(items) - 1)
        if i >= len(items) - 1 - MAX_LEN
    ]
    assert targets_of(TrainBatches(long, MAX_LEN, 7, "all", 0)) == kept
    examples = training_examples(long, MAX_LEN, "all", None)
    assert len(examples) == sum(len(items) >= 2 for _, items in training_items(long))


@pytest.mark.parametrize("supervision", ["all", "last"])
@pytest.mark.parametrize("stride", [None, 1, 3, 8])
def test_targets_follow_the_inputs_that_are_read_and_no_held_out_item_is_among_them(
    supervision, stride: int | None, long: Split
) -> None:
    held_out = set(range(len(long.sequences.items))) - {
        start + i for start, items in training_items(long) for i in range(len(items))
    }
    for batch in TrainBatches(long, MAX_LEN, 5, supervision, 1, stride).epoch(2):
        stored = torch.from_numpy(long.sequences.items)
        assert torch.equal(batch.items[batch.row, batch.pos], stored[batch.flat])
        assert torch.equal(batch.targets, stored[batch.flat + 1])
        assert not held_out & set((batch.flat + 1).tolist())


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 8])
def test_every_target_but_those_of_the_oldest_window_has_enough_inputs_before_it(stride: int, long: Split) -> None:
    beginnings = {start for start, _ in training_items(long)}
    seen = {"oldest": 0, "newer": 0}
    for batch in TrainBatches(long, MAX_LEN, 7, "all", 0, stride).epoch(0):
        first = batch.flat[torch.searchsorted(batch.row, torch.arange(len(batch)))].tolist()
        for first_flat, (inputs, places, _) in zip(first, rows_of(batch), strict=True):
            if first_flat in beginnings:
                seen["oldest"] += 1
                assert places == list(range(len(inputs)))  # all of the oldest window
            else:
                seen["newer"] += 1
                assert len(inputs) == MAX_LEN
                assert places == list(range(MAX_LEN - stride, MAX_LEN))
    assert min(seen.values()) > 20


def test_windows_that_slide_by_their_own_length_are_disjoint(long: Split) -> None:
    examples = training_examples(long, MAX_LEN, "all", MAX_LEN)
    read = np.concatenate([np.arange(a, b) for a, b in zip(examples.starts, examples.ends, strict=True)])
    assert sorted(read.tolist()) == transitions(long)
    assert (examples.supervised == examples.lengths).all()


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_last_with_windows_makes_an_example_of_every_so_many_prefixes(stride: int, long: Split) -> None:
    expected = []
    for _, items in training_items(long):
        for end in range(len(items) - 1, 0, -stride):
            expected.append((items[:end][-MAX_LEN:], items[end]))
    found = []
    for batch in TrainBatches(long, MAX_LEN, 9, "last", 3, stride).epoch(1):
        for inputs, places, targets in rows_of(batch):
            assert places == [len(inputs) - 1]
            found.append((inputs, targets[0]))
    assert sorted(found) == sorted(expected)
    if stride == 1:
        assert len(expected) == len(transitions(long))


def test_last_without_windows_has_the_last_training_item_as_only_target(two_users: Split) -> None:
    batch = next(TrainBatches(two_users, 50, 8, "last", 0).epoch(0))
    assert batch.targets.tolist() == [4]
    assert batch.items.tolist() == [[1, 2, 3]]


def test_held_out_items_are_never_trained_on(two_users: Split) -> None:
    batch = next(TrainBatches(two_users, 50, 8, "all", 0).epoch(0))
    # User 0 without 5 (valid) and 6 (test); user 1 has one item left.
    assert sorted(batch.targets.tolist()) == [2, 3, 4]


def pieces(portions: list[Portion]) -> list[tuple[int, int]]:
    """Position and target of everything that counts."""
    return [
        pair
        for portion in portions
        if portion.weight
        for pair in zip(portion.batch.flat.tolist(), portion.batch.targets.tolist(), strict=True)
    ]


@pytest.mark.parametrize("shares", [1, 2, 3, 16])
@pytest.mark.parametrize("max_tokens", [None, MAX_LEN + 2, 40])
@pytest.mark.parametrize(("supervision", "stride"), [("all", None), ("all", 3), ("last", 1), ("last", None)])
def test_the_passes_of_all_processes_are_the_step_each_example_once(
    supervision, stride: int | None, max_tokens: int | None, shares: int, long: Split
) -> None:
    batches = TrainBatches(long, MAX_LEN, 6, supervision, 0, stride, max_tokens, extra=2)
    fewer, idle = 0, 0
    for chosen in batches.plan(0):
        whole = batches.build(chosen)
        parts = [batches.portions(chosen, share, shares) for share in range(shares)]
        found = [pair for part in parts for pair in pieces(part)]
        assert sorted(found) == sorted(zip(whole.flat.tolist(), whole.targets.tolist(), strict=True))
        assert sum(len(p.batch) for part in parts for p in part if p.weight) == len(chosen)
        assert len({len(part) for part in parts}) == 1
        assert sum(portion.weight for part in parts for portion in part) == pytest.approx(1, abs=1e-12)
        for portion in (portion for part in parts for portion in part):
            assert len(portion.batch) >= 1
            assert portion.weight in (0, pytest.approx(len(portion.batch.flat) / len(whole.flat), rel=1e-12))
            if max_tokens is not None:
                rows, longest = portion.batch.items.shape
                assert rows * (longest + 2) <= max_tokens
        fewer += len(chosen) < shares
        idle += sum(portion.weight == 0 for part in parts for portion in part)
    if shares == 16:  # a step has about 6 examples
        assert fewer
        assert idle >= fewer


def test_a_process_without_examples_gets_a_real_batch_of_weight_zero(two_users: Split) -> None:
    batches = TrainBatches(two_users, 50, 8, "all", 0)  # one user has something to train on
    (busy,), (idle,) = (batches.portions(batches.plan(0)[0], share, 2) for share in range(2))
    assert (busy.weight, idle.weight) == (1, 0)
    assert torch.equal(idle.batch.items, busy.batch.items)


def test_one_process_without_a_bound_does_the_step_in_one_pass(long: Split) -> None:
    batches = TrainBatches(long, MAX_LEN, 6, "all", 0, 3)
    for chosen in batches.plan(0):
        (only,) = batches.portions(chosen)
        assert only.weight == 1
        assert torch.equal(only.batch.items, batches.build(chosen).items)


def test_a_tighter_bound_makes_more_passes_and_none_that_could_take_one_more(long: Split) -> None:
    counts = []
    for max_tokens in (MAX_LEN, 24, 10**6):
        batches = TrainBatches(long, MAX_LEN, 12, "all", 0, 4, max_tokens)
        passes = [batches.portions(chosen) for chosen in batches.plan(0)]
        counts.append(sum(map(len, passes)))
        for step in passes:
            for portion, after in zip(step, step[1:], strict=False):  # shortest first: the next row is at least as long
                assert (len(portion.batch) + 1) * int(after.batch.lengths.min()) > max_tokens
    assert counts[0] > counts[1] > counts[2] == len(passes)


@pytest.mark.parametrize(("supervision", "stride"), [("all", None), ("all", 20), ("last", 1)])
def test_steps_hold_about_equal_numbers_of_targets(supervision, stride: int | None) -> None:
    lengths = np.random.default_rng(0).zipf(1.6, size=3000).clip(4, 120)
    split = Split(Sequences(np.ones(lengths.sum(), dtype=np.int64), np.concatenate([[0], np.cumsum(lengths)]), 2))
    batches = TrainBatches(split, max_len=50, batch_size=30, supervision=supervision, seed=0, stride=stride)
    targets = [len(batch.targets) for batch in batches.epoch(0)]
    n_steps = -(-len(batches.examples) // 30)
    share = sum(targets) / n_steps
    assert len(targets) == len(batches.plan(1)) == n_steps
    assert max(abs(count - share) for count in targets) <= batches.examples.supervised.max()  # one example


@pytest.mark.parametrize(
    ("weights", "n_parts", "cuts"),
    [
        ([1, 1, 1, 1], 2, [2]),
        ([9, 1, 1, 1], 2, [1]),
        ([1, 1, 1, 9], 2, [3]),
        ([9, 1, 1], 3, [1, 2]),
        ([1, 1, 9], 3, [1, 2]),
        ([5], 1, []),
    ],
)
def test_cuts_leave_no_part_empty(weights: list[int], n_parts: int, cuts: list[int]) -> None:
    assert equal_cuts(np.array(weights), n_parts).tolist() == cuts


def test_order_of_an_epoch_depends_on_seed_and_epoch_alone(split: Split) -> None:
    def plan(seed: int, epoch: int, max_tokens: int | None = None) -> list[list[int]]:
        return [each.tolist() for each in TrainBatches(split, 8, 4, "all", seed, None, max_tokens).plan(epoch)]

    assert plan(0, 3) == plan(0, 3) == plan(0, 3, max_tokens=8)
    assert plan(0, 3) != plan(0, 4)
    assert plan(0, 3) != plan(1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 7}, "max_tokens must hold the longest sequence, 8 positions; got 7: raise it or lower max_len"),
        ({"max_tokens": 10, "extra": 3}, "max_tokens must hold the longest sequence, 11 positions; got 10"),
        ({"stride": 0}, r"stride must lie in 1\.\.8, the items a window reads; got 0"),
        ({"stride": 9}, r"stride must lie in 1\.\.8, the items a window reads; got 9"),
        ({"stride": -1}, "stride must lie in"),
        ({"max_len": 0}, "max_len and batch_size must be at least 1; got 0 and 4"),
        ({"batch_size": 0}, "max_len and batch_size must be at least 1; got 8 and 0"),
    ],
)
def test_bad_input(changes: dict[str, int], message: str, long: Split) -> None:
    with pytest.raises(InputError, match=message):
        TrainBatches(**{"split": long, "max_len": 8, "batch_size": 4, "supervision": "all", "seed": 0, **changes})


def test_a_bound_that_just_holds_the_longest_sequence_is_taken(long: Split) -> None:
    batches = TrainBatches(long, 8, 4, "all", 0, max_tokens=11, extra=3)
    assert max(len(batches.portions(chosen)) for chosen in batches.plan(0)) > 1


def test_data_without_a_transition_are_refused() -> None:
    with pytest.raises(InputError, match="a user with at least 2 training items; no user has them"):
        TrainBatches(Split(Sequences(np.array([1, 2, 1]), np.array([0, 3]), 2)), 4, 4, "all", 0)

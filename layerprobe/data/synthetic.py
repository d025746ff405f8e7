"""Built-in logs whose needed depth is known: the planted truth of the demo, the positive control and many tests.

Takes `SyntheticOptions`, hands on a `RawLog` like any reader. Every user is of one kind, every kind has its own items,
and every kind's next item follows one rule:

- **markov**: one successor per item, the same for all users. The last item alone decides, so a bilinear score of its
  vector is enough: depth 0. No layer is needed and none helps.
- **lagged** (h = 1 look-up): `lag` such walks in turns, so the item `lag` places before the next one decides it. The
  walks start independently, so the items in between say nothing, and depth 0 is left with popularity. One attention
  layer is enough: a head that looks `lag` - 1 positions back. Layers whose attention reaches only w - 1 positions back
  (a sliding window of w) must pass the item on, and ceil((lag - 1) / (w - 1)) of them are needed: fewer do not see it.
- **induction** (h = 2 look-ups): every user owns a few items in an order of their own and walks round that cycle. What
  follows an item differs between users, so it must be found in the user's own history: what followed this item last
  time. One attention layer sees each earlier item alone and cannot tell what stood before it; two can: a head that
  copies the previous item, then a head that looks for the present item among those copies (Olsson et al. 2022,
  arXiv 2209.11895; one layer cannot unless it is very wide: Sanford et al. 2024, arXiv 2408.14332).
- **composed** (h >= 3): the history first lists the cycle as loose pairs `item, successor, divider` in random order,
  then a signal item, then a walk that goes h - 1 steps round the cycle at a time. No step of that walk was shown, so
  h - 1 pairs must be chained. One layer per look-up is enough; above h = 4 pointers can be doubled and
  2 + ceil(log2(h - 1)) layers suffice (Sanford, Hsu and Telgarsky 2024, arXiv 2402.09268).

Limits. The depths are what is sufficient by construction; that fewer layers fail is proven for one layer and only
conjectured beyond. Whether training finds the circuit within a budget, and in which layers of a deeper model, is a
matter of optimisation. The last target of a composed user with h = 3 and 5, 7 or 9 items can also be found by one
look-up or by elimination, so fewer layers may be enough; with 11 items, three are left over. Walks restart with
probability `noise`, which limits what training positions can teach; the last two items of every user always follow the
rule. The target of an induction user is an item of the history: rank with the history kept among the candidates, and
read the `full` protocol, since sampled negatives are never in the history and "seen before" alone beats them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd

from layerprobe.arguments import checked
from layerprobe.data.interactions import Interactions
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.synthetic_walks import PAIR, listed_pairs, popularity, private_items, walk
from layerprobe.errors import InputError
from layerprobe.ranges import SEED, Range

Kind = Literal["markov", "lagged", "induction", "composed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLOCK = 8192  # users drawn at a time: bounds memory at any size
MOST_ROWS = 10**9
ANSWERS = 4  # most items of a composed walk, its first one not counted
FIRST_TIME = 1_600_000_000
DIVIDER, SIGNAL = "Divider", "Signal"
GROUP_WORDS: dict[Kind, tuple[str, str]] = {
    "markov": ("Trail", "Guidebook"),
    "lagged": ("Echo", "Relay"),
    "induction": ("Ritual", "Keepsake"),
    "composed": ("Riddle", "Cipher"),
}
COLOURS = ("Amber", "Blue", "Crimson", "Dusky", "Emerald", "Golden", "Ivory", "Jade", "Lilac", "Olive", "Silver")
THINGS = ("Harbour", "Lantern", "Meadow", "Orchard", "Pebble", "River", "Sparrow", "Tower", "Willow")


@dataclass(frozen=True)
@checked
class SyntheticOptions:
    """Shape of a built-in log. The defaults are the demo's kinds of users, and more of them."""

    n_users: Annotated[int, Range(1, 10**7)] = 6000
    """Users, at least 1."""
    min_length: Annotated[int, Range(1, 100_000)] = 64
    """Fewest items of a user, more than 4 times `private_max`."""
    max_length: Annotated[int, Range(1, 100_000)] = 64
    """Most items of a user; lengths are uniform in between."""
    share_markov: Annotated[float, Range(0, 1)] = 0.4
    """Share of the users that follow the global successor; the four shares add up to 1."""
    share_lagged: Annotated[float, Range(0, 1)] = 0.0
    """Share of the users whose next item is the global successor of the one `lag` places before it (h = 1)."""
    lag: Annotated[int, Range(2, 100_000)] = 2
    """Walks that the lagged users go in turns, at least 2 and less than `min_length` - 2."""
    share_induction: Annotated[float, Range(0, 1)] = 0.6
    """Share of the users whose history must be searched (h = 2)."""
    share_composed: Annotated[float, Range(0, 1)] = 0.0
    """Share of the users whose history must be searched `look_ups` times in a row."""
    look_ups: Annotated[int, Range(3, 1000)] = 3
    """h of the composed users, at least 3."""
    markov_items: Annotated[int, Range(2, 10**7)] = 96
    """Items of the markov users."""
    lagged_items: Annotated[int, Range(2, 10**7)] = 96
    """Items of the lagged users."""
    induction_items: Annotated[int, Range(1, 10**7)] = 24
    """Items of which every induction user owns a few."""
    composed_items: Annotated[int, Range(1, 10**7)] = 24
    """Items of which every composed user owns a few; a divider and a signal item come on top."""
    private_min: Annotated[int, Range(5, 100_000)] = 5
    """Fewest items that an induction or composed user owns, at least 5."""
    private_max: Annotated[int, Range(5, 100_000)] = 10
    """Most items that an induction or composed user owns."""
    noise: Annotated[float, Range(0, 1, below=True)] = 0.1
    """Probability, in [0, 1), that a markov, lagged or induction walk restarts instead of following the rule."""
    popularity_skew: Annotated[float, Range(0, 100)] = 0.5
    """Exponent s of the weight `rank ** -s` by which items are drawn, at least 0; 0 is uniform."""
    seed: Annotated[int, SEED] = 0
    """Seed of everything drawn, not negative."""

    def __post_init__(self) -> None:
        _check_shares(self)
        _check_numbers(self)
        _check_items(self)

    @property
    def shares(self) -> dict[Kind, float]:
        """Share of the users of each kind."""
        return {
            "markov": self.share_markov,
            "lagged": self.share_lagged,
            "induction": self.share_induction,
            "composed": self.share_composed,
        }

    @property
    def cycle_sizes(self) -> np.ndarray:
        """Numbers of items a composed user may own: those without a common divisor with the step h - 1."""
        sizes = np.arange(self.private_min, self.private_max + 1)
        # With a common divisor a walk of h - 1 steps would visit only a part of the cycle.
        return sizes[np.gcd(sizes, self.look_ups - 1) == 1]


def _check_shares(options: SyntheticOptions) -> None:
    shares = tuple(options.shares.values())
    if not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise InputError(
            "share_markov, share_lagged, share_induction and share_composed must add up to 1; "
            f"got {', '.join(map(str, shares))}"
        )


def _check_numbers(options: SyntheticOptions) -> None:
    if options.private_max < options.private_min:
        raise InputError(f"private_max must be at least private_min, {options.private_min}; got {options.private_max}")
    if options.max_length < options.min_length:
        raise InputError(f"max_length must be at least min_length, {options.min_length}; got {options.max_length}")
    if options.n_users * options.max_length > MOST_ROWS:
        raise InputError(
            f"built-in data must have at most {MOST_ROWS:,} rows; got n_users {options.n_users:,} times max_length "
            f"{options.max_length:,}"
        )
    if options.lag >= options.min_length - 2:
        raise InputError(f"lag must be less than min_length - 2, {options.min_length - 2}; got {options.lag}")
    if options.min_length <= 4 * options.private_max:
        raise InputError(
            f"min_length must be more than 4 times private_max, {4 * options.private_max}, so that a user's order is "
            f"shown before it is asked for; got {options.min_length}: raise it or lower private_max"
        )


def _check_items(options: SyntheticOptions) -> None:
    for name in ("induction_items", "composed_items"):
        if getattr(options, name) < options.private_max:
            raise InputError(
                f"{name} must be at least private_max, {options.private_max}, the items a user owns; "
                f"got {getattr(options, name)}"
            )
    if options.share_composed and not len(options.cycle_sizes):
        raise InputError(
            f"private_min to private_max must hold a number without a common divisor with look_ups - 1 = "
            f"{options.look_ups - 1}; got {options.private_min} to {options.private_max}: widen the range"
        )


def induction_only(options: SyntheticOptions | None = None) -> SyntheticOptions:
    """Returns options with induction users alone, the positive control: needed depth 2."""
    none = dict.fromkeys((f"share_{kind}" for kind in KINDS), 0.0)
    return replace(options or SyntheticOptions(), **{**none, "share_induction": 1.0}, popularity_skew=0.0)


def needed_depth(options: SyntheticOptions) -> int:
    """Returns the layers that suffice for the hardest kind of user in the log (see the module's limits).

    0 with markov users alone, 1 with lagged users, 2 with induction users, 2 + ceil(log2(h - 1)) with composed users:
    3 for h = 3, 4 for h = 4 and h = 5.
    """
    if options.share_composed:
        return 2 + math.ceil(math.log2(options.look_ups - 1))
    if options.share_induction:
        return 2
    return 1 if options.share_lagged else 0


def generate(options: SyntheticOptions) -> RawLog:
    """Draws the log: rows user by user in time order, times strictly rising, user ids naming their kind."""
    generator = np.random.default_rng(options.seed)
    catalogue = _Catalogue(options, generator)
    kinds = _user_kinds(options, generator)
    lengths = generator.integers(options.min_length, options.max_length + 1, options.n_users)
    items = np.concatenate(list(_blocks(options, catalogue, kinds, lengths, generator)))
    codes, numbers = pd.factorize(items)  # items that nobody drew are left out, as in a log that is read
    interactions = Interactions(
        user=np.repeat(np.arange(options.n_users), lengths),
        item=codes.astype(np.int64),
        timestamp=_times(lengths, generator),
        rating=None,
        user_ids=np.array([f"{KINDS[kind]}-{row}" for row, kind in enumerate(kinds)], dtype=object),
        item_ids=catalogue.ids[numbers],
    )
    titles = dict(zip(catalogue.ids[numbers], catalogue.titles[numbers], strict=True))
    return RawLog(interactions=interactions, titles=titles, ordered=True)


class _Catalogue:
    """Items of all kinds, one after the other, and the global successors of the markov and of the lagged items.

    Without lagged users there are no lagged items, so such logs stay as they were before this kind existed.
    """

    def __init__(self, options: SyntheticOptions, generator: np.random.Generator) -> None:
        lagged_items = options.lagged_items if options.share_lagged else 0
        sizes = (options.markov_items, lagged_items, options.induction_items, options.composed_items)
        self.first = dict(zip(KINDS, np.cumsum((0, *sizes[:-1])).tolist(), strict=True))
        self.divider = sum(sizes)
        self.signal = self.divider + 1
        self.weights = {
            kind: popularity(size, options.popularity_skew) for kind, size in zip(KINDS, sizes, strict=True)
        }
        self.cycles = {
            "markov": generator.permutation(options.markov_items),
            "lagged": generator.permutation(lagged_items),
        }
        names = [_name(kind, rank, generator) for kind, size in zip(KINDS, sizes, strict=True) for rank in range(size)]
        names += [("composed-divider", DIVIDER), ("composed-signal", SIGNAL)]
        self.ids, self.titles = (np.array(column, dtype=object) for column in zip(*names, strict=True))


def _name(kind: Kind, rank: int, generator: np.random.Generator) -> tuple[str, str]:
    colour, thing, word = (words[generator.integers(len(words))] for words in (COLOURS, THINGS, GROUP_WORDS[kind]))
    return f"{kind}-{rank}", f"{colour} {thing} {word} {rank}"


def _user_kinds(options: SyntheticOptions, generator: np.random.Generator) -> np.ndarray:
    """Returns each user's position in `KINDS`; the counts are the shares, rounded by their running sums."""
    ends = np.rint(np.cumsum(list(options.shares.values())) * options.n_users).astype(np.int64)
    return generator.permutation(np.searchsorted(ends, np.arange(options.n_users), side="right"))


def _times(lengths: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns seconds: gaps of a minute to two hours, summed over all rows, so that they rise inside every user."""
    start = np.repeat(generator.integers(0, 10_000_000, len(lengths)), lengths)
    elapsed = np.cumsum(generator.integers(60, 7200, int(lengths.sum())))
    before = np.repeat(elapsed[np.cumsum(lengths) - lengths], lengths)  # elapsed at each user's first row
    return FIRST_TIME + start + elapsed - before


def _blocks(
    options: SyntheticOptions,
    catalogue: _Catalogue,
    kinds: np.ndarray,
    lengths: np.ndarray,
    generator: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yields the items of `BLOCK` users at a time, flat, users one after the other."""
    draw = {"markov": _markov, "lagged": _lagged, "induction": _induction, "composed": _composed}
    for start in range(0, options.n_users, BLOCK):
        block_kinds, block_lengths = kinds[start : start + BLOCK], lengths[start : start + BLOCK]
        matrix = np.zeros((len(block_kinds), options.max_length), dtype=np.int64)
        for code, kind in enumerate(KINDS):
            rows = np.flatnonzero(block_kinds == code)
            if len(rows):
                matrix[rows] = draw[kind](options, catalogue, block_lengths[rows], generator)
        yield matrix[np.arange(options.max_length) < block_lengths[:, None]]


def _markov(
    options: SyntheticOptions, catalogue: _Catalogue, lengths: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Walks round the global cycle; a walk starts at an item drawn by popularity."""
    return _global_walk(options, catalogue, "markov", lengths, generator)


def _lagged(
    options: SyntheticOptions, catalogue: _Catalogue, lengths: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Walks `lag` times round the global cycle, in turns; starts are drawn one by one, so the walks are independent."""
    return _global_walk(options, catalogue, "lagged", lengths, generator)


def _global_walk(
    options: SyntheticOptions,
    catalogue: _Catalogue,
    kind: Literal["markov", "lagged"],
    lengths: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    cycle = catalogue.cycles[kind]
    drawn = generator.choice(len(cycle), (len(lengths), options.max_length), p=catalogue.weights[kind])
    starts, sizes = np.argsort(cycle)[drawn], np.full(len(lengths), len(cycle))  # argsort: from item to place
    places = walk(starts, sizes, lengths, options.noise, generator, lag=options.lag if kind == "lagged" else 1)
    return catalogue.first[kind] + cycle[places]


def _induction(
    options: SyntheticOptions, catalogue: _Catalogue, lengths: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Walks round a cycle of the user's own."""
    sizes = generator.integers(options.private_min, options.private_max + 1, len(lengths))
    starts = generator.integers(0, sizes[:, None], (len(lengths), options.max_length))
    places = walk(starts, sizes, lengths, options.noise, generator)
    return np.take_along_axis(_owned(options, catalogue, "induction", len(lengths), generator), places, axis=1)


def _composed(
    options: SyntheticOptions, catalogue: _Catalogue, lengths: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Lists the cycle as loose pairs up to the signal, then walks h - 1 steps at a time.

    Where the length leaves no room for whole pairs, the list opens with the end of one.
    """
    sizes = options.cycle_sizes[generator.integers(0, len(options.cycle_sizes), len(lengths))]
    owned = _owned(options, catalogue, "composed", len(lengths), generator)
    keys = listed_pairs(sizes, options.private_max, options.max_length // PAIR + 1, generator)
    column = np.arange(options.max_length)[None, :]
    signal = (lengths - ANSWERS - 2)[:, None]
    in_list = column - signal % PAIR  # 0, 1, 2 modulo 3: item, successor, divider; [users, columns]
    listed = np.take_along_axis(keys, np.maximum(in_list // PAIR, 0), axis=1) + (in_list % PAIR == 1)
    walked = generator.integers(0, sizes)[:, None] + (options.look_ups - 1) * (column - signal - 1)
    place = np.where(column > signal, walked, listed) % sizes[:, None]
    items = np.take_along_axis(owned, place, axis=1)
    items = np.where((column < signal) & (in_list % PAIR == 2), catalogue.divider, items)
    return np.where(column == signal, catalogue.signal, items)


def _owned(
    options: SyntheticOptions, catalogue: _Catalogue, kind: Kind, n_users: int, generator: np.random.Generator
) -> np.ndarray:
    """Returns the items of every user of a kind, [users, private_max]."""
    return catalogue.first[kind] + private_items(catalogue.weights[kind], options.private_max, n_users, generator)

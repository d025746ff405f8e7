"""How often a verdict is wrong: simulated studies whose depths truly lose the margin, or nothing.

Five smaller depths of a full model with NDCG@10 of .05, most values 0; the deeper a depth, the more it agrees with the
full model. `training` is the standard deviation of one training's metric, as a share of it: what moves all users at
once when a model is trained again. The margin is 2 %, alpha is 5 %. False is: "not worse" where every depth loses
exactly the margin, "worse" where it does, "better" where every depth equals the full model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _paired import HERE, machine
from _studies import World, draw

from layerprobe.evaluation.few import LEAST_DIFFERING
from layerprobe.evaluation.seeds import TrainingNoise, shared_noise
from layerprobe.evaluation.uncertainty import SimultaneousBounds, resampled_means, simultaneous_bounds

STUDIES, N_BOOT, BATCH = 1000, 500, 25
ALPHA, MARGIN, BASE, DEPTHS = 0.05, 0.02, 0.05, 5
USERS, SIMULATED = 20_000, 2_000
"""A mean of 2,000 users is sqrt(10) times less precise than one of 20,000. With a training noise and a margin that are
sqrt(10) times larger, all ratios are those of 20,000 users, in a tenth of the time."""
SEEDS, TRAINING = (1, 2, 3, 4, 5), (0.0, 0.003, 0.01, 0.03)


@dataclass(frozen=True)
class Row:
    """One row of a table; shares are those at `USERS` users."""

    seeds: int
    training: float
    deepest: float = 1.0
    """Times the training noise of the others that the deepest of the smaller depths has."""
    full: float = 1.0
    """The same for the full model."""
    fixed: float = 0.0
    stated: bool = False
    """Whether the decision is told the training noise."""
    simulated: int = SIMULATED

    @property
    def scale(self) -> float:
        """What margin and noise are multiplied with."""
        return (USERS / self.simulated) ** 0.5

    @property
    def world(self) -> World:
        """The studies of the row."""
        training = self.training * self.scale
        own = (*[training] * (DEPTHS - 1), training * self.deepest, training * self.full)
        return World(10, BASE, own, self.fixed * self.scale)


@dataclass(frozen=True)
class Judged:
    """Bounds of one study under one truth, and the difference that the margin allows."""

    bounds: SimultaneousBounds
    threshold: float

    @property
    def alone(self) -> np.ndarray:
        """Which depths are not worse, each alone, as a sequence tests them."""
        return self.bounds.alone > self.threshold

    @property
    def together(self) -> np.ndarray:
        """Which depths are not worse, all tested together."""
        return self.bounds.lower > self.threshold


def judged(differences: np.ndarray, full: float, row: Row, alpha: float, moved: np.ndarray, seed: int) -> Judged:
    """Judges differences [seeds, users, depths] as a decision does."""
    noise = shared_noise(list(np.moveaxis(differences, -1, 0)))
    prior = row.training * row.scale * BASE if row.stated else 0.0
    bounds = simultaneous_bounds(differences, alpha, N_BOOT, seed, TrainingNoise(noise, prior=prior), moved)
    return Judged(bounds, -MARGIN * row.scale * full)


def studies(row: Row, number: int, losses: tuple[float, ...], seed: int) -> Iterator[list[list[np.ndarray]]]:
    """Draws studies in batches: per study the metric [seeds, users, models] under each loss."""
    generator, levels = np.random.default_rng(seed), [row.world.levels(loss) for loss in losses]
    for start in range(0, number, BATCH):
        drawn = [draw(row.world, row.seeds, row.simulated, generator) for _ in range(min(BATCH, number - start))]
        yield [[each.metric(10, level) for level in levels] for each in drawn]


def judged_studies(row: Row, number: int, losses: tuple[float, ...]) -> Iterator[list[Judged]]:
    """Judges studies, each under each loss; those of one batch share the draws of users."""
    for batch, metrics in enumerate(studies(row, number, losses, seed=row.seeds)):
        pairs = [
            (metric[:, :, :-1] - metric[:, :, -1:], metric[:, :, -1].mean()) for each in metrics for metric in each
        ]
        moved = resampled_means(np.concatenate([pair[0].mean(axis=0) for pair in pairs], axis=1), N_BOOT, batch)
        parts = np.split(moved, len(pairs), axis=1)
        found = [judged(*pair, row, ALPHA, part, batch) for pair, part in zip(pairs, parts, strict=True)]
        yield from (found[start : start + len(losses)] for start in range(0, len(found), len(losses)))


def rates(row: Row, number: int) -> list[float]:
    """Returns the shares of `RATES`."""
    at_margin, equal = zip(*judged_studies(row, number, (MARGIN * row.scale, 0.0)), strict=True)
    alone = np.array([each.alone for each in at_margin])
    in_order = np.array([np.logical_and.accumulate(each.alone[::-1]) for each in equal])  # the deepest first
    covered = [np.all((each.bounds.low <= 0) & (each.bounds.high >= 0)) for each in equal]
    shares = [
        alone.mean(axis=0).max(),
        np.mean([each.together.any() for each in at_margin]),
        np.mean([(each.bounds.high < each.threshold).any() for each in at_margin]),
        np.mean([(each.bounds.low > 0).any() for each in equal]),
        np.mean(covered),
        in_order.mean(),
        np.mean([each.together for each in equal]),
    ]
    return list(map(float, shares))


RATES = (
    '"not worse", sequence',
    '"not worse", simultaneous',
    '"worse"',
    '"better"',
    "coverage",
    "power, sequence",
    "power, simultaneous",
)


def rates_table(rows: dict[tuple[str, ...], Row], names: tuple[str, ...], number: int) -> list[str]:
    """Returns a table of all rates, in %; a row's key is what its first cells say."""
    lines = [f"| {' | '.join((*names, *RATES))} |", "|---:" * (len(names) + len(RATES)) + "|"]
    for cells, row in rows.items():
        studies_of_row = number if row.simulated == SIMULATED else max(number // 4, 1)
        shares = [f"{100 * share:.1f}" for share in rates(row, studies_of_row)]
        lines.append(f"| {' | '.join((*cells, *shares))} |")
    return lines


def percent(share: float) -> str:
    """Returns a share as the tables write it."""
    return f"{100 * share:g} %"


def equal_noise(number: int) -> list[str]:
    """Returns the main table: one to five seeds, with training as noisy at every depth."""
    rows = {(str(seeds), percent(noise)): Row(seeds, noise) for seeds in SEEDS for noise in TRAINING}
    rows |= {("1, its noise stated", percent(noise)): Row(1, noise, stated=True) for noise in TRAINING[1:]}
    rows[("3, 20,000 users drawn", "1 %")] = Row(3, 0.01, simulated=USERS)
    return rates_table(rows, ("seeds", "training"), number)


def unequal_noise(number: int) -> list[str]:
    """Returns the table of a deepest depth whose training is three times as noisy."""
    rows = {(str(seeds), percent(noise)): Row(seeds, noise, 3.0) for seeds in (2, 3, 5) for noise in TRAINING[1:]}
    return rates_table(rows, ("seeds", "training"), number)


def noisy_full(number: int) -> list[str]:
    """Returns the table of a full model whose training is three times as noisy: its luck is in every difference."""
    rows = {(str(seeds), percent(noise)): Row(seeds, noise, full=3.0) for seeds in (2, 3, 5) for noise in (0.003, 0.01)}
    return rates_table(rows, ("seeds", "training"), number)


def fixed_noise(number: int) -> list[str]:
    """Returns the table of errors that no seed changes."""
    rows = {
        (str(seeds), percent(noise), percent(fixed)): Row(seeds, noise, fixed=fixed)
        for seeds in (3, 5)
        for noise in (0.0, 0.01)
        for fixed in (0.005, 0.01)
    }
    return rates_table(rows, ("seeds", "training", "fixed"), number)


@dataclass(frozen=True)
class Looks:
    """A way of adding seeds: at which numbers of seeds it looks, and the error level of each look."""

    name: str
    seeds: tuple[int, ...]
    levels: tuple[float, ...]


def _planned(first: int, last: int) -> Looks:
    numbers = tuple(range(first, last + 1))
    levels = (ALPHA * first / last, *[ALPHA / last] * (last - first))
    return Looks(f"{first} to {last} seeds, {last} planned, each look at the alpha it adds", numbers, levels)


def _unplanned(first: int, last: int) -> Looks:
    numbers = tuple(range(first, last + 1))
    levels = tuple(ALPHA / 2**added for added in range(len(numbers)))
    return Looks(f"{first} to {last} seeds, unplanned, alpha halved at each look", numbers, levels)


def _naive(first: int, last: int) -> Looks:
    numbers = tuple(range(first, last + 1))
    return Looks(f"{first} to {last} seeds, each look at {percent(ALPHA)}", numbers, (ALPHA,) * len(numbers))


WAYS = (
    _naive(6, 6),
    _naive(2, 6),
    _planned(2, 6),
    _unplanned(2, 6),
    _naive(1, 5),
    _planned(2, 5),
    _unplanned(2, 5),
)


def looked(differences: np.ndarray, full: np.ndarray, row: Row, moved: np.ndarray, seed: int) -> np.ndarray:
    """Returns for each way whether any look passes: the deepest alone, any depth of all together; (ways, 2)."""
    found: dict[tuple[int, float], tuple[bool, bool]] = {}
    for number, level in {(n, level) for way in WAYS for n, level in zip(way.seeds, way.levels, strict=True)}:
        own = judged(differences[:number], full[:number].mean(), row, level, moved[number - 1], seed)
        found[number, level] = bool(own.alone[-1]), bool(own.together.any())
    return np.array([np.any([found[look] for look in zip(way.seeds, way.levels, strict=True)], axis=0) for way in WAYS])


def added_looks(number: int) -> list[str]:
    """Returns the table of seeds that are added until a depth passes."""
    row = Row(6, 0.01)
    passed: list[list[np.ndarray]] = [[], []]
    for batch, metrics in enumerate(studies(row, number, (MARGIN * row.scale, 0.0), seed=6)):
        for study in metrics:
            for truth, metric in enumerate(study):
                differences, full = metric[:, :, :-1] - metric[:, :, -1:], metric[:, :, -1].mean(axis=1)
                prefixes = np.cumsum(differences, axis=0) / np.arange(1, 7)[:, None, None]  # mean over the first seeds
                moved = resampled_means(np.concatenate(list(prefixes), axis=1), N_BOOT, batch)
                passed[truth].append(looked(differences, full, row, np.stack(np.split(moved, 6, axis=1)), batch))
    false, power = (np.mean(each, axis=0) for each in passed)
    lines = ['| looks | said | "not worse", sequence | "not worse", simultaneous | power, deepest depth |']
    lines.append("|:---|---:|---:|---:|---:|")
    for way, wrong, right in zip(WAYS, false, power, strict=True):
        said = sum(way.levels) if way.levels[-1] < ALPHA else ALPHA
        shares = (said, *wrong, right[0])
        lines.append(f"| {way.name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")
    return lines


def few_users(number: int) -> list[str]:
    """Returns the table of studies in which few users differ; the loss is ten times the margin."""
    lines = ['| users | users who differ | "not worse", resampled alone | "not worse", as decided |', "|---:" * 4 + "|"]
    world, generator = World(1, 0.024, (0.0,) * (DEPTHS + 1)), np.random.default_rng(24)
    levels = world.levels(0.2)
    for n_users in (30, 60, 100, 300, 1000, 3000):
        found = []
        for study in range(number):
            metric = draw(world, 1, n_users, generator).metric(1, levels)[0]
            bounds = simultaneous_bounds(metric[:, :-1] - metric[:, -1:], ALPHA, 200, study)
            resampled = bounds.mean - bounds.critical_alone * bounds.standard_error
            threshold = -MARGIN * metric[:, -1].mean()
            # A full model without a single hit is refused before anything is compared.
            found.append(
                (bounds.differing[-1], threshold < 0 and resampled[-1] > threshold, bounds.alone[-1] > threshold)
            )
        differing, wrong, ours = np.array(found, dtype=float).T
        lines.append(
            f"| {n_users:,} | {np.median(differing):.0f} | {100 * wrong.mean():.1f} | {100 * ours.mean():.1f} |"
        )
    return lines


RARE_LOSSES = ((1000, 0.05, 0.012, 0.003), (5000, 0.02, 0.05, 0.001), (1000, 0.1, 0.05, 0.005))
"""Users, share that swaps, size of a swap, share that loses all."""


def rare_losses(number: int) -> list[str]:
    """Returns the table of small swaps and rare full losses; the margin is set to the true loss."""
    lines = ['| users | swap | lose all | "not worse", resampled alone | "not worse", as decided |', "|---:" * 5 + "|"]
    generator = np.random.default_rng(3)
    for n_users, swapping, size, losing in RARE_LOSSES:
        found = []
        for study in range(number):
            drawn, values = generator.random(n_users), np.zeros(n_users)
            swaps = drawn < swapping
            values[swaps] = size * generator.choice([-1, 1], size=swaps.sum())
            values[drawn > 1 - losing] = -1.0
            bounds = simultaneous_bounds(values[:, None], ALPHA, 200, study)
            resampled = bounds.mean - bounds.critical_alone * bounds.standard_error
            found.append((resampled[0] > -losing, bounds.alone[0] > -losing))
        wrong, ours = 100 * np.mean(found, axis=0)
        lines.append(f"| {n_users:,} | {percent(swapping)} by {size} | {percent(losing)} | {wrong:.1f} | {ours:.1f} |")
    return lines


def table(number: int) -> str:
    """Returns the result as Markdown."""
    sections = {
        EQUAL: equal_noise,
        UNEQUAL: unequal_noise,
        NOISIEST: noisy_full,
        FIXED: fixed_noise,
        LOOKS: added_looks,
        FEW: few_users,
        RARE: rare_losses,
    }
    error = 200 * (ALPHA * (1 - ALPHA) / number) ** 0.5
    lines = [
        "# How often is a verdict wrong?",
        "",
        *(__doc__ or "").strip().splitlines()[2:],
        "",
        f"{machine()}. Command: `python benchmarks/decision_errors.py --write`.",
        f"{number:,} simulated studies a row; two standard errors of 5 % are {error:.1f} points. {USERS:,} users:",
        f"drawn are {SIMULATED:,}, with noise and margin larger by sqrt(10), which leaves all ratios alike. In %.",
        "",
    ]
    for text, rows in sections.items():
        lines += [text.strip(), "", *rows(number), ""]
    return "\n".join(lines)


EQUAL = """
## Training as noisy at every depth
`sequence` is the share of studies in which a depth passes when its turn comes (the depth with the largest share);
`simultaneous`, "worse" and "better" are the share in which any depth gets the verdict. `coverage`: all two-sided
intervals hold their true difference. `power`: share of depths that pass although they lose nothing. **Promised: with
two seeds or more a verdict is false in 5 % of studies, to within a point. With one seed nothing is promised**, unless
its noise is stated and right.
"""
UNEQUAL = """
## One depth three times as noisy
A depth that the seeds show to be noisier counts by its own seeds. **Promised: the same, from three seeds on.** Two
seeds cannot tell: what they reach is in the table.
"""
NOISIEST = """
## The full model three times as noisy
Its luck is in every difference, so the differences tell less about the noise of training than as many independent ones
would. How alike they move is taken from the seeds. **Not promised: 5 %.** This is what is reached.
"""
FIXED = """
## Errors that no seed changes
Each depth has an error that is the same in every training, as one item table or one set of initial weights for all
seeds would give. No interval can see it. **So initial weights are drawn anew for every seed, and what one item table
does is not in any interval:** this is how far it leads astray.
"""
LOOKS = """
## Seeds added until a depth passes
Training noise of 1 %. `said` is the error level that a decision states. **Promised: planned looks spend alpha as the
seeds come in and stay below it; unplanned ones say the sum.**
"""
FEW = f"""
## Few users who differ
One seed without training noise, NDCG@1 of .024, a true loss of 20 %. Where fewer than {LEAST_DIFFERING} users differ,
resamples show too little, and an exact bound counts besides. **Promised: no verdict from too few users.**
"""
RARE = """
## Small swaps and rare full losses
One seed. Some users gain or lose a little, and very few lose all; the loss is the margin exactly. The skewness tells
that few users make up the difference, and what they can lose is bounded by its size. **Promised: 5 %, to within a
point.**
"""


def main() -> None:
    """Simulates, prints and, if asked, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--write", action="store_true", help="write benchmarks/decision_errors.md")
    options = parser.parse_args()
    text = table(options.studies)
    print(text)
    if options.write:
        Path(HERE / "decision_errors.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

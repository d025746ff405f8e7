"""How often a bound on what a depth loses is wrong, with few training seeds: ours, seeds resampled, seeds ignored.

Simulated studies of four depths and a full model that lose exactly nothing, so every lower bound above 0 is wrong; the
bounds are one-sided and ask for 5 %. The deeper a depth, the more of its luck with single users it shares with the full
model, as trained models do. `training` is the standard deviation by which one training moves a model for all users.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _paired import HERE, machine

from layerprobe.evaluation.seeds import shared_noise
from layerprobe.evaluation.uncertainty import simultaneous_bounds

STUDIES, USERS, N_BOOT, ALPHA = 2000, 60, 200, 0.05
JOINT = np.array([0.3, 0.2, 0.1, 0.05])
"""Luck with single users of each difference, for one training."""
TASTE = 0.05
"""What is left of the users in a difference however often models are trained."""
SEEDS, TRAINING = (2, 3, 5), (0.0, 0.01, 0.03, 0.1)
NOISIER = 3.0


def differences(n_seeds: int, training: float, noisier: float, generator: np.random.Generator) -> np.ndarray:
    """Draws one study, [seeds, users, depths]; training moves the deepest `noisier` times as much."""
    luck = training * generator.standard_normal((n_seeds, 1, 5)) * np.array([1, 1, 1, noisier, 1])
    taste = TASTE * generator.standard_normal((1, USERS, 4))
    return luck[:, :, :4] - luck[:, :, 4:] + taste + JOINT * generator.standard_normal((n_seeds, USERS, 4))


def ours(found: np.ndarray, seed: int) -> np.ndarray:
    """Lower bounds of each depth alone, as a sequence takes them."""
    noise = shared_noise(list(np.moveaxis(found, -1, 0)))
    return simultaneous_bounds(found, ALPHA, N_BOOT, seed, noise).alone


def resampled(found: np.ndarray, seed: int) -> np.ndarray:
    """Lower bounds of a bootstrap that draws seeds and users with replacement."""
    generator = np.random.default_rng(seed)
    n_seeds, n_users = found.shape[:2]
    seeds = generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), N_BOOT) / n_seeds
    users = generator.multinomial(n_users, np.full(n_users, 1 / n_users), N_BOOT) / n_users
    return np.quantile(np.einsum("bs,bu,sud->bd", seeds, users, found, optimize=True), ALPHA, axis=0)


def ignored(found: np.ndarray, seed: int) -> np.ndarray:
    """Lower bounds of a bootstrap over users of the mean over seeds."""
    return simultaneous_bounds(found.mean(axis=0), ALPHA, N_BOOT, seed).alone


WAYS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "this project": ours,
    "seeds resampled": resampled,
    "seeds ignored": ignored,
}


def wrong(n_seeds: int, training: float, noisier: float, studies: int) -> dict[str, np.ndarray]:
    """Returns the share of studies in which each depth's bound is wrong, [depths], by way."""
    generator = np.random.default_rng((n_seeds, int(1000 * training), int(noisier)))
    counts = {name: np.zeros(4) for name in WAYS}
    for study in range(studies):
        found = differences(n_seeds, training, noisier, generator)
        for name, way in WAYS.items():
            counts[name] += way(found, study) > 0
    return {name: count / studies for name, count in counts.items()}


def table(studies: int) -> str:
    """Returns the result as Markdown."""
    lines = [
        "# How often is a bound wrong?",
        "",
        f"{machine()}. Command: `python benchmarks/decision_errors.py --write`.",
        f"{studies:,} simulated studies a row, {USERS} users, four depths; 5.0 % is asked for, two standard errors are",
        f"{200 * (ALPHA * (1 - ALPHA) / studies) ** 0.5:.1f} points. Lowest to highest depth of each row, in %.",
        "",
        f"| seeds | training | {' | '.join(WAYS)} | this project, the deepest {NOISIER:.0f} times as noisy |",
        f"|---:|---:|{'---:|' * (len(WAYS) + 1)}",
    ]
    for n_seeds in SEEDS:
        for training in TRAINING:
            alike, unlike = (wrong(n_seeds, training, noisier, studies) for noisier in (1.0, NOISIER))
            cells = [f"{100 * share.min():.1f} to {100 * share.max():.1f}" for share in alike.values()]
            cells.append(f"{100 * unlike['this project'][3]:.1f}")
            lines.append(f"| {n_seeds} | {training:g} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(__doc__ or "").strip().splitlines()[2:], ""])


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

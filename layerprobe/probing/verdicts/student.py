"""The distilled student against the baselines: is it better than the best cheap model?

Paired by user and seed, with bounds that hold for all baselines together, so that the best one may be picked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.evaluation.seeds import TrainingNoise, shared_noise
from layerprobe.evaluation.uncertainty import simultaneous_bounds
from layerprobe.kinds import SASREC, label_of
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, paired
from layerprobe.probing.verdicts.evidence import trainings
from layerprobe.probing.wording import is_exploratory, significantly
from layerprobe.store.decision import BaselineRow


def against_baselines(
    student: PerUser,
    plain: PerUser,
    floors: Mapping[str, PerUser],
    selection: LayerSelection,
    options: DecisionOptions,
) -> tuple[BaselineRow, ...]:
    """Compares the student with every baseline.

    Args:
        student: the student, under every seed.
        plain: the same layers without a teacher: they show training noise too, and a stated noise is a share of theirs.
        floors: the baselines, by name; one that was trained once is compared with every seed.
        selection: the student's layers.
        options: error level, cover, stated noise and resamples.

    Returns:
        One row per baseline, in the order given. The verdict is the student's; with one seed and `cover` `training` it
        is always "undecided".

    Raises:
        InputError: users differ, or numbers of seeds do not pair.
    """
    if not floors:
        return ()
    shape = (student.seeds, len(student.users))
    differences = [np.broadcast_to(paired(student, floor), shape) for floor in floors.values()]
    stacked = np.stack(differences, axis=-1)  # [seeds, users, baselines]
    if options.cover == "users":
        stacked = stacked.mean(axis=0, keepdims=True)  # [1, users, baselines]: bounds then cover users alone
    alike = [floor for floor in floors.values() if floor.seeds == student.seeds]
    noise = shared_noise([paired(student, other) for other in (plain, *alike)])
    stated = bool(options.prior_noise)
    trained = np.array(
        [1 + trainings(floor.seeds, student.seeds, stated and name == SASREC) for name, floor in floors.items()]
    )
    known = TrainingNoise(noise, trained, options.prior_noise * plain.value)
    bounds = simultaneous_bounds(stacked, options.alpha, options.n_boot, options.seed, known)
    is_covered = student.seeds > 1 or options.cover != "training"
    rows = []
    for column, (name, floor) in enumerate(floors.items()):
        low, high, mean = (float(part[column]) for part in (bounds.low, bounds.high, bounds.mean))
        outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
        rows.append(
            BaselineRow(
                selection=selection.text,
                depth=selection.depth,
                baseline=name,
                difference=mean,
                relative=mean / floor.value if floor.value else None,
                ci_low=low,
                ci_high=high,
                verdict=outcome if is_covered else "undecided",
            )
        )
    return tuple(rows)


def baselines_sentence(rows: Sequence[BaselineRow], value: float, seeds: int, options: DecisionOptions) -> str:
    """Says whether the student is better than the best baseline.

    Args:
        rows: `against_baselines`; at least one.
        value: the student's metric.
        seeds: trainings of it.
        options: metric, error level and stated noise.
    """
    best = min(rows, key=lambda row: row.difference)
    floor = value - best.difference
    shown = f"the best baseline, {label_of(best.baseline)} ({wording.four_digits(floor)})"
    bounds = [best.ci_low, best.ci_high]
    if best.relative is None:
        told = f"{wording.signed(best.difference)} [{', '.join(map(wording.signed, bounds))}]"
    else:
        ends = ", ".join(wording.signed_percent(bound / floor) for bound in bounds)
        told = f"{wording.signed_percent(best.relative)} [{ends}]"
    exploratory = is_exploratory(seeds, options)
    these = ", for these trained models" if exploratory else ""
    if best.verdict == "undecided":
        return f"The student is not shown to be better than {shown}: {told}{these}."
    return f"The student is {significantly(exploratory)}{best.verdict} than {shown}: {told}{these}."

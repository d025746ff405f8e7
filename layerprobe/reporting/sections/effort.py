"""Section: how long and with how much search every model was trained, and which were still improving."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import label_of
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.findings.effort import FULL, Group, budget_check, groups
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.wording import UNKNOWN, count, duration, percent

TITLE = "Was every model given the same effort?"
HEADERS = [
    "Model", "Selection", "Trainings", "Epochs allowed", "Best epoch", "Slope at the end", "Still rising",
    "Settings tried", "Training time",
]  # fmt: skip
NOTE = (
    "A training still rises if it ended at its limit of epochs, its last epoch is its best, and the slope of the "
    "validation NDCG@10 over the last third of its epochs (at least 3) is not below its standard error. The slope is "
    "the change per epoch, as a share of the best value; the table shows the largest of the seeds. A model is named "
    "above where at least half of its seeds still rose. Where the learning rate falls to 0 towards the last epoch, "
    "a flat end does not show that a longer training would bring nothing. Settings tried are the study's own and each "
    "rate of a learning-rate test (`layerprobe lr`), which lasts one step per rate; a search outside this folder is "
    "not known."
)


def effort_section(study: StudyFiles) -> Section:
    """States what was rising and who had the same effort, then shows one row per model."""
    table = study.convergence
    if table is None or table.empty:
        return Section(TITLE, [absent("how trainings ended", "convergence.csv", "Run the curve stage.")])
    rows = [_cells(group) for group in groups(table)]
    return Section(TITLE, [" ".join(budget_check(table)), markdown.table(HEADERS, rows, left=2), NOTE])


def _cells(group: Group) -> list[str]:
    rows = group.rows
    return [
        FULL.removeprefix("the ") if group.is_full else label_of(group.kind),
        group.selection or UNKNOWN,
        count(len(rows)),
        _span(rows[columns.EPOCHS_ALLOWED]),
        _span(rows[columns.BEST_EPOCH]),
        percent(rows[columns.SLOPE].max(), 2),
        f"{group.rising} of {len(rows)}",
        count(rows[columns.SETTINGS_TRIED].max()),
        duration(rows[columns.TRAIN_SECONDS].sum()),
    ]


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return count(low) if low == high else f"{count(low)}-{count(high)}"

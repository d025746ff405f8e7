"""Section: the metric of groups of users, by history length, popularity of the target and recency; who loses."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import VARIANT, label_of
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.slices import slices_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections import slice_differences
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.tables.curve import N_SEEDS, full_depth
from layerprobe.reporting.tables.slices import (
    METRIC,
    REFERENCE,
    SLICE_NAMES,
    drawn_points,
    group_name,
    of_model,
    slice_points,
    sliced_users,
)
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.durations import with_readable_times
from layerprobe.reporting.words.formats import SEEDS_TEXT, candidates, confidence
from layerprobe.wording import UNKNOWN, count, four_digits, interval, keeps_first, listed, metric_label, percent

TITLE = "Groups of users"
FIGURES = ("slices", *slice_differences.FIGURES)
FULL, DECIDED = "full model", ", decided"
TEXT = (
    "**Do some users need more layers than others?** The same test users in groups: by the number of items in their "
    "history, by how often their target occurs in training and, where times are known, by the time since their last "
    "item. The groups are formed from the data alone. If the lines have a similar shape, depth matters equally for all "
    "groups. A model that ranks by popularity always does well in the last group of targets and badly in the first."
)
EXPLORATORY = (
    "Slices are exploratory: there are many groups, and these intervals are not corrected for their number. A gap is "
    "a question for another study, not an answer."
)
NOTE = (
    "Each interval is of one model alone. Two models share their users, so their difference is known more precisely "
    f"than two intervals suggest; see below. `{UNKNOWN}`: the group has too few users for an interval, or all of them "
    "have the same value."
)


def slices_section(study: StudyFiles) -> Section:
    """Shows one line per group over depth and a table of three models; what is absent is said in one line."""
    if study.slices is None:
        return Section(TITLE, [absent("slices of users", "slices.csv", "Run the curve stage.")])
    points = slice_points(with_readable_times(study.slices))
    n_layers = full_depth(study.curve)
    models = _models(study, points, n_layers)
    if FULL not in models:
        return Section(TITLE, [absent("the full model in `slices.csv`", "variants/", "Run the probe stage.")])
    table = drawn_points(points, n_layers)
    named = NamedFigure("slices", slices_figure(table, n_layers, _caption(study, table)), table)
    text = f"{_reading(models)} {EXPLORATORY}"
    differences = slice_differences.difference_part(study)
    paragraphs = [TEXT, text, named.markdown, _table(models), NOTE, *differences.paragraphs]
    return Section(TITLE, paragraphs, [named, *differences.figures])


def _models(study: StudyFiles, points: pd.DataFrame, n_layers: int) -> dict[str, pd.DataFrame]:
    """Returns the rows of the full model, of the decided one where it is another, and of SASRec, by their names."""
    variants = points.loc[points[columns.KIND] == VARIANT]
    full = variants.loc[variants[columns.DEPTH] == n_layers, columns.SELECTION].to_list()
    texts = {FULL: full[0]} if full else {}
    chosen = None if study.decision is None else study.decision.chosen
    if chosen is not None and chosen.text not in full:
        name = f"depth {chosen.depth}" if keeps_first(chosen.text) else chosen.text
        texts[f"{name}{DECIDED}"] = chosen.text
    models = {name: of_model(points, VARIANT, text) for name, text in texts.items()}
    models[label_of(REFERENCE)] = of_model(points, REFERENCE, "")
    return {name: rows for name, rows in models.items() if not rows.empty}


def _reading(models: dict[str, pd.DataFrame]) -> str:
    """Says how much the groups with an interval differ, and how much the decided depth changes them."""
    full = models[FULL]
    known = full.loc[full[columns.CI_LOW].notna(), columns.VALUE]
    parts = [_range(values, str(name)) for name, values in known.groupby(columns.SLICE, sort=False) if len(values) > 1]
    if not parts:
        return "No two groups have enough users for an interval, so there is nothing to compare."
    changes = [
        f" With {name.removesuffix(DECIDED)}, which was decided, the groups change by {_changes(known, rows)}."
        for name, rows in models.items()
        if name.endswith(DECIDED)
    ]
    return f"{metric_label(*METRIC)} of the full model ranges {listed(parts)}.{''.join(changes)}"


def _range(values: pd.Series, slice_name: str) -> str:
    values = values.droplevel(columns.SLICE)
    low, high = str(values.idxmin()), str(values.idxmax())
    ends = f"from {four_digits(values.min())} ({group_name(low, slice_name)})"
    ends += f" to {four_digits(values.max())} ({group_name(high, slice_name)})"
    return f"{ends} by {SLICE_NAMES[slice_name]}"


def _changes(known: pd.Series, rows: pd.DataFrame) -> str:
    share = rows.loc[known.index, columns.VALUE] / known - 1
    return f"{percent(share.min())} to {percent(share.max())}"


def _table(models: dict[str, pd.DataFrame]) -> str:
    full = models[FULL]
    rows = [
        [
            SLICE_NAMES[name],
            group_name(group, name),
            count(n_users),
            *(_cell(model.loc[(name, group)]) for model in models.values()),
        ]
        for (name, group), n_users in zip(full.index, full[columns.N_USERS], strict=True)
    ]
    return markdown.table(["Users by", "Group", "Users", *models], rows, left=2)


def _cell(row: pd.Series) -> str:
    bounds = UNKNOWN if pd.isna(row[columns.CI_LOW]) else interval(row[columns.CI_LOW], row[columns.CI_HIGH])
    return f"{four_digits(row[columns.VALUE])} {bounds}"


def _caption(study: StudyFiles, table: pd.DataFrame) -> str:
    n_users = count(sliced_users(table, study.facts))
    text = (
        f"Test targets of {n_users} users, ranked among {candidates('full')}. Lines: first:k, fine-tuned "
        f"at that depth. Hollow points: SASRec. Bands and bars: {confidence(study.alpha)} of the group; none where a "
        "group has too few users."
    )
    if table[N_SEEDS].max() > 1:
        text += SEEDS_TEXT
    return f"{text} Study {study.name}, commit {study.commit}."

"""Part of the section on groups of users: who loses against the full model, with intervals."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.slice_differences import differences_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Part, absent
from layerprobe.reporting.tables.curve import NAME, RELATIVE_HIGH, RELATIVE_LOW
from layerprobe.reporting.tables.slice_differences import gains, loses, shown_differences, who_loses
from layerprobe.reporting.tables.slices import SLICE_NAMES, group_name, sliced_users
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.durations import GROUP, with_readable_times
from layerprobe.reporting.words.formats import candidates
from layerprobe.wording import UNKNOWN, count, level, percent

FIGURES = ("slice-differences",)
TEXT = (
    "**Who loses?** The same groups, now as differences from the full model for the same users. With several seeds, "
    "each seed is compared with the same seed of the full model."
)
NOTE = (
    "In brackets: the interval of the group alone. `*`: the interval for all groups of the model together does not "
    "contain 0 either. No brackets: the group has too few users for an interval, or all its users have the "
    f"same difference. `{UNKNOWN}`: the full model's value is 0."
)
ONCE = "Trained once, so the intervals do not cover the noise of training: {}."
RECENCY = "Recency is the time from the last item of the history to the target"
NO_TIMES = f"No groups by recency: {SLICE_NAMES[columns.RECENCY]} is not known, because the log has no times."
NO_GAPS = (
    f"No groups by recency: {SLICE_NAMES[columns.RECENCY]} is the same for all users (for example, times are only "
    "positions in the order), or a target is older than the item before it."
)


def difference_part(study: StudyFiles) -> Part:
    """Shows who loses as a sentence, a figure and a table, or says in one line that the study does not have it."""
    if study.slice_differences is None:
        where = "slice_differences.csv"
        return Part([absent("differences to the full model by group", where, "Run the curve stage.")])
    table = shown_differences(with_readable_times(study.slice_differences), study.decision)
    if table.empty:
        return Part([absent("a model beside the full one by group", "slice_differences.csv", "Run the curve stage.")])
    margin = None if study.decision is None else study.decision.margin
    figure = differences_figure(table, margin, _caption(study, table))
    named = NamedFigure("slice-differences", figure, table)
    text = f"{TEXT} {who_loses(table, study.alpha)}"
    notes = [NOTE, *_covered(study, table), _about_recency(study)]
    return Part([text, named.markdown, _table(table), " ".join(notes)], [named])


def _covered(study: StudyFiles, table: pd.DataFrame) -> list[str]:
    """Names the models whose intervals cover users alone; nothing where every model has several seeds."""
    covers_users_alone = study.decision is not None and study.decision.cover == "users"
    if covers_users_alone and (table[columns.SEEDS] > 1).any():
        return ["The intervals are about these trained models only: they do not cover the noise of training."]
    once = table.loc[table[columns.SEEDS] == 1, NAME].drop_duplicates().to_list()
    return [ONCE.format("; ".join(once))] if once else []


def _about_recency(study: StudyFiles) -> str:
    """Says what recency is and in which unit, or why there is none."""
    assert study.slice_differences is not None
    rows = study.slice_differences
    groups = rows.loc[rows[columns.SLICE] == columns.RECENCY, columns.GROUP]
    if groups.empty:
        has_times = (study.facts or {}).get("audit", {}).get("has_times", True)
        return NO_GAPS if has_times else NO_TIMES
    if GROUP.fullmatch(groups.iloc[0]):
        return f"{RECENCY}; bounds that are not whole days are rounded here and exact in the files."
    return f"{RECENCY}, in the log's own unit."


def _table(table: pd.DataFrame) -> str:
    keys = [columns.SLICE, columns.GROUP]
    names = table[NAME].drop_duplicates().to_list()
    by_model = [table.loc[table[NAME] == name].set_index(keys) for name in names]
    models = [(own, loses(own) | gains(own)) for own in by_model]
    rows = [
        [
            SLICE_NAMES[name],
            group_name(group, name),
            count(n_users),
            *(_cell(own.loc[(name, group)], bool(is_significant.loc[(name, group)])) for own, is_significant in models),
        ]
        for name, group, n_users in table.drop_duplicates(keys)[[*keys, columns.N_USERS]].itertuples(index=False)
    ]
    return markdown.table(["Users by", "Group", "Users", *names], rows, left=2)


def _cell(row: pd.Series, is_significant: bool) -> str:
    if pd.isna(row[RELATIVE_LOW]):
        return percent(row[columns.RELATIVE])
    star = "*" if is_significant else ""
    return f"{percent(row[columns.RELATIVE])} [{percent(row[RELATIVE_LOW])}, {percent(row[RELATIVE_HIGH])}]{star}"


def _caption(study: StudyFiles, table: pd.DataFrame) -> str:
    n_users = count(sliced_users(table, study.facts))
    covered = "" if study.alpha is None else f"{level(1 - study.alpha)} "
    over = "users and training seeds" if table[columns.SEEDS].max() > 1 else "users"
    return (
        f"Test targets of {n_users} users, ranked among {candidates('full')}. Differences in % of the "
        f"full model's value in the group. Thick bars: {covered}interval of the group alone, over {over}; thin bars: "
        f"for all groups of the model together. Hollow points: no interval. Study {study.name}, commit {study.commit}."
    )

"""Parts of the section on layers: bars per layer, runs of layers, and the orders that follow from them."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns, wording
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.importance import blocks_figure, importance_figure
from layerprobe.reporting.files.score_files import Kept
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Part, absent
from layerprobe.reporting.tables.layers import best_starts
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.formats import confidence
from layerprobe.reporting.words.score_names import BAR_TEXTS, FORMS
from layerprobe.wording import UNKNOWN, count, four_digits

FIGURES = ("importance", "blocks")
RUN = "Run the similarity stage."
MOST_OPEN = 12
"""Up to so many layers the table of orders stands open; a longer one is folded."""
BLOCKS_TEXT = (
    "The same for runs of consecutive layers: how much the state changes from before a run to after it, for every "
    "start and length. {best} A run that changes the state little is the first candidate to leave out."
)
ORDERS_TEXT = (
    "The layers that each score keeps at every depth k, counted from 0. These are the selections `bi:k`, `angular:k`, "
    "`cka:k` and `greedy:k`, as far as the study has them. Removed first: {firsts}."
)
GREEDY_TEXT = "The last column is NDCG@10 on validation users after greedy removal down to k layers, not retrained."


def importance_parts(study: StudyFiles) -> list[Part]:
    """Shows bars, triangle and orders; what is absent is said in one line each."""
    return [_bars(study), _blocks(study), _orders(study)]


def _bars(study: StudyFiles) -> Part:
    table = study.scores.importance
    if table is None or table.empty:
        return Part([absent("importance of layers", "similarity/importance.csv", RUN)])
    caption = "Layers count from 0: layer i maps state i to state i + 1."
    has_bounds = table[columns.CI_LOW].notna().any()
    n_users = table[columns.N_ROWS].max()
    if has_bounds:
        caption += f" Whiskers: {confidence(study.alpha)}, at most {count(n_users)} of them; none where not known."
    named = NamedFigure("importance", importance_figure(table, _signed(caption, study)), table)
    known = [BAR_TEXTS[name] for name in table[columns.MEASURE].unique() if name in BAR_TEXTS]
    missing = [] if has_bounds else [absent("intervals of importance", "ci_low in similarity/importance.csv", RUN)]
    return Part([markdown.bullets(known), named.markdown, *missing], [named])


def _blocks(study: StudyFiles) -> Part:
    table = study.scores.blocks
    rows = None if table is None else table.loc[table[columns.MEASURE] == columns.ANGULAR]
    if rows is None or rows.empty:
        return Part([absent("distances over runs of layers", "similarity/blocks.csv", RUN)])
    caption = (
        f"Mean angle between the states before and after the run, as a share of pi, over "
        f"{count(rows[columns.N_ROWS].max())} users: 0 is the same direction, 0.5 orthogonal (end of the scale). "
        f"Framed: the smallest of each length. Band: {confidence(study.alpha)}."
    )
    named = NamedFigure("blocks", blocks_figure(rows, _signed(caption, study)), rows)
    return Part([BLOCKS_TEXT.format(best=_best_text(rows)), named.markdown], [named])


def _best_text(rows: pd.DataFrame) -> str:
    best = best_starts(rows)
    half = best.iloc[(len(best) - 1) // 2]
    start, length = int(half[columns.START]), int(half[columns.LENGTH])
    layers = f"layer {start}" if length == 1 else f"layers {start} to {start + length - 1}"
    runs = "single layers" if length == 1 else f"runs of {length} layers"
    changes = "changes" if length == 1 else "change"
    return f"Of the {runs}, {layers} {changes} the state least, by {half[columns.VALUE]:.3f} of pi."


def _orders(study: StudyFiles) -> Part:
    orders = study.scores.kept
    if not orders:
        return Part([absent("the layers that the scores keep", "similarity/selections.json", RUN)])
    n_layers = len(next(iter(orders.values()))) - 1
    greedy = _greedy_values(study.scores.greedy, n_layers)
    headers = ["k", *(f"`{name}:k`" for name in orders), *(["NDCG@10, greedy"] if greedy else [])]
    rows = [
        [
            str(k),
            *(wording.layers(kept[k]) for kept in orders.values()),
            *([greedy.get(k, UNKNOWN)] if greedy else []),
        ]
        for k in range(n_layers + 1)
    ]
    table = markdown.table(headers, rows, left=1 + len(orders))
    shown = table if n_layers <= MOST_OPEN else markdown.folded("Layers kept at each depth", table)
    text = ORDERS_TEXT.format(firsts="; ".join(_first_text(name, kept) for name, kept in orders.items()))
    return Part([f"{text} {GREEDY_TEXT}" if greedy else text, shown])


def _first_text(name: str, kept: Kept) -> str:
    removed = set(range(len(kept) - 1)) - set(kept[-2] if len(kept) > 1 else ())
    return f"{', '.join(map(str, sorted(removed))) or 'none'} by {FORMS.get(name, name)}"


def _greedy_values(greedy: pd.DataFrame | None, n_layers: int) -> dict[int, str]:
    """Returns the value after each removal by the number of layers left; a row without a layer is the whole model."""
    if greedy is None:
        return {}
    rows = greedy.sort_values(columns.STEP, kind="stable")
    left = n_layers - rows[columns.LAYER].notna().cumsum()
    return {int(k): four_digits(value) for k, value in zip(left, rows[columns.VALUE], strict=True)}


def _signed(caption: str, study: StudyFiles) -> str:
    return f"{caption} Study {study.name}, commit {study.commit}."

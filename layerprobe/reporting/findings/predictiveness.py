"""What `predictiveness.csv` says in one sentence: does a cheap score order the selections as fine-tuning does?

The best of many scores was picked because it is the best, so its p-value is multiplied by their number (Bonferroni).
A score that predicts must also do better than counting layers, which costs nothing.
"""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.words.score_names import score_name

FEWEST_SELECTIONS = 5
LARGEST_P = 0.05
CURVE = "the fine-tuned curve"


def ranked(predictiveness: pd.DataFrame) -> pd.DataFrame:
    """Returns the scores from the best to the worst, undefined ones last.

    Scores of some selections come after those of all, then the trivial score and the ceiling.
    """
    is_part = predictiveness[columns.N_SELECTIONS] < predictiveness[columns.N_SELECTIONS].max()
    place = (
        predictiveness[columns.SCORE]
        .map({columns.DEPTH_SCORE: 2, **dict.fromkeys(columns.CEILINGS, 3)})
        .fillna(is_part.astype(int))
    )
    rows = predictiveness.assign(place=place).sort_values(
        ["place", columns.CORRELATION], ascending=[True, False], na_position="last", kind="stable"
    )
    return rows.drop(columns="place").reset_index(drop=True)


def with_interval(row: pd.Series) -> str:
    """Returns `0.93 [0.85, 0.98]`; without the interval where there is none, or selections are too few to tell."""
    if pd.isna(row[columns.CORRELATION]):
        return "not defined"
    value, low, high = (f"{row[name]:.2f}" for name in (columns.CORRELATION, columns.CI_LOW, columns.CI_HIGH))
    if row[columns.N_SELECTIONS] < FEWEST_SELECTIONS:
        return f"{value}, too few to tell"
    return value if "nan" in (low, high) else f"{value} [{low}, {high}]"


def finding(predictiveness: pd.DataFrame) -> str:
    """Says in one sentence whether a score predicts the fine-tuned curve.

    Scores of some of the selections only, such as exits, are in the table and are not compared here: among other
    selections, depth alone predicts better or worse.

    Args:
        predictiveness: columns `columns.PREDICTIVENESS`, at least one row.
    """
    rows = ranked(predictiveness)
    scores = rows.loc[~rows[columns.SCORE].isin((columns.DEPTH_SCORE, *columns.CEILINGS))]
    n_most = int(rows[columns.N_SELECTIONS].max())
    known = scores.loc[scores[columns.CORRELATION].notna() & (scores[columns.N_SELECTIONS] == n_most)]
    if known.empty:
        selections = "1 selection was" if n_most == 1 else f"{n_most} selections were"
        return (
            f"No cheap score has a rank correlation with {CURVE}: {selections} both scored and fine-tuned, which "
            "is too few, or all have the same score or the same value."
        )
    if n_most < FEWEST_SELECTIONS:
        return (
            f"Too few selections to tell: at most {n_most} were both scored and fine-tuned. A rank correlation over "
            f"fewer than {FEWEST_SELECTIONS} says little, even a high one ({_who(known)} has "
            f"{known[columns.CORRELATION].iloc[0]:.2f})."
        )
    return _verdict(known, _row(rows, columns.DEPTH_SCORE), ceiling_row(rows))


def _verdict(scores: pd.DataFrame, trivial: pd.Series | None, ceiling: pd.Series | None) -> str:
    best = scores.iloc[0]
    who, n = _who(scores), int(best[columns.N_SELECTIONS])
    has = f"has a rank correlation of {with_interval(best)} over {n} selections{_chance(best, len(scores))}"
    depth = "" if trivial is None else f"depth alone has {with_interval(trivial)}"
    end = f"{_ceiling(best, ceiling)}."
    if not _is_shown(best, len(scores)):
        return f"No cheap score is shown to predict {CURVE}: {who} {has}, which may be chance{_after(depth)}{end}"
    if trivial is None:
        return f"A cheap score predicts {CURVE}: {who} {has}; the correlation of depth alone is not known{end}"
    if pd.isna(trivial[columns.CORRELATION]):
        return f"A cheap score predicts {CURVE} where depth cannot: {who} {has}; {depth}{end}"
    if trivial[columns.CORRELATION] >= best[columns.CORRELATION]:
        return f"No cheap score does better than counting layers: {depth}, and {who} {has}{end}"
    if best[columns.CI_LOW] > trivial[columns.CI_HIGH]:
        return f"A cheap score predicts {CURVE} better than counting layers: {who} {has}; {depth}{end}"
    is_known = pd.notna(best[columns.CI_LOW]) and pd.notna(trivial[columns.CI_HIGH])
    why = "and the two intervals overlap" if is_known else "with an interval that is not known"
    return f"No cheap score is shown to do better than counting layers: {who} {has}; {depth}, {why}{end}"


def _after(text: str) -> str:
    return f"; {text}" if text else ""


def _who(scores: pd.DataFrame) -> str:
    name = score_name(str(scores[columns.SCORE].iloc[0]))
    n_alike = int((scores[columns.CORRELATION] == scores[columns.CORRELATION].iloc[0]).sum()) - 1
    name += f" and {n_alike} with the same value" if n_alike else ""
    return f"the only score, {name}," if len(scores) == 1 else f"the best of {len(scores)} scores, {name},"


def _chance(best: pd.Series, n_scores: int) -> str:
    p_value = best[columns.P_VALUE]
    if pd.isna(p_value):
        return ""
    corrected = min(1.0, p_value * n_scores)
    after = f" after correction for {n_scores} scores" if n_scores > 1 else ""
    return f" (p = {corrected:.2g}{after})"


def _is_shown(best: pd.Series, n_scores: int) -> bool:
    """Tells whether interval and p-value both show more than chance; one that is not known shows nothing."""
    return bool(best[columns.CI_LOW] > 0 and best[columns.P_VALUE] * n_scores <= LARGEST_P)


def _ceiling(best: pd.Series, ceiling: pd.Series | None) -> str:
    if ceiling is None or pd.isna(ceiling[columns.CORRELATION]):
        return "; the ceiling is not known"
    text = f"; the ceiling, {score_name(str(ceiling[columns.SCORE]))}, is {with_interval(ceiling)}"
    if not ceiling[columns.CI_LOW] > 0:
        return f"{text}, so the measured curve itself may be noise"
    overlap = best[columns.CI_HIGH] >= ceiling[columns.CI_LOW]
    return f"{text}, {'which the score reaches within the intervals' if overlap else 'well above the score'}"


def ceiling_row(rows: pd.DataFrame) -> pd.Series | None:
    """Returns the row of the ceiling, by either name; None where there is none."""
    found = (_row(rows, name) for name in columns.CEILINGS)
    return next((row for row in found if row is not None), None)


def covers_training(rows: pd.DataFrame) -> bool:
    """Tells whether several trainings stand behind intervals and ceiling; older tables tell of users alone."""
    return bool((rows[columns.SEEDS] > 1).any())


def _row(rows: pd.DataFrame, name: str) -> pd.Series | None:
    of_score = rows.loc[rows[columns.SCORE] == name]
    return None if of_score.empty else of_score.iloc[0]

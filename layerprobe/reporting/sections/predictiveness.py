"""Section: whether a cheap score orders the selections as fine-tuning does."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.predicted import predicted_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.findings.predictiveness import finding, ranked, with_interval
from layerprobe.reporting.sections.section import Part, Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.score_names import score_name
from layerprobe.wording import UNKNOWN, count, metric_label

TITLE = "Does a cheap score predict the curve?"
FIGURES = ("predicted",)
RUN = "Run the decide stage."
TEXT = (
    "Each score below is had without training a smaller model. For every selection that was also fine-tuned, the score "
    "says how good it should be; the rank correlation (Spearman) says whether the order is the measured one: 1 the "
    "same order, 0 none, -1 the reverse. Deeper selections are mostly better, so a score that only counts layers "
    "already does well: that is the row `depth`. The ceiling is what a score that knew the truth could be expected to "
    "reach on a curve measured with this noise, taken from how well the values of one half of the users repeat on the "
    "other half."
)
NOTE = (
    "Intervals are over users: they say how sure the correlation is for these selections, not for others. p is the "
    "chance of such an order if the score knew nothing, for one score looked at alone; the sentence above multiplies "
    "it by the number of scores, since the best was picked for being the best. Scores of fewer selections, such as "
    "exits, which know the first layers alone, do not compete there. All of it is one study: one data set, one "
    "backbone, one way to train."
)
ALIKE = (
    "The variants of this study start from random layers, not from those that were scored. Selections of one depth "
    "then differ by chance, so depth is all there is to predict. Which layers to keep is a question for a pretrained "
    "checkpoint, or for variants that start from the teacher (`probe.start: teacher`)."
)
HEADERS = ["Score", "Rank correlation", "p", "Selections", "Users"]
ROLES = {
    columns.DEPTH_SCORE: "depth (trivial: more layers)",
    columns.PERFECT_SCORE: f"{score_name(columns.PERFECT_SCORE)} (ceiling)",
}


def worth_section(study: StudyFiles) -> Section:
    """States the finding first, then shows the points and the table, or says in one line each that there are none."""
    worth, predicted = study.scores.predictiveness, study.scores.predicted
    parts = [_table(study, worth), _figure(study, worth, predicted)]
    paragraphs = [paragraph for part in parts for paragraph in part.paragraphs]
    return Section(TITLE, paragraphs, [named for part in parts for named in part.figures])


def _alike(study: StudyFiles) -> list[str]:
    """Says so where variants of one depth start from layers that nobody has trained, so that none is worth more."""
    spec = study.spec or {}
    backbone, starts = spec.get("backbone", {}), spec.get("probe", {}).get("start")
    is_random = backbone.get("checkpoint") is None or backbone.get("init") == "random"
    return [ALIKE] if backbone and is_random and starts == "backbone" else []


def _table(study: StudyFiles, worth: pd.DataFrame | None) -> Part:
    if worth is None or worth.empty:
        return Part([absent("the worth of cheap scores", "predictiveness.csv", RUN)])
    rows = [_cells(row) for _, row in ranked(worth).iterrows()]
    return Part([f"**{finding(worth)}**", *_alike(study), TEXT, markdown.table(HEADERS, rows), NOTE])


def _cells(row: pd.Series) -> list[str]:
    name, p_value = str(row[columns.SCORE]), row[columns.P_VALUE]
    return [
        ROLES.get(name, score_name(name)),
        with_interval(row),
        UNKNOWN if pd.isna(p_value) else f"{p_value:.2g}",
        count(row[columns.N_SELECTIONS]),
        count(row[columns.N_USERS]),
    ]


def _figure(study: StudyFiles, worth: pd.DataFrame | None, predicted: pd.DataFrame | None) -> Part:
    if predicted is None or predicted.empty:
        return Part([absent("predicted against measured values", "predicted.csv", RUN)])
    known = pd.DataFrame(columns=list(columns.PREDICTIVENESS)) if worth is None else ranked(worth)
    named = NamedFigure(
        "predicted", predicted_figure(predicted, known, _caption(study, known), _metric(study)), predicted
    )
    return Part([named.markdown], [named])


def _metric(study: StudyFiles) -> str:
    """Returns the metric of the decision, which is what the scores are to predict."""
    asked = (study.spec or {}).get("decision", {})
    return metric_label(asked.get("metric", "ndcg"), asked.get("k", 10))


def _caption(study: StudyFiles, worth: pd.DataFrame) -> str:
    ceiling = worth.loc[worth[columns.SCORE] == columns.PERFECT_SCORE]
    text = f"One point per selection: score (higher should be better) against test {_metric(study)} after fine-tuning. "
    if len(worth):
        text += "Above each panel: rank correlation with its interval over users. "
    if len(ceiling):
        text += f"Ceiling, {score_name(columns.PERFECT_SCORE)}: {with_interval(ceiling.iloc[0])}. "
    return f"{text}Study {study.name}, commit {study.commit}."

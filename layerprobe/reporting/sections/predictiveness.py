"""Section: whether a cheap score orders the selections as fine-tuning does."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.predicted import predicted_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.findings.predictiveness import ceiling_row, covers_training, finding, ranked, with_interval
from layerprobe.reporting.sections.section import Part, Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.score_names import score_name
from layerprobe.wording import UNKNOWN, count, metric_label

TITLE = "Does a cheap score predict the curve?"
FIGURES = ("predicted",)
RUN = "Run the decide stage."
TEXT = (
    "Each score below is computed without training a smaller model. It predicts how good each selection is that was "
    "also fine-tuned. The rank correlation (Spearman) compares the predicted order with the measured one: 1 is the "
    "same order, 0 no relation, -1 the reverse order. Deeper selections are mostly better, so a score that only counts "
    "layers already does well: that is the row `depth`. The ceiling is what a perfect score can be expected to reach, "
    "since the measured curve is noisy. "
)
SEEDS_APART = (
    "It is estimated from how well the values of half of the training seeds on half of the users agree with those of "
    "the other seeds on the other users. With few seeds it is rough, and with an odd number a bit too low. At 0 or "
    "below, the trainings do not repeat each other's order, and there is nothing to predict."
)
SAME_MODELS = (
    "It is estimated from how well the values on one half of the users agree with those on the other half. Both halves "
    "share the same trainings, so luck in training counts as truth: it is the ceiling for these very models. Other "
    "trainings may order the selections differently; more seeds (`probe.seeds`) tell."
)
OVER_BOTH = "Intervals are over users and training seeds: they hold for these selections, not for others."
OVER_USERS = "Intervals are over users: they hold for these selections and for these very models, not for others."
NOTE = (
    "p is the probability that a random order correlates at least as well, for one score alone; the sentence above "
    "multiplies it by the number of scores, because the best of them was picked. Scores of fewer selections are not "
    "compared there: exits, for example, only know the first layers. All of this is one study: one data set, one "
    "backbone, one way to train."
)
ALIKE = (
    "The variants of this study start from random layers, not from the layers that were scored. So selections of the "
    "same depth differ only by chance, and a score can predict nothing but depth. To learn which layers to keep, use a "
    "pretrained checkpoint, or variants that start from the teacher (`probe.start: teacher`)."
)
HEADERS = ["Score", "Rank correlation", "p", "Selections", "Users"]
ROLES = {
    columns.DEPTH_SCORE: "depth (trivial: more layers)",
    **{name: f"{score_name(name)} (ceiling)" for name in columns.CEILINGS},
}


def worth_section(study: StudyFiles) -> Section:
    """States the finding first, then shows table and points; what is absent is said in one line each."""
    worth, predicted = study.scores.predictiveness, study.scores.predicted
    parts = [_table(study, worth), _figure(study, worth, predicted)]
    paragraphs = [paragraph for part in parts for paragraph in part.paragraphs]
    return Section(TITLE, paragraphs, [named for part in parts for named in part.figures])


def _alike(study: StudyFiles) -> list[str]:
    """Says so where variants start from untrained layers, so that those of one depth differ only by chance."""
    spec = study.spec or {}
    backbone, starts = spec.get("backbone", {}), spec.get("probe", {}).get("start")
    is_random = backbone.get("checkpoint") is None or backbone.get("init") == "random"
    return [ALIKE] if backbone and is_random and starts == "backbone" else []


def _table(study: StudyFiles, worth: pd.DataFrame | None) -> Part:
    if worth is None or worth.empty:
        return Part([absent("how well cheap scores predict", "predictiveness.csv", RUN)])
    rows = [_cells(row) for _, row in ranked(worth).iterrows()]
    several = covers_training(worth)
    text, note = TEXT + (SEEDS_APART if several else SAME_MODELS), f"{OVER_BOTH if several else OVER_USERS} {NOTE}"
    return Part([f"**{finding(worth)}**", *_alike(study), text, markdown.table(HEADERS, rows), note])


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
    options = (study.spec or {}).get("decision", {})
    return metric_label(options.get("metric", "ndcg"), options.get("k", 10))


def _caption(study: StudyFiles, worth: pd.DataFrame) -> str:
    ceiling = ceiling_row(worth)
    text = f"One point per selection: score (higher is predicted to be better) against test {_metric(study)} after "
    text += "fine-tuning. "
    if len(worth):
        over = "users and training seeds" if covers_training(worth) else "users"
        text += f"Above each panel: rank correlation with its interval over {over}. "
    if ceiling is not None:
        text += f"Ceiling, {score_name(str(ceiling[columns.SCORE]))}: {with_interval(ceiling)}. "
    return f"{text}Study {study.name}, commit {study.commit}."

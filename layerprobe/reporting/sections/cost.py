"""Section: how good the models are, and what they cost."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import VARIANT, label_of
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.cost import cost_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Part, Section, absent
from layerprobe.reporting.tables.cost import limits_of, with_roles
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.formats import seconds
from layerprobe.wording import UNKNOWN, count, keeps_first, metric_label

TITLE = "Quality and cost"
FIGURES = ("cost",)
RUN = "Run the decide stage; it runs the cost stage first."
PARTS = {
    "backbone": "Backbone",
    "layers": "of which layers",
    "input_adapter": "Input map",
    "head": "Head",
    "item_table": "Item table",
}
FRONTS = {columns.LATENCY_P95_1: "latency", columns.PARAMETERS: "parameters"}
MEBIBYTE = 2**20


def cost_section(study: StudyFiles) -> Section:
    """States the pick within the budget, then shows quality against cost and the measured costs."""
    costs = study.cost.costs
    if costs is None:
        return Section(TITLE, [absent("costs", "costs/costs.csv", RUN)])
    picture = _figure(study)
    tables = [_parameters(costs), _times(study, costs), _note(study)]
    return Section(TITLE, [*_budget(study), *picture.paragraphs, *tables], picture.figures)


def _budget(study: StudyFiles) -> list[str]:
    pick = None if study.decision is None else study.decision.budget
    return [] if pick is None else [f"**{_capital(pick.sentence.rstrip('.'))}.**"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _figure(study: StudyFiles) -> Part:
    if study.cost.front is None or study.decision is None:
        return Part([absent("the front of quality against cost", "costs/front.csv", RUN)])
    table = with_roles(study.cost.front, study.decision)
    metric = metric_label(study.decision.metric, study.decision.k)
    figure = cost_figure(table, limits_of(study.decision), metric, _caption(study, metric))
    named = NamedFigure("cost", figure, table)
    return Part([named.markdown], [named])


def _caption(study: StudyFiles, metric: str) -> str:
    return (
        f"Test {metric} (full ranking, mean over seeds) against the cost of each model. A model is on the Pareto front "
        "if no other one is better in value or cost without being worse in the other. Latency: 95th percentile of a "
        "request of one user, "
        f"{_where(study)}. Study {study.name}, commit {study.commit}."
    )


def _where(study: StudyFiles) -> str:
    if study.cost.facts is None:
        return "on the machine of the cost stage"
    facts, threads = study.cost.facts, study.cost.facts["threads"]
    return f"{facts['device']}, {threads} thread{'s' * (threads != 1)}"


def _name(row: pd.Series) -> str:
    if row[columns.KIND] != VARIANT:
        return label_of(str(row[columns.KIND]))
    text = str(row[columns.SELECTION])
    return f"depth {count(row[columns.DEPTH])}" if keeps_first(text) else text


def _parameters(costs: pd.DataFrame) -> str:
    names = [f"{columns.PARAMETERS}_{part}" for part in (*PARTS, "trainable")]
    rows = [
        [_name(row), count(row[columns.PARAMETERS]), *(count(row[name]) for name in names)]
        for _, row in costs.iterrows()
    ]
    return markdown.table(["Parameters of", "Total", *PARTS.values(), "Trained"], rows)


def _times(study: StudyFiles, costs: pd.DataFrame) -> str:
    headers = ["Model", "Training, s", "Users/s", "1 user: p50, ms", "p95, ms", "64 users: p50, ms", "p95, ms"]
    headers += ["Weights, MiB", "Scoring, MiB", "Training step, MiB", "On the front for"]
    latencies = (columns.LATENCY_P50_1, columns.LATENCY_P95_1, columns.LATENCY_P50_64, columns.LATENCY_P95_64)
    memory = (columns.WEIGHT_BYTES, columns.SCORING_BYTES, columns.TRAINING_BYTES)
    fronts = _fronts(study.cost.front)
    rows = [
        [
            _name(row),
            seconds(row[columns.TRAIN_SECONDS]),
            count(row[columns.USERS_PER_SECOND]),
            *(f"{row[name]:.3g}" for name in latencies),
            *(_mebibytes(row[name]) for name in memory),
            fronts.get((row[columns.KIND], row[columns.SELECTION]), UNKNOWN),
        ]
        for _, row in costs.iterrows()
    ]
    return markdown.table(headers, rows)


def _mebibytes(size: float) -> str:
    amount = size / MEBIBYTE
    return UNKNOWN if pd.isna(size) else f"{amount:,.0f}" if amount >= 100 else f"{amount:.2g}"


def _fronts(front: pd.DataFrame | None) -> dict[tuple[str, str], str]:
    """Returns by kind and selection the costs whose front a model is on, in words."""
    fronts: dict[tuple[str, str], list[str]] = {}
    for row in [] if front is None else front.loc[front[columns.ON_FRONT]].to_dict("records"):
        key = (str(row[columns.KIND]), str(row[columns.SELECTION]))
        fronts.setdefault(key, []).append(FRONTS[str(row[columns.COST])])
    return {key: ", ".join(names) for key, names in fronts.items()}


def _note(study: StudyFiles) -> str:
    facts = study.cost.facts or {}
    calls = facts.get("calls", {})
    counted = " and ".join(f"{n} of {users} user{'s' * (users != '1')}" for users, n in calls.items())
    timed = f" ({counted}, in {facts['rounds']} rounds, the models taking turns)" if counted else ""
    return (
        "One call builds the batch, encodes the histories of test users, scores the whole catalogue and finds the best "
        f"ten items{timed}: {_where(study)}. Users/s is measured with calls of 64 users. Scoring memory is what such a "
        "call needs beyond the weights; the memory of a training step includes the weights and the optimizer's "
        "moments. Training time is that of one training, as a mean over seeds, without the training of a teacher. "
        "Parameters are those that a request needs: LoRA is merged, and token embeddings count only where a prompt "
        "uses them."
    )

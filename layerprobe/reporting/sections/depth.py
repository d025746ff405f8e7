"""Section: the metric against depth, as figures and as tables with validation and test side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd

from layerprobe import columns, wording
from layerprobe.kinds import CONTROLS, EXITS, KINDS, STUDENT, VARIANT, label_of, names_of
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.depth import exits_figure, variants_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.controls import control_paragraphs
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.tables.curve import N_SEEDS, exits_table, full_depth, is_metric, variants_table
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.formats import SEEDS_TEXT, candidates, confidence
from layerprobe.wording import UNKNOWN, count, four_digits, interval, noun

FIGURES = ("depth-variants", "depth-exits")
REPEATED = "repeated"
"""Whether a floor was trained with several seeds, which then tell its rows apart."""
GAP_RATIO = 1.5
SHOWN = (("hr", 10), ("ndcg", 10), ("mrr", 0))
HEADERS = ["Model", "Parameters", "HR@10 valid", "HR@10 test", "NDCG@10 valid", "NDCG@10 test", "interval", "MRR test"]
PARTS = ("valid", "test")

VARIANTS_TEXT = (
    "**How many layers must be trained?** Each point is a model that keeps the first k layers and is fine-tuned. Depth "
    "0 is a control: item vectors and head, no layer. {start}"
)
SELECTIONS_TEXT = (
    "**Which layers must be trained, and how many?** Each point is a model that keeps a selection of layers and is "
    "fine-tuned; `first:k` keeps the first k. Selections of the same depth stand side by side. Depth 0 is a control: "
    "item vectors and head, no layer. {start}"
)
TWINS_TEXT = (
    "Hollow points are twins: the same layers, trained in the same way, but from random weights instead of pretrained "
    "ones. A twin stands at the same place as its pretrained model."
)
EXITS_TEXT = (
    "**How early does the trained full model know the answer?** No layer is retrained: the user vector is read after k "
    "layers and goes through the model's own head. {norm}"
)
PROBE_TEXT = (
    " The probed line uses a linear head of its own for every k, fitted to the states of the frozen model at the "
    "training targets. It shows what the state after k layers holds, whether or not the model's own head can read it. "
    "Where it lies above the normed line, the answer is already in the state, but in other directions. The fitted "
    "heads see states of users that the model was trained on, so at full depth the probed line may end a little below "
    "the model's own head."
)
NORM_TEXT = (
    "The head was trained on states after the final norm. So the raw line mixes two effects, missing layers and "
    "missing norm weights; the normed line shows the effect of the layers alone. The norm also divides each state by "
    "its length, which changes no ranking. So the two lines coincide where the norm's weights are nearly equal."
)
NO_NORM_TEXT = (
    "The raw line and the normed line are the same: this backbone has no final norm after its layers, or a norm that "
    "changes no ranking."
)
STARTS = {
    "backbone": "Each training starts from the backbone's own weights.",
    "teacher": (
        "Each training starts from the trained teacher's weights, also that of the full model, so none was trained "
        "longer than another."
    ),
}


def depth_section(study: StudyFiles) -> Section:
    """Shows variants and exits, each in a figure of its own, then every point with its numbers."""
    kinds = set(study.curve[columns.KIND])
    paragraphs: list[str] = []
    drawn: list[NamedFigure] = []
    if VARIANT in kinds:
        drawn.append(draw_variants(study))
        paragraphs += [_variants_text(study), drawn[-1].markdown, *_selections_table(study), *control_paragraphs(study)]
    else:
        paragraphs.append(absent("variants", "variants/", "Run the probe stage."))
    if kinds & set(EXITS):
        drawn.append(draw_exits(study))
        norm = NO_NORM_TEXT if _norm_changes_nothing(drawn[-1].table) else NORM_TEXT
        probe = PROBE_TEXT if "exit-probe" in kinds else ""
        paragraphs += [EXITS_TEXT.format(norm=norm) + probe, drawn[-1].markdown]
    else:
        paragraphs.append(absent("exits", "exits/", "Run the probe stage."))
    missing = [label_of(kind) for kind in (*names_of("floor"), STUDENT) if kind not in kinds]
    if missing:
        paragraphs.append(f"Not in this study: {', '.join(missing)} (no such row in `curve.csv`).")
    return Section("Depth curves", [*paragraphs, *_curve_tables(study)], drawn)


def draw_variants(study: StudyFiles, protocol: str = "full") -> NamedFigure:
    """Draws train-time truncation: models fine-tuned at each depth, distilled students and floors.

    Raises:
        InputError: the curve has no such rows for this protocol.
    """
    table = variants_table(study.curve, protocol=protocol)
    figure = variants_figure(table, full_depth(study.curve), _caption(study, table, protocol))
    return NamedFigure("depth-variants", figure, table)


def draw_exits(study: StudyFiles, protocol: str = "full") -> NamedFigure:
    """Draws inference-time exits: one trained full model read after k layers, raw, normed and probed.

    Raises:
        InputError: the curve has no such rows for this protocol.
    """
    table = exits_table(study.curve, protocol=protocol)
    figure = exits_figure(table, full_depth(study.curve), _caption(study, table, protocol))
    return NamedFigure("depth-exits", figure, table)


def _norm_changes_nothing(table: pd.DataFrame) -> bool:
    """Tells whether normed and raw exits are there with the same values at every depth."""
    point = [columns.METRIC, columns.K, columns.DEPTH]
    kinds = ("exit-norm", "exit-raw")
    normed, raw = (table.loc[table[columns.KIND] == kind].set_index(point)[columns.VALUE] for kind in kinds)
    return len(normed) > 0 and normed.equals(raw)


def _caption(study: StudyFiles, table: pd.DataFrame, protocol: str) -> str:
    """Returns the footnote of a depth figure: protocol, users, what the band is, commit."""
    n_users = count(table[columns.N_USERS].max())
    text = f"Test targets of {n_users} users, ranked among {candidates(protocol)}. Bands and bars: "
    text += f"{confidence(study.alpha)}."
    if table[N_SEEDS].max() > 1:
        text += SEEDS_TEXT
    return f"{text} Ring: the full model. Study {study.name}, commit {study.commit}."


def _start(study: StudyFiles) -> str:
    return STARTS.get((study.spec or {}).get("probe", {}).get("start", ""), "")


def _variants_text(study: StudyFiles) -> str:
    text = VARIANTS_TEXT if noun(_selections(study)) == "depth" else SELECTIONS_TEXT
    twins = TWINS_TEXT if set(CONTROLS) & set(study.curve[columns.KIND]) else ""
    return f"{text.format(start=_start(study))} {twins}".strip()


def _selections(study: StudyFiles) -> list[str]:
    """Returns the texts of all trained selections, each once."""
    trained = study.curve.loc[study.curve[columns.KIND].isin(names_of("variant", "student"))]
    return trained.sort_values(columns.DEPTH, kind="stable")[columns.SELECTION].unique().tolist()


def _selections_table(study: StudyFiles) -> list[str]:
    """Returns the layers of every selection, where there is any beside `first:k`."""
    texts = _selections(study)
    if noun(texts) == "depth":
        return []
    kept = {text: study.layers.get(text) for text in texts}
    rows = [
        [text, UNKNOWN if layers is None else str(len(layers)), UNKNOWN if layers is None else wording.layers(layers)]
        for text, layers in kept.items()
    ]
    return [markdown.table(["Selection", "Depth", "Layers kept, counted from 0"], rows)]


def _curve_tables(study: StudyFiles) -> list[str]:
    """Returns a heading, a line and a table per protocol."""
    parts = []
    for protocol, rows in study.curve.groupby(columns.PROTOCOL, sort=False):
        wide = _wide(rows)
        n_users = count(rows.loc[rows[columns.SPLIT] == "test", columns.N_USERS].max())
        parts.append(f"### Protocol `{protocol}`\n\n{_protocol_text(str(protocol), n_users, study)}")
        parts.append(markdown.table(HEADERS, [_cells(row) for row in wide.to_dict("records")]))
        parts.extend(_large_gaps(wide))
    return parts


def _protocol_text(protocol: str, n_users: str, study: StudyFiles) -> str:
    ranked = f"The targets of {n_users} users, each ranked among {candidates(protocol)}."
    return f"{ranked} Interval: {confidence(study.alpha)}, for NDCG@10 on test."


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per point: a column "metric split" for each value, and the interval of NDCG@10 on test."""
    keys = [columns.KIND, columns.SELECTION, columns.DEPTH, columns.SEED, columns.PARAMETERS]
    shown = rows.loc[is_metric(rows, SHOWN)]
    point = shown.groupby(keys, sort=False, dropna=False).ngroup().rename("point")
    shown = shown.assign(point=point, name=shown[columns.METRIC] + " " + shown[columns.SPLIT])
    values = shown.pivot_table(index="point", columns="name", values=columns.VALUE)  # [point, "metric split"]
    ends = shown[shown["name"] == "ndcg test"].set_index("point")[[columns.CI_LOW, columns.CI_HIGH]]
    wide = shown.groupby("point")[keys].first().join(values).join(ends)
    place = wide[columns.KIND].map({kind.name: position for position, kind in enumerate(KINDS)})
    family = [text.split(":")[0] for text in wide[columns.SELECTION]]
    wide[columns.PARAMETERS] = wide[columns.PARAMETERS].astype(float)
    wide[REPEATED] = wide[columns.KIND].isin(names_of("floor")) & wide.duplicated(columns.KIND, keep=False)
    return wide.assign(place=place, family=family).sort_values(
        ["place", columns.DEPTH, "family", columns.SELECTION, columns.SEED]
    )


def _name(row: dict[Any, Any]) -> str:
    """Returns what a point of the curve is called in tables, for example `fine-tuned, first:4, seed 0`."""
    name = label_of(str(row[columns.KIND]))
    if row[columns.KIND] in EXITS:
        return f"{name}, after {row[columns.DEPTH]}"
    seed = f", seed {row[columns.SEED]}"
    if row[columns.SELECTION]:
        return f"{name}, {row[columns.SELECTION]}{seed}"
    return name + (seed if row[REPEATED] else "")


def _cells(row: dict[Any, Any]) -> list[str]:
    values = [row.get(f"{metric} {split}") for metric in ("hr", "ndcg") for split in PARTS]
    return [
        _name(row),
        count(row[columns.PARAMETERS]),
        *(four_digits(value) for value in values),
        interval(row[columns.CI_LOW], row[columns.CI_HIGH]),
        four_digits(row.get("mrr test")),
    ]


def _large_gaps(wide: pd.DataFrame) -> list[str]:
    """Names the points whose validation and test NDCG@10 are far apart: a sign of a broken split or of overfitting."""
    if not {"ndcg valid", "ndcg test"} <= set(wide.columns):
        return []
    ratio = wide["ndcg valid"] / wide["ndcg test"]
    far = wide.loc[(ratio > GAP_RATIO) | (ratio < 1 / GAP_RATIO)]
    if far.empty:
        return []
    names = "; ".join(_name(row) for row in far.to_dict("records"))
    return [f"Validation and test NDCG@10 differ by more than a factor of {GAP_RATIO:g} for: {names}."]

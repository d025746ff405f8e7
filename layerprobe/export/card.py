"""The student's model card: what it is, how good it is beside its teacher, and what it is not for."""

from __future__ import annotations

from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.wording import as_code, as_markdown

SHOWN = (("hr", 10), ("ndcg", 10), ("mrr", 0))


def model_card(facts: dict[str, Any], curve: pd.DataFrame) -> str:
    """Returns the card as Markdown.

    Args:
        facts: content of `student.json`.
        curve: rows of the curve for teacher (kind `variant`) and student (kind `distilled`).
    """
    return f"""# Sequential recommender{_layers(facts)}

Distilled in the study {_study(facts)}. It takes the items a user met, newest last, and scores every item of the
catalogue in `items.parquet`.

    layerprobe recommend PATH_OF_THIS_FOLDER --history ITEM,ITEM --k 10

The language model in `backbone/` loads with `transformers.AutoModel.from_pretrained`. There is no code in this folder.

## Quality

Test users, split {as_markdown(facts["split"])}. Intervals cover users, not training noise.

{_quality(curve)}

## Where it comes from

{_origin(facts["backbone"])}

| | SHA-256 |
|---|---|
| teacher's weights | `{facts["teacher_sha256"] or "not known"}` |
| trained student's weights | `{facts["student_sha256"]}` |
| sequences | `{facts["data_sha256"]}` |

Versions: {", ".join(f"{as_markdown(name)} {as_markdown(version)}" for name, version in facts["versions"].items())}.

## Limits

It knows only the items of its catalogue. Its numbers hold for the data named above and for the protocol of each row; a
sampled protocol is not an estimate of the full one.
"""


def _study(facts: dict[str, Any]) -> str:
    return as_code(facts["study"])


def _layers(facts: dict[str, Any]) -> str:
    if facts["kept_layers"] is None:
        return ""
    return f", {facts['kept_layers']}" + (f" of {facts['teacher_depth']} layers" if facts["teacher_depth"] else "")


def _origin(backbone: dict[str, Any] | None) -> str:
    """Says which checkpoint the teacher was taken from; its layers are counted after `keep`."""
    if backbone is None:
        return "The backbone's origin was not written down."
    if backbone["checkpoint"] is None:
        return "The backbone was built from a shape and trained from random weights."
    cut = "all of its layers" if backbone["keep"] is None else f"its layers {as_code(backbone['keep'])}"
    revision = "" if backbone["revision"] is None else f", revision {as_code(backbone['revision'])}"
    content = ", ".join(f"{as_markdown(name)} {as_code(value[:16])}" for name, value in backbone["content"].items())
    where = as_code(backbone["checkpoint"])
    return f"The teacher has {cut} of the checkpoint {where}{revision} ({content or 'random weights'})."


def _quality(curve: pd.DataFrame) -> str:
    if curve.empty:
        return "Not measured."
    lines = ["| model | parameters | protocol | HR@10 | NDCG@10 | MRR |", "|---|---|---|---|---|---|"]
    test = curve[curve[columns.SPLIT] == "test"]
    names = {"variant": "teacher", "distilled": "student"}
    for kind, name in names.items():
        for protocol in dict.fromkeys(test[columns.PROTOCOL].to_list()):
            rows = test.loc[(test[columns.KIND] == kind) & (test[columns.PROTOCOL] == protocol)]
            if rows.empty:
                continue
            cells = [_cell(rows, metric, k) for metric, k in SHOWN]
            counts = rows[columns.PARAMETERS].dropna().to_list()
            parameters = f"{int(counts[0]):,}" if counts else "-"
            lines.append(f"| {name} | {parameters} | {as_markdown(protocol)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame, metric: str, k: int) -> str:
    chosen = rows.loc[(rows[columns.METRIC] == metric) & (rows[columns.K] == k)].to_dict(orient="records")
    if not chosen:
        return "-"
    row = chosen[0]
    return f"{row[columns.VALUE]:.4f} ({row[columns.CI_LOW]:.4f} to {row[columns.CI_HIGH]:.4f})"

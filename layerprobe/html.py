"""Small pieces of HTML that a notebook shows for a study, a decision and a selection; they bring their own styles."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

CELL = "padding:2px 10px;text-align:{align}"
BOX = "display:inline-block;min-width:1.4em;margin:1px;padding:1px 3px;text-align:center;border:1px solid {edge};"
KEPT, DROPPED = "background:#0072B2;color:#fff", "color:#999"
MOST_BOXES = 80


def paragraph(text: str, strong: bool = False) -> str:
    """Returns text as a paragraph."""
    inner = f"<strong>{escape(text)}</strong>" if strong else escape(text)
    return f'<p style="margin:4px 0;max-width:60em">{inner}</p>'


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, marked: int | None = None) -> str:
    """Returns a table; the first `left` columns are aligned left, and the row number `marked` is bold."""
    head = "".join(_cell(text, "th", place < left) for place, text in enumerate(headers))
    body = "".join(
        f'<tr style="font-weight:{"bold" if number == marked else "normal"}">'
        + "".join(_cell(text, "td", place < left) for place, text in enumerate(row))
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def layer_boxes(kept: Sequence[int], n_layers: int) -> str:
    """Returns a row of boxes, one per layer, those that are kept filled; a deep model's are left out."""
    if n_layers > MOST_BOXES:
        return ""
    chosen = set(kept)
    boxes = (
        f'<span style="{BOX.format(edge="#0072B2" if layer in chosen else "#ccc")}'
        f'{KEPT if layer in chosen else DROPPED}">{layer}</span>'
        for layer in range(n_layers)
    )
    return f'<div style="font-size:85%">{"".join(boxes)}</div>'


def _cell(text: str, tag: str, is_left: bool) -> str:
    return f'<{tag} style="{CELL.format(align="left" if is_left else "right")}">{escape(text)}</{tag}>'

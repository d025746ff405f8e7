"""Small pieces of Markdown: tables with aligned columns, code, folded parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from layerprobe.wording import fence

Alignment = Literal["left", "right"]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Returns a Markdown table padded so that its source reads as a table too.

    Args:
        headers: one per column.
        rows: cells as text, as many per row as headers; a `|` in a cell is escaped.
        left: the first `left` columns are aligned left, the others right.
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (headers, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(headers))]
    aligns: list[Alignment] = ["left" if column < left else "right" for column in range(len(headers))]
    ends = [":" if align == "right" else "-" for align in aligns]
    rule = ["-" * (width - 1) + end for width, end in zip(widths, ends, strict=True)]
    return "\n".join(_line(row, widths, aligns) for row in (cells[0], rule, *cells[1:]))


def bullets(lines: Sequence[str]) -> str:
    """Returns a list."""
    return "\n".join(f"- {line}" for line in lines)


def folded(summary: str, text: str, language: str = "") -> str:
    """Returns a code block that is closed at first and opens on a click; no text, such as a path, ends it early."""
    ends = fence(text)
    return f"<details><summary>{summary}</summary>\n\n{ends}{language}\n{text.rstrip()}\n{ends}\n\n</details>"


def _line(row: Sequence[str], widths: Sequence[int], aligns: Sequence[Alignment]) -> str:
    padded = [
        cell.ljust(width) if align == "left" else cell.rjust(width)
        for cell, width, align in zip(row, widths, aligns, strict=True)
    ]
    return f"| {' | '.join(padded)} |"

"""A report drawn again in memory and compared with the one in a folder: its text and the tables of its figures.

Images are not compared: another version of the drawing library gives other bytes for the same picture.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.report import make_report
from layerprobe.store.layout import FIGURES, REPORT


@dataclass(frozen=True)
class DrawnFile:
    """One file of a report.

    Attributes:
        name: its path beside `report.md`.
        drawn: its content as it is drawn now; None where the report has no such file.
        stored: its content in the folder; None where it is not there.
    """

    name: str
    drawn: str | None
    stored: str | None

    @property
    def differs(self) -> bool:
        """Whether the two are not equal, byte by byte."""
        return self.drawn != self.stored

    @property
    def first_difference(self) -> tuple[int, str, str]:
        """The first line that differs, counted from 1: its number, as stored and as drawn."""
        stored, drawn = ((text or "").split("\n") for text in (self.stored, self.drawn))
        length = max(len(stored), len(drawn))
        pairs = zip(*(lines + [""] * (length - len(lines)) for lines in (stored, drawn)), strict=True)
        return next((number, *pair) for number, pair in enumerate(pairs, start=1) if pair[0] != pair[1])


def drawn_again(study: Path, place: Path) -> list[DrawnFile]:
    """Draws the report of a study or published folder in memory.

    Args:
        study: the folder with the files.
        place: folder of the stored `report.md`.

    Raises:
        InputError: a file of the folder is damaged.
        StudyError: the curve contradicts itself, or student and teacher were ranked on different users.
    """
    report = make_report(read_study(study))
    drawn = {f"{FIGURES}/{named.name}.csv": _csv(named.table) for named in report.figures} | {REPORT: report.text}
    stored = {f"{FIGURES}/{path.name}" for path in (place / FIGURES).glob("*.csv")} | {REPORT}
    return [DrawnFile(name, drawn.get(name), _text(place / name)) for name in sorted(stored | set(drawn))]


def _csv(table: pd.DataFrame) -> str:
    """Returns a table as `store.atomic.write_csv` writes it."""
    written = io.StringIO()
    table.to_csv(written, index=False)
    return written.getvalue()


def _text(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else None

"""Stage report: the report of a study, from its files alone."""

from __future__ import annotations

from layerprobe.reporting.report import write_report
from layerprobe.study.study import Study


def run(study: Study) -> None:
    """Draws the report.

    Raises:
        InputError: the study has no curve yet.
    """
    write_report(study.folder)

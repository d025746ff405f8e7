"""`Section`: one part of a report, as text and the figures that the text links to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.files.study_files import StudyFiles


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, paragraphs of Markdown and the figures they show."""

    title: str
    paragraphs: list[str]
    figures: list[NamedFigure] = field(default_factory=list)

    @property
    def markdown(self) -> str:
        """The section as Markdown."""
        return "\n\n".join([f"## {self.title}", *self.paragraphs]) + "\n"


@dataclass(frozen=True, eq=False)
class Part:
    """Some paragraphs of a section and the figures they show."""

    paragraphs: list[str]
    figures: list[NamedFigure] = field(default_factory=list)


@dataclass(frozen=True)
class SectionEntry:
    """One entry of the list of sections.

    Attributes:
        make: returns the section of a study.
        figures: names of all figures it may draw; those of an earlier report are removed by them.
    """

    make: Callable[[StudyFiles], Section]
    figures: tuple[str, ...] = ()


def absent(what: str, where: str, how: str) -> str:
    """Returns the one line that a report shows instead of a part that the study does not have."""
    return f"Not in this study: {what} (no `{where}`). {how}"

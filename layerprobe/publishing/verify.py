"""`verify`: is a report what its ranks say? Every number that ranks give is computed again and compared.

Takes a folder that `publish` or `run` wrote, writes nothing, needs no torch. What was trained or measured (times,
costs, similarity of states) no ranks can give again; in a published folder it is compared with hashes alone, and with
the report that shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerprobe.arguments import as_folder
from layerprobe.errors import InputError, StudyError
from layerprobe.publishing.comparing import NOTHING, Checked, Difference, is_number
from layerprobe.publishing.deriving import Rederived
from layerprobe.publishing.integrity import check_manifest, check_ranks, check_seals, require_files, require_users
from layerprobe.publishing.redraw import DrawnFile, drawn_again
from layerprobe.store.layout import StudyLayout
from layerprobe.store.packed_ranks import PackedRanks
from layerprobe.store.rank_source import rank_source
from layerprobe.store.seals.study_seals import require_whole_stages
from layerprobe.study.plain_study import PlainStudy

AGAIN = "drawn again from the files"


def verify(folder: str | os.PathLike[str]) -> Iterator[Checked]:
    """Checks a report, file by file; what comes last takes longest.

    Args:
        folder: what `publish` wrote, or a study's folder with its own ranks.

    Yields:
        What was checked and what differs.

    Raises:
        InputError: it is no such folder, a file of it is damaged, or ranks are of other users or lack one.
    """
    place = as_folder("report", folder)
    if StudyLayout(place).manifest.exists():
        require_files(StudyLayout(place))
    study = PlainStudy.read(place)
    layout, ranks = StudyLayout(place), rank_source(StudyLayout(place))
    if layout.manifest.exists() != isinstance(ranks, PackedRanks):
        lost = layout.packed_record if layout.manifest.exists() else layout.manifest
        raise InputError(f"{lost} is missing: give a whole folder that `layerprobe publish` wrote")
    if isinstance(ranks, PackedRanks):
        yield check_manifest(place, study.name)
        require_users(ranks)
        yield check_seals(ranks)
        yield from check_ranks(ranks)
    else:
        require_whole_stages(layout)
    if not layout.manifest.exists() and not layout.curve.exists():
        raise InputError(f"{layout.curve} is missing: give a published folder, or a study that was run to its end")
    yield from Rederived(study, ranks).checks()
    yield from _check_report(layout)


def _check_report(layout: StudyLayout) -> Iterator[Checked]:
    """Draws the report in memory and compares text and tables, byte by byte."""
    try:
        files = drawn_again(layout.folder, layout.drawn)
    except StudyError as error:
        yield Checked("report.md", AGAIN, differences=(Difference(str(error), "a report", NOTHING),))
        return
    for file in files:
        numbers = sum(map(is_number, (file.drawn or "").replace("|", " ").replace(",", " ").split()))
        place = (layout.drawn / file.name).relative_to(layout.folder).as_posix()
        yield Checked(place, AGAIN, numbers, differences=_line(file))


def _line(file: DrawnFile) -> tuple[Difference, ...]:
    if not file.differs:
        return ()
    if file.stored is None or file.drawn is None:
        sides = [NOTHING if text is None else "a file" for text in (file.stored, file.drawn)]
        return (Difference("file", *sides),)
    number, stored, drawn = file.first_difference
    return (Difference(f"line {number}", *_around(stored, drawn)),)


def _around(stored: str, drawn: str, before: int = 60, after: int = 60) -> tuple[str, str]:
    """Returns the parts of two lines around the first place where they differ."""
    place = len(os.path.commonprefix([stored, drawn]))
    start = max(0, place - before)
    left, right = ("... " if start else ""), place + after
    ours, theirs = (f"{left}{line[start:right]}{' ...' if right < len(line) else ''}" for line in (stored, drawn))
    return ours, theirs

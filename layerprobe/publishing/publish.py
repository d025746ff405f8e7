"""`publish`: a study's folder becomes one that can be committed or mailed, drawn again and checked without torch.

Takes a finished study, writes its results, its report and the ranks of all its models, packed. Nothing else travels:
no weights, no interactions, no ids, no titles.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from layerprobe.arguments import as_folder, writable_folder
from layerprobe.data.prepare import load_prepared
from layerprobe.data.recency import Recency, read_recency
from layerprobe.errors import InputError
from layerprobe.probing.curves import CurvePoint, read_curve
from layerprobe.publishing.contents import derived_files, measured_files, model_folders
from layerprobe.publishing.deriving import Rederived
from layerprobe.publishing.packing import LIMIT, Luggage, write_packed
from layerprobe.publishing.redraw import drawn_again
from layerprobe.reporting.report import write_report
from layerprobe.stages.tables.points import ranked_files
from layerprobe.stages.tables.slices import POINT
from layerprobe.store.atomic import read_json, read_yaml, replacing_folder, write_yaml
from layerprobe.store.layout import FIGURES, RANKS, REPORT, StudyLayout
from layerprobe.store.manifest import changed_files, read_manifest, write_manifest
from layerprobe.store.packed_ranks import PackedRecord
from layerprobe.store.rank_source import StoredRanks
from layerprobe.store.run_folder import hash_file
from layerprobe.store.seals.study_seals import require_whole_study
from layerprobe.study.plain_study import PlainStudy

AGAIN = "run `layerprobe run` with the study's YAML to its end"


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        folder: where.
        ranks: which ranks travelled.
        rank_bytes: size of their files.
    """

    folder: Path
    ranks: PackedRecord
    rank_bytes: int


def publish(study: str | os.PathLike[str], out: str | os.PathLike[str], limit: int = LIMIT) -> Published:
    """Writes a folder with everything the report of a study is drawn from, the report, and the ranks behind it.

    Args:
        study: a folder that `layerprobe run` wrote, finished.
        out: a new or empty folder, or one that this study was published to before, which is replaced.
        limit: bytes that the packed ranks may take; where all are larger, some stay at home (`packing.LEFT_OUT`).

    Raises:
        InputError: the study is not finished or `out` holds something else.
    """
    folder = as_folder("study", study)
    require_whole_study(StudyLayout(folder))
    plain = PlainStudy.read(folder)
    place = writable_folder("out", out)
    ranks = _finished_ranks(plain)
    _refuse_other(plain, place)
    _require_agreeing(plain)
    with replacing_folder(place) as folder:
        made = StudyLayout(folder)
        sealed = _copied(plain, made, measured_files(plain)) | _without_place(made)
        sealed |= _copied(plain, made, derived_files(plain.layout))
        record = write_packed(made, Luggage(plain.layout, ranks, _recency(plain.layout)), sealed, limit)
        _place_report(plain.layout, folder)
        write_manifest(folder, plain.name)
    layout = StudyLayout(place)
    size = sum(layout.packed_part(part.split, part.protocol).stat().st_size for part in record.parts)
    return Published(place, record, size)


def _finished_ranks(study: PlainStudy) -> dict[Path, pd.DataFrame]:
    """Returns the ranks of every model that curve and report know, by path.

    Raises:
        InputError: a result is missing, or the curve has other models than the folder.
    """
    layout = study.layout
    if layout.manifest.exists():
        raise InputError(f"{study.folder} is a published folder already: copy it, or give the one that `run` wrote")
    needed = (layout.provenance, layout.facts, layout.split, layout.curve, layout.decision)
    missing = [path for path in needed if not path.is_file()]
    if missing:
        raise InputError(f"only a finished study is published; {missing[0]} is missing: {AGAIN}")
    source = StoredRanks()
    of_curve = dict(ranked_files(study.models, source))
    _require_same_points(study, list(of_curve.values()))
    others = [folder / RANKS for folder in model_folders(study) if source.has(folder / RANKS)]
    return {path: source.read(path) for path in (*of_curve, *(path for path in others if path not in of_curve))}


def _require_same_points(study: PlainStudy, points: list[CurvePoint]) -> None:
    ranked = {(point.kind, point.selection, point.depth, point.seed) for point in points}
    curve = read_curve(study.layout.curve)[list(POINT)].drop_duplicates()
    stored = {tuple(None if pd.isna(cell) else cell for cell in row) for row in curve.itertuples(index=False)}
    differing = sorted(map(str, ranked ^ stored))
    if differing:
        raise InputError(
            f"{study.layout.curve} must have the models that are trained and ranked in the folder; it differs in "
            f"{differing[0]}: {AGAIN}"
        )


def _require_agreeing(study: PlainStudy) -> None:
    """Refuses results that do not follow from one set of options, as after `layerprobe decide` with another metric.

    Raises:
        InputError: a result is not what the ranks and the study's options give.
    """
    for checked in Rederived(study, StoredRanks()).decided():
        if checked.differences:
            first = checked.differences[0]
            raise InputError(
                f"{study.folder / checked.name} must follow from the ranks and options of the study; it differs in "
                f"{first.where}: {AGAIN}"
            )


def _refuse_other(study: PlainStudy, place: Path) -> None:
    """Refuses a place that holds anything but an earlier publication of this study.

    Raises:
        InputError: it does.
    """
    if not place.exists() or not any(place.iterdir()):
        return
    layout = StudyLayout(place)
    if not layout.manifest.exists() or not layout.split.exists():
        raise InputError(f"OUT must be new, empty, or a published folder of this study; {place} holds other files")
    added = [name for name, what in changed_files(place, read_manifest(place)).items() if what == "added"]
    if added:
        raise InputError(f"OUT holds {added[0]}, which `publish` did not write and would delete: move it away")
    other = PlainStudy.read(place)
    same_log = read_json(layout.split).get("sha256") == read_json(study.layout.split).get("sha256")
    if other.name != study.name or not same_log:
        what = "the study" if other.name != study.name else "another log under the name"
        raise InputError(
            f"OUT must be new, empty, or a published folder of study {study.name} on this log; {place} holds {what} "
            f"{other.name}"
        )


def _copied(study: PlainStudy, made: StudyLayout, files: list[Path]) -> dict[str, str]:
    """Copies files that are there to the same place below another folder, and returns their hashes."""
    hashes = {}
    for path in files:
        if path.is_file():
            name = path.relative_to(study.folder)
            (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, made.folder / name)
            hashes[name.as_posix()] = hash_file(path)
    return hashes


def _without_place(made: StudyLayout) -> dict[str, str]:
    """Leaves of the log's path its last name alone: where it lay on somebody's machine is nobody's business."""
    spec = read_yaml(made.spec)
    if not spec["data"].get("path"):
        return {}
    spec["data"]["path"] = Path(spec["data"]["path"]).name
    write_yaml(made.spec, spec)
    return {made.spec.name: hash_file(made.spec)}


def _recency(layout: StudyLayout) -> Recency | None:
    return read_recency(layout.data, load_prepared(layout.data).split)


def _place_report(layout: StudyLayout, folder: Path) -> None:
    """Copies the study's report where drawing it from what was published gives the same; else draws it anew.

    A study that was resumed by other code records that after its report was drawn.
    """
    if any(file.differs for file in drawn_again(folder, layout.report)):
        write_report(folder, folder)
        return
    shutil.copyfile(layout.report / REPORT, folder / REPORT)
    shutil.copytree(layout.report / FIGURES, folder / FIGURES)

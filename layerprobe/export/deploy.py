"""`export_student`: writes any trained recommender as a deployable folder. Studies export by the same code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.arguments import as_path, checked, require_columns, require_kind
from layerprobe.backbone.selection import LayerSelection
from layerprobe.data.prepare import PreparedData, split_hash
from layerprobe.errors import InputError
from layerprobe.export.student import Student, StudentSource, load_student, write_student
from layerprobe.kinds import STUDENT, VARIANT
from layerprobe.probing.curves import CurvePoint, curve_rows
from layerprobe.probing.variant import parameter_counts
from layerprobe.recommender.model import Recommender

ROLES = {"teacher": VARIANT, "student": STUDENT}
CARD_KS, CARD_ALPHA, CARD_RESAMPLES = (1, 5, 10, 20), 0.05, 1000


@dataclass(frozen=True, eq=False)
@checked
class CardOptions:
    """What the model card says of a student.

    Attributes:
        name: the project.
        selection: which layers of its teacher it keeps.
        ranks: ranks of `teacher` and `student`, for the table of quality.
    """

    name: str = "student"
    selection: str | LayerSelection | None = None
    ranks: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def export_student(
    student: Recommender,
    data: PreparedData,
    out: str | os.PathLike[str],
    card: CardOptions | None = None,
    remove_history: bool = True,
) -> Student:
    """Writes a trained recommender as a folder of plain files, reloads it and checks that it scores alike.

    Args:
        student: trained, not sliced over processes.
        data: the log it was trained on; its catalogue is written.
        out: new folder.
        card: what the model card says besides.
        remove_history: whether items that a user has met are never recommended.

    Returns:
        The student as it lies on disk, ready to recommend.

    Raises:
        InputError: an argument is of a wrong kind, or `out` holds something else.
        StudyError: the reloaded student scores differently.
    """
    card = CardOptions() if card is None else card
    require_kind("student", student, Recommender, instead="a SASRec has no layers to deploy")
    require_kind("data", data, PreparedData, instead="take what prepare returned")
    require_kind("card", card, CardOptions)
    folder, selection = as_path("out", out), card.selection
    if data.catalogue.n_items != len(student.item_table) - 1:
        raise InputError(
            f"data must be the log that the student was trained on; it has {data.catalogue.n_items} items and the "
            f"student {len(student.item_table) - 1}"
        )
    source = StudentSource(
        name=card.name,
        selection=None if selection is None else str(selection),
        teacher_depth=selection.n_layers if isinstance(selection, LayerSelection) else None,
        teacher_sha256=None,
        student_sha256=weights_hash(student),
        data_sha256=split_hash(data.split),
        backbone=None,
        remove_history=remove_history,
        curve=_card_rows(student, card.ranks),
        split=data.split.kind,
    )
    write_student(student.eval(), data.catalogue, source, folder)
    return load_student(folder)


def weights_hash(model: Recommender) -> str:
    """Returns the SHA-256 over names and values of all parameters, and of the item table."""
    digest = hashlib.sha256()
    for name, value in [*sorted(model.named_parameters()), ("item_table", model.item_table)]:
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().float().cpu().numpy()).data)
    return digest.hexdigest()


def _card_rows(student: Recommender, ranks: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    tables = []
    for role, table in ranks.items():
        if role not in ROLES:
            raise InputError(f"ranks must be those of {' and '.join(ROLES)}; got {role!r}")
        require_columns(f"ranks of the {role}", table, columns.RANKED)
        parameters = parameter_counts(student)["total"] if role == "student" else None
        point = CurvePoint(ROLES[role], parameters=parameters)
        tables.append(curve_rows(table, point, CARD_KS, CARD_ALPHA, CARD_RESAMPLES))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns.CURVE))

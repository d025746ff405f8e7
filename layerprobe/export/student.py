"""The deployable student: a folder of plain files that stock tools load, without any code.

    README.md  config.json  student.json  backbone/  recommender.safetensors  items.parquet  done.json

`backbone/` is a stock Hugging Face folder (LoRA merged); `config.json` says how the parts fit together; `student.json`
says where they come from and how good they are; `done.json` holds the hash of each file, with which every byte is
compared whenever the folder is loaded. The folder is written completely or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError

from layerprobe import columns
from layerprobe.arguments import as_folder, require_kind
from layerprobe.backbone.load import read_stock_backbone
from layerprobe.backbone.prompt import PromptTokens
from layerprobe.backbone.quiet import quiet
from layerprobe.data.batches import SequenceBatch, history_batch
from layerprobe.data.catalogue import Catalogue, load_catalogue
from layerprobe.data.times.options import LEAVE_ONE_OUT
from layerprobe.errors import InputError, StudyError
from layerprobe.export.card import model_card
from layerprobe.export.whole import AGAIN, held, put_in_place, require_whole_student, seal_student
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.store.atomic import (
    disk_full_said,
    make_folder,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
    write_text,
)
from layerprobe.store.provenance import package_versions
from layerprobe.training.adapters import merged
from layerprobe.training.log import say

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

FORMAT = 1
TENSORS = {"input_adapter.weight", "input_adapter.bias", "head.weight", "item_table"}
PREFIX_VECTORS = "prefix_vectors.weight"
TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class StudentSource:
    """Where a student comes from, for `student.json` and the model card; None is not known.

    Attributes:
        name: the study or project.
        selection: layers kept of the teacher, as text.
        teacher_depth: layers of the teacher.
        teacher_sha256, student_sha256, data_sha256: hashes of the trained weights and of the sequences.
        backbone: `checkpoint`, `revision`, `keep` and `content` of the teacher's backbone.
        remove_history: whether items that a user has met are never recommended.
        curve: rows of the curve of the teacher (kind `variant`) and of the student (kind `distilled`).
        split: kind of the split that the curve was measured on.
    """

    name: str
    selection: str | None
    teacher_depth: int | None
    teacher_sha256: str | None
    student_sha256: str
    data_sha256: str
    backbone: dict[str, Any] | None
    remove_history: bool
    curve: pd.DataFrame
    split: str = LEAVE_ONE_OUT


def write_student(model: Recommender, catalogue: Catalogue, source: StudentSource, folder: Path) -> None:
    """Writes the student's folder, reloads it and compares scores before it gets its name.

    The student is written in float32, whatever precision its frozen weights had. A folder that already holds this
    student is left unchanged, but gets the hashes of its files where an older version wrote none; where one is damaged,
    all are written again. Other files in the folder stay, and so does a model card that was edited.

    Raises:
        InputError: `folder` holds another student or something else.
        StudyError: the scores of the reloaded student differ by more than 1e-5.
    """
    found = held(folder, source.student_sha256) if folder.exists() else "damaged"
    if found == "whole":
        return
    model.float()
    batch = _sample(catalogue.n_items, model.max_len)
    expected = _scores(model, batch)
    if found == "unknown" and _is_student(folder, model, catalogue):
        seal_student(folder, source.student_sha256)
        return
    with disk_full_said(folder):
        make_folder(folder.parent)
        # Beside the folder, so that the last rename stays on one disk and is atomic.
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with disk_full_said(folder):
            _write_parts(model, catalogue, source, temporary)
        reloaded = _scores(load_student_model(temporary), batch)
        gap = (reloaded - expected).abs().max().item()
        if not _is_alike(reloaded, expected):
            raise StudyError(f"the exported student must score as the trained one; scores differ by up to {gap:.2g}")
        with disk_full_said(folder):
            seal_student(temporary, source.student_sha256)
            os.chmod(temporary, 0o755)  # a temporary folder is readable by its owner only
            put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_alike(scores: torch.Tensor, expected: torch.Tensor) -> bool:
    gap = (scores - expected).abs().max().item()
    return gap <= TOLERANCE * max(1.0, expected.abs().max().item())  # false for NaN as well


def _is_student(folder: Path, model: Recommender, catalogue: Catalogue) -> bool:
    """Tells whether a folder without hashes holds a student that scores like this one, of the same items."""
    try:
        old = load_student(folder)
    except InputError as error:
        say(f"export: {error}")
        return False
    same = old.catalogue.to_frame().equals(catalogue.to_frame()) and old.model.max_len == model.max_len
    batch = _sample(catalogue.n_items, model.max_len)
    return same and _is_alike(_scores(old.model, batch), _scores(model, batch))


@quiet()
def _write_parts(model: Recommender, catalogue: Catalogue, source: StudentSource, folder: Path) -> None:
    merged(cast("PreTrainedModel | PeftModel", model.network)).save_pretrained(folder / "backbone")
    weights = {
        "input_adapter.weight": model.input_adapter.weight,
        "input_adapter.bias": model.input_adapter.bias,
        "head.weight": model.head.weight,
        "item_table": model.item_table,
    }
    if model.prefix_vectors is not None:
        weights[PREFIX_VECTORS] = model.prefix_vectors.weight
    write_tensors(folder / "recommender.safetensors", weights)
    catalogue.save(folder / "items.parquet")
    write_json(folder / "config.json", _config(model, source))
    facts = _facts(source)
    write_json(folder / "student.json", facts)
    write_text(folder / "README.md", model_card(facts, source.curve))


def _config(model: Recommender, source: StudentSource) -> dict[str, Any]:
    return {
        "model_type": "layerprobe-student",
        "format": FORMAT,
        "backbone": "backbone",
        "max_len": model.max_len,
        "hidden_size": model.backbone.config.hidden_size,
        "item_dim": model.item_table.shape[1],
        "n_items": len(model.item_table) - 1,
        "prefix_ids": model.prefix.tolist(),
        "prefix_vectors": model.prompt.learned,
        "suffix_ids": model.suffix.tolist(),
        "remove_history": source.remove_history,
    }


def _facts(source: StudentSource) -> dict[str, Any]:
    shown = source.curve[[columns.KIND, columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.K, columns.VALUE]]
    return {
        "study": source.name,
        "kept_layers": source.selection,
        "teacher_depth": source.teacher_depth,
        "teacher_sha256": source.teacher_sha256,
        "student_sha256": source.student_sha256,
        "data_sha256": source.data_sha256,
        "split": source.split,
        "backbone": source.backbone,
        "versions": package_versions(),
        "metrics": json.loads(str(shown.to_json(orient="records"))),
    }


def load_student_model(folder: Path) -> Recommender:
    """Puts the parts of a student's folder together, in evaluation mode.

    Raises:
        InputError: the folder is not a student, is of a newer format, or its weights do not fit.
    """
    path = folder / "config.json"
    if not path.exists() or read_json(path).get("model_type") != "layerprobe-student":
        raise InputError(f"a student is a folder that `layerprobe export` wrote; {folder} is not one")
    missing = [name for name in ("recommender.safetensors", "items.parquet") if not (folder / name).exists()]
    if missing:
        raise InputError(f"{folder} is not a complete student: {missing[0]} is missing; export it again")
    config = read_json(path)
    if config["format"] > FORMAT:
        raise InputError(
            f"{folder} has format {config['format']}; this version reads up to {FORMAT}: update layerprobe"
        )
    weights, _ = read_tensors(folder / "recommender.safetensors")
    learned = config.get("prefix_vectors", 0)  # absent in students of older versions
    expected = TENSORS | ({PREFIX_VECTORS} if learned else set())
    if set(weights) != expected:
        raise InputError(
            f"{folder}/recommender.safetensors must hold {', '.join(sorted(expected))}; "
            f"it holds {', '.join(sorted(weights))}"
        )
    backbone = read_stock_backbone(str(folder / config["backbone"]))
    prefix, suffix = (torch.tensor(config[name], dtype=torch.int64) for name in ("prefix_ids", "suffix_ids"))
    prompt = PromptTokens(prefix, suffix, learned)
    model = Recommender(backbone, backbone, weights.pop("item_table"), RecommenderOptions(config["max_len"]), prompt)
    for name, value in weights.items():
        parameter = model.get_parameter(name)
        if parameter.shape != value.shape:  # `copy_` would broadcast a wrong shape without an error
            raise InputError(f"{folder}: {name} must have shape {tuple(parameter.shape)}; got {tuple(value.shape)}")
        with torch.no_grad():
            parameter.copy_(value)
    return model.eval()


def _sample(n_items: int, max_len: int) -> SequenceBatch:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, max_len + 1, size=8)
    return history_batch([generator.integers(1, n_items + 1, size=length) for length in lengths], max_len)


def _scores(model: Recommender, batch: SequenceBatch) -> torch.Tensor:
    with torch.no_grad():
        return (model.read(batch.to(model.device)) @ model.item_vectors().T).cpu()


@dataclass(frozen=True, eq=False)
class Student:
    """A loaded student that answers requests."""

    model: Recommender
    catalogue: Catalogue
    remove_history: bool

    def recommend(self, history: Sequence[str], k: int = 10) -> pd.DataFrame:
        """Returns the `k` best items for a history of raw item ids, newest last.

        Returns:
            Table (item, title, score), best first. Items of the history are left out where the study ranked so.

        Raises:
            InputError: the history is empty, an id is unknown, or `k` is not in 1..n_items.
        """
        require_kind("k", k, int)
        if not 1 <= k <= self.catalogue.n_items:
            raise InputError(f"k must lie in 1..{self.catalogue.n_items}, the catalogue; got {k}")
        if isinstance(history, (str, int)) or history is None or not len(history):
            got = repr(history) if isinstance(history, (str, int)) else "none"
            raise InputError(f"history must be a list of item ids, at least one; got {got}")
        for item in history:
            require_kind("an item id of history", item, str, instead="ids are text, also those of digits alone")
        indices = self.catalogue.index_of(list(history))
        scores = _scores(self.model, history_batch([indices], self.model.max_len))[0]  # [n_items + 1]
        scores[0] = -torch.inf  # padding
        if self.remove_history:  # the whole history, also where the model reads only its newest items
            scores[torch.from_numpy(indices)] = -torch.inf
        best = scores.topk(k)
        ranked = [(int(index), float(value)) for index, value in zip(best.indices, best.values, strict=True)]
        # Fewer than k rows where the history leaves fewer items.
        rows = [(self.catalogue.item_ids[i - 1], self.catalogue.label(i), s) for i, s in ranked if s > -np.inf]
        return pd.DataFrame(rows, columns=[columns.ITEM, columns.TITLE, "score"])


def load_student(folder: str | os.PathLike[str]) -> Student:
    """Loads a student's folder, ready to recommend.

    Every byte is compared with the hashes in `done.json`, which a student of an older version does not have.

    Raises:
        InputError: the folder is not a student, a file of it is missing or changed, or its parts do not fit together.
    """
    folder = as_folder("student", folder)
    require_whole_student(folder)
    try:
        return _loaded(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:  # one without hashes
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:120]}): {AGAIN}"
        ) from error


def _loaded(folder: Path) -> Student:
    model = load_student_model(folder)
    config = read_json(folder / "config.json")
    catalogue = load_catalogue(folder / "items.parquet")
    if catalogue.n_items != len(model.item_table) - 1:
        raise InputError(
            f"{folder} must have one vector per item; got {catalogue.n_items} items and {len(model.item_table) - 1} "
            "vectors: export it again"
        )
    return Student(model, catalogue, config["remove_history"])

"""Training state on disk: one safetensors file, replaced atomically. A resumed training ends with the same bits.

Each file holds checksums of what is in it, since a folder whose training has not ended has no hashes yet: a damaged one
is never resumed. Nothing is pickled. Random numbers need no state: every step seeds its own generator from (seed,
step).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from layerprobe import processes
from layerprobe.errors import InputError, StudyError
from layerprobe.recommender.sequence_model import load_trainable_state, trainable_state
from layerprobe.store.atomic import read_metadata, read_tensors, write_tensors
from layerprobe.store.layout import MODEL
from layerprobe.store.run_folder import differing_keys
from layerprobe.store.seals.sums import DamagedFile, read_checked, with_sums
from layerprobe.training.log import say
from layerprobe.training.sharding import gathered, like

RESUME = "resume.safetensors"


@dataclass
class Progress:
    """How far a training has come; everything but the tensors."""

    step: int = 0
    epoch: int = 0
    best_epoch: int = 0
    best_valid: float = -1.0
    train_seconds: float = 0.0
    log_rows: int = 0
    stopped: bool = False


def save_resume(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    spec: Mapping[str, Any],
) -> None:
    """Writes parameters, optimiser moments, progress and what is trained (`spec`) to `resume.safetensors`.

    Every process calls it, since the slices of a sharded model are gathered; the main process writes.
    """
    tensors = gathered(_state(model, optimizer))
    if processes.is_main():
        told = {"progress": json.dumps(asdict(progress)), "spec": json.dumps(spec)}
        write_tensors(folder / RESUME, tensors, with_sums(tensors, told))
        # Only after the resume file names the new best epoch: until then a kill needs the old one.
        for path in folder.glob("best-*.safetensors"):
            if path != best_file(folder, progress.best_epoch):
                path.unlink()


def _state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in trainable_state(model).items():
        yield f"model.{name}", value
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            yield f"optimizer.{index}.{name}", torch.as_tensor(value)  # an entry may be a plain number


def best_file(folder: Path, epoch: int) -> Path:
    """Returns the file of the best epoch's parameters. The name holds the epoch; the resume file says which one counts.

    So the two files agree even if the process is killed between writing one and the other.
    """
    return folder / f"best-{epoch}.safetensors"


def load_resume(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    spec: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> Progress:
    """Restores what `save_resume` wrote; returns a new `Progress` where there is nothing to resume.

    Args:
        folder: where the file lies.
        model: gets the parameters.
        optimizer: gets its moments.
        spec: what the model must be a training of.
        defaults: defaults of the options in `spec`, for a file of a version that did not know all of them.

    Raises:
        InputError: the file is of a training with another specification; the message names the keys that differ.
        StudyError: its parameters do not fit the model.
    """
    path = folder / RESUME
    drop_damaged(folder)
    if not path.exists():
        return Progress()
    tensors, metadata = read_tensors(path)
    _refuse_other(path, metadata, spec, defaults)
    stored = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        _load(model, stored)
    except ValueError as error:
        raise StudyError(f"{path} is of another model: {error}; delete {folder} to train again") from error
    # In the order of the groups, by which the optimiser numbers its state.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, entry = name.split(".", 2)
            state.setdefault(int(index), {})[entry] = like(value, parameters[int(index)])  # sliced as its parameter is
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**json.loads(metadata["progress"]))


def drop_damaged(folder: Path) -> None:
    """Deletes a half-trained model of which a file is damaged, and says so: its training starts from the beginning.

    Every process calls it; the main process looks and deletes.
    """

    def look() -> None:
        if not (folder / RESUME).exists():
            return
        try:
            _, told = read_checked(folder / RESUME)
            best = best_file(folder, json.loads(told["progress"])["best_epoch"])
            if best.exists():  # renamed where the training has ended
                read_checked(best)
        except DamagedFile as error:
            say(f"{error}: it is not resumed, and the training starts from its beginning")
            for path in (folder / RESUME, *folder.glob("best-*.safetensors")):
                path.unlink(missing_ok=True)

    processes.on_main(look)


def _refuse_other(
    path: Path, metadata: Mapping[str, str], spec: Mapping[str, Any], defaults: Mapping[str, Any] | None
) -> None:
    # Through JSON and back, so that a tuple here equals the list in the file.
    differing = differing_keys(json.loads(metadata["spec"]), json.loads(json.dumps(spec)), defaults)
    if differing:
        raise InputError(
            f"{path} is a half-trained model of another specification; these keys differ: {', '.join(differing[:5])}; "
            f"it is not resumed: delete {path.parent.parent} to train again"
        )


def saved_progress(
    folder: Path, spec: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
) -> Progress:
    """Returns how far a half-trained model has come, from the header of its file; a fresh `Progress` without one.

    Args:
        folder: where the file lies.
        spec: what the model must be a training of; None asks nothing of it.
        defaults: as of `load_resume`.

    Raises:
        InputError: the training has another specification.
    """
    if not (folder / RESUME).exists():
        return Progress()
    try:
        metadata = read_metadata(folder / RESUME)
    except SafetensorError:  # found again, and said, where the training is taken up
        return Progress()
    if spec is not None:
        _refuse_other(folder / RESUME, metadata, spec, defaults)
    return Progress(**json.loads(metadata["progress"]))


def save_best(folder: Path, model: torch.nn.Module, epoch: int) -> None:
    """Writes the parameters of the best epoch so far; every process calls it."""
    tensors = gathered(trainable_state(model).items())
    processes.on_main(lambda: write_tensors(best_file(folder, epoch), tensors, with_sums(tensors)))


def keep_best(folder: Path, epoch: int) -> None:
    """Renames the best epoch's parameters to the model's file; does nothing if that was done before."""
    if best_file(folder, epoch).exists():
        best_file(folder, epoch).replace(folder / MODEL)


def load_model(path: Path, model: torch.nn.Module) -> None:
    """Loads trained parameters into a model built the same way.

    Raises:
        StudyError: the stored parameters do not fit.
    """
    tensors, _ = read_tensors(path)
    try:
        _load(model, tensors)
    except ValueError as error:
        raise StudyError(f"{path}: {error}") from error


def drop_resume(folder: Path) -> None:
    """Deletes the resume file of a finished training; the model's file stays."""
    (folder / RESUME).unlink(missing_ok=True)


def _load(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    state = trainable_state(model)  # a name that the model lacks is passed on, so that the loader can name it
    load_trainable_state(model, {name: like(value, state.get(name, value)) for name, value in tensors.items()})

"""The dry run: time and memory of every model of a study; an error where the study does not fit this machine.

Nothing is written into the study's folder. Where its data do not exist yet, the log is prepared in a temporary folder
that is deleted afterwards.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from layerprobe import processes, wording
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.errors import InputError
from layerprobe.pipeline.dry_run.estimate import Estimator, Need
from layerprobe.pipeline.dry_run.machine import Machine, this_machine
from layerprobe.pipeline.dry_run.step_costs import shallow_depths
from layerprobe.stages.data import data_key, prepared_data, require_use
from layerprobe.stages.planned import Planned
from layerprobe.stages.registry import STAGES
from layerprobe.store.run_folder import is_done
from layerprobe.study.checks import check_similarity, check_steps, check_study
from layerprobe.study.guard import check_folder, is_recorded
from layerprobe.study.study import Study
from layerprobe.training.engine import available_device
from layerprobe.training.log import say

AT_LEAST = "at least "
UNMEASURED = "the comparison of states, slices, and the stages cost, decide, export and report"


@dataclass(frozen=True)
class Plan:
    """What `run` is going to do.

    Attributes:
        lines: the printed plan.
        refusal: why the study does not fit this machine and what to change; None where it fits.
        seconds: upper bound of the time that is left; None where the study was refused before anything was measured.
    """

    lines: list[str]
    refusal: str | None
    seconds: float | None

    def require_fit(self) -> None:
        """Raises `InputError` where the plan does not fit."""
        if self.refusal is not None:
            raise InputError(self.refusal)


@dataclass(frozen=True)
class Row:
    """One line of the table; `step` and `seconds` are None where nothing is trained or measured, or all is done."""

    planned: Planned
    total: int
    trainable: int
    steps: int
    step: float | None
    seconds: float | None
    need: Need


def plan(study: Study) -> Plan:
    """Estimates the work that is left for `run`: parameters, time and memory of each model. Every process must call it.

    Raises:
        InputError: the spec, the log or the folder is wrong, with the same message as from `run_stages`.
    """
    if processes.slice_models():
        raise InputError(
            "--dry-run cannot estimate models that FSDP shards; run it without the FSDP configuration. With FSDP each "
            "process holds its share of the printed weights, gradients and optimizer moments"
        )
    check_study(study)
    check_folder(study)
    path = study.spec.data.path
    if path is not None and not Path(path).exists():
        raise InputError(f"data.path must be the log's file or folder; there is nothing at {path}")
    data = _data(study)
    check_steps(study, data.split)
    check_similarity(study, len(data.split.users("valid")))
    planned = planned_models(study)
    estimator = Estimator(study, data.split)
    machine = this_machine(study.folder, available_device())
    left = [model for model in planned if model.state != "done"]
    disk = _disk_refusal(estimator.disk(left), machine)
    held = {model.label: estimator.held(model) for model in planned}
    refusal = _refusal(study, left, held, machine, AT_LEAST) or disk
    if refusal is None:
        rows = [_measured(estimator, model) for model in planned]
        refusal = _refusal(study, left, {row.planned.label: row.need for row in rows}, machine, "about ")
    else:
        rows = [_unmeasured(estimator, model, held[model.label]) for model in planned]
    return Plan(_lines(study, data, rows, machine), refusal, _total(rows))


def planned_models(study: Study) -> list[Planned]:
    """Returns every model of the study in the order in which it is trained."""
    return [planned for stage in STAGES for planned in stage.plan(study)]


def require_room(study: Study) -> None:
    """Refuses, before anything is trained, what cannot fit. Counts weights, moments and item tables; measures nothing.

    Sharded models always pass: how much of them each device will hold is not known beforehand.

    Raises:
        InputError: a model needs more memory, or the checkpoints more disk, than there is.
    """
    if processes.slice_models():
        return
    estimator = Estimator(study, study.data.split)
    machine = this_machine(study.folder, available_device())
    left = [model for model in planned_models(study) if model.state != "done"]
    held = {model.label: estimator.held(model) for model in left}
    refusal = _refusal(study, left, held, machine, AT_LEAST)
    if refusal is not None:
        raise InputError(refusal)


def _data(study: Study) -> PreparedData:
    """Returns the study's data; reads the log where the data stage is not done."""
    if is_done(study.layout.data, data_key(study.spec.data)):
        if not is_recorded(study):  # as in a run: they may lie there from one with other options, which was refused
            require_use(study.spec, study.data)
        return study.data
    say("reading the log for the estimate; nothing is written to the study's folder")
    if study.spec.data.source == "prepared":
        data = load_prepared(Path(study.spec.data.path or ""))
        require_use(study.spec, data)
        return data
    with TemporaryDirectory(prefix="layerprobe-plan-") as folder:
        return prepared_data(study.spec, Path(folder))


def _measured(estimator: Estimator, planned: Planned) -> Row:
    if planned.state == "done":
        return _unmeasured(estimator, planned, estimator.held(planned), 0.0)
    say(f"estimate: {planned.label}")
    size, trains = estimator.size(planned).parameters, planned.kind != "teaching"
    row = Row(
        planned,
        size["total"],
        size["trainable"] if trains else 0,
        planned.left(estimator.steps(planned)).steps if trains else 0,
        estimator.cost(planned).step if trains else None,
        estimator.seconds(planned),
        estimator.need(planned),
    )
    gc.collect()  # measured models may be held by reference cycles, and the next models need their memory
    return row


def _unmeasured(estimator: Estimator, planned: Planned, need: Need, seconds: float | None = None) -> Row:
    size, trains = estimator.size(planned).parameters, planned.kind != "teaching"
    left = planned.left(estimator.steps(planned)).steps if trains and planned.state != "done" else 0
    return Row(planned, size["total"], size["trainable"] if trains else 0, left, None, seconds, need)


def _total(rows: list[Row]) -> float | None:
    known = [row.seconds for row in rows if row.seconds is not None]
    return sum(known) if len(known) == len(rows) else None


def _refusal(study: Study, left: list[Planned], needs: dict[str, Need], machine: Machine, how: str) -> str | None:
    """Names, of the models that do not fit, the one that needs most memory, and what to change; None where all fit."""
    lacking = [model for model in left if needs[model.label].lacking(machine)]
    if not lacking:
        return None
    worst = max(lacking, key=lambda model: needs[model.label].device)
    need = needs[worst.label]
    needed, available, where = need.device, machine.memory, machine.device
    if machine.shared or needed <= available:
        needed, available, where = need.host + (need.device if machine.shared else 0), machine.host, "the host"
    return (
        f"the plan does not fit: {worst.label} needs {how}{wording.size(needed)} of memory and {where} has "
        f"{wording.size(available)} left: {', or '.join(_remedies(study, worst, how))}"
    )


def _remedies(study: Study, worst: Planned, how: str) -> list[str]:
    """Returns what reduces the memory; leaves out what the study does already and what does not change the weights."""
    spec = study.spec
    if worst.kind == "sasrec":
        return ["lower items.sasrec.dim or items.training.batch_size", "set items.training.max_tokens"]
    where = "distill.training" if worst.kind == "distilled" and spec.distill.training else "training"
    remedies = [] if how == AT_LEAST else [f"lower {where}.batch_size or {where}.max_tokens"]
    if spec.tuning.method == "full":
        remedies.append("set tuning.method lora")
    elif spec.backbone.dtype == "float32" and spec.backbone.quantize is None:
        remedies.append("set backbone.dtype bfloat16")
    if how != AT_LEAST and not spec.backbone.gradient_checkpointing:
        remedies.append("set backbone.gradient_checkpointing true")
    return [
        *remedies,
        "take fewer layers by backbone.keep" if spec.backbone.checkpoint else "lower backbone.layers or hidden_size",
    ]


def _disk_refusal(needed: float, machine: Machine) -> str | None:
    if needed <= machine.disk:
        return None
    return (
        f"the plan does not fit: its checkpoints take about {wording.size(needed)} on disk and "
        f"{wording.size(machine.disk)} are free: choose another --out, set tuning.method lora, or study fewer "
        "selections"
    )


def _lines(study: Study, data: PreparedData, rows: list[Row], machine: Machine) -> list[str]:
    merged = [] if study.family.merged_line is None else [study.family.merged_line]
    counts = data.facts["counts"]
    head = [
        f"study {study.spec.name} in {study.folder}",
        f"data: {counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions",
        *merged,
        "",
    ]
    return [*head, *_table(rows, machine), "", *_foot(study, rows, machine)]


def _table(rows: list[Row], machine: Machine) -> list[str]:
    cells = [["model", "state", "parameters", "trained", "steps", "s/step", "time", "memory"]]
    for row in rows:
        cells.append([
            row.planned.label,
            row.planned.state,
            f"{row.total:,}",
            f"{row.trainable:,}" if row.trainable else "-",
            f"{row.steps:,}" if row.steps else "-",
            "-" if row.step is None else f"{row.step:.3g}",
            "-" if row.seconds is None else wording.duration(row.seconds),
            "-" if row.planned.state == "done" else wording.size(row.need.shown(machine)),
        ])  # fmt: skip
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(text.ljust(width) if column < 2 else text.rjust(width) for column, (text, width) in enumerate(pairs))
        for pairs in ([*zip(line, widths, strict=True)] for line in cells)
    ]


def _foot(study: Study, rows: list[Row], machine: Machine) -> list[str]:
    left = [row for row in rows if row.planned.state != "done"]
    total = _total(rows)
    peak = max((row.need.shown(machine) for row in left), default=0.0)
    beside = f", {processes.count()} processes sharing every step" if processes.count() > 1 else ""
    low, high = shallow_depths(study.n_layers)
    how = (
        f"time and memory: extrapolated from a few steps of SASRec and of random models with {low} and {high} layers; "
        "times are upper bounds, since training may stop early"
    )
    if total is None:
        how = "memory: weights, gradients and optimizer moments only; nothing was measured"
    elif not left:
        how = "nothing is left to train"
    return [
        f"total: {'not measured' if total is None else wording.duration(total)}, memory {wording.size(peak)}",
        f"machine: {machine.device}{beside}, {wording.size(machine.memory)} of memory and {wording.size(machine.disk)} "
        "of disk left",
        how,
        f"not included: {UNMEASURED}",
    ]

"""The dry run: every model of a study with what it will take, and a refusal of what does not fit this machine.

Nothing is written in the study's folder. Where its data are not there yet, the log is prepared in a temporary folder
that is removed again.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from layerprobe import processes
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.errors import InputError
from layerprobe.pipeline.dry_run.estimate import Estimator, Need
from layerprobe.pipeline.dry_run.machine import Machine, this_machine
from layerprobe.pipeline.dry_run.step_costs import shallow_depths
from layerprobe.stages.data import data_key, prepared_data
from layerprobe.stages.planned import Planned
from layerprobe.stages.registry import STAGES
from layerprobe.store.run_folder import is_done
from layerprobe.study.checks import check_similarity, check_steps, check_study
from layerprobe.study.guard import check_folder
from layerprobe.study.study import Study
from layerprobe.training.engine import available_device
from layerprobe.training.log import say

MIB = 2**20
AT_LEAST = "at least "
UNMEASURED = (
    "comparing states, slices, the cost stage, decision, student folder and report come beside these and are not "
    "estimated"
)


@dataclass(frozen=True)
class Plan:
    """What `run` would do.

    Attributes:
        lines: the printed plan.
        refusal: why it does not fit this machine and what to do about it; None where it fits.
        seconds: at most what is left to do takes; None where it was refused before anything was measured.
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
    """One line of the table; `step` and `seconds` are None where nothing is trained, left or measured."""

    planned: Planned
    total: int
    trainable: int
    steps: int
    step: float | None
    seconds: float | None
    need: Need


def plan(study: Study) -> Plan:
    """Estimates what `run` would still do: parameters, time and memory of each model. Every process must call it.

    Raises:
        InputError: the spec, the log or the folder is at fault, as `run_stages` would say.
    """
    if processes.slice_models():
        raise InputError(
            "--dry-run measures whole models and cannot tell what slices of them take; leave the FSDP configuration "
            "out: of weights, gradients and moments a process then holds its share of what is printed"
        )
    check_study(study)
    check_folder(study)
    path = study.spec.data.path
    if path is not None and not Path(path).exists():
        raise InputError(f"data.path must be the log's file or folder; there is nothing at {path}")
    data = _data(study)
    check_steps(study, data.split)
    check_similarity(study, len(data.split.evaluated))
    planned = planned_models(study)
    estimator = Estimator(study, data.split)
    machine = this_machine(study.folder, available_device())
    left = [each for each in planned if each.state != "done"]
    disk = _disk_refusal(estimator.disk(left), machine)
    held = {each.label: estimator.held(each) for each in planned}
    refusal = _refusal(study, left, held, machine, AT_LEAST) or disk
    if refusal is None:
        rows = [_measured(estimator, each) for each in planned]
        refusal = _refusal(study, left, {row.planned.label: row.need for row in rows}, machine, "about ")
    else:
        rows = [_unmeasured(estimator, each, held[each.label]) for each in planned]
    return Plan(_lines(study, data, rows, machine), refusal, _total(rows))


def planned_models(study: Study) -> list[Planned]:
    """Returns every model of the study in the order in which it is trained."""
    return [planned for stage in STAGES for planned in stage.plan(study)]


def require_room(study: Study) -> None:
    """Refuses, before anything is trained, what cannot fit: weights, moments and item tables alone, nothing measured.

    Models in slices are let pass: how much of them lies where is not known beforehand.

    Raises:
        InputError: a model needs more memory, or the checkpoints more disk, than there is.
    """
    if processes.slice_models():
        return
    estimator = Estimator(study, study.data.split)
    machine = this_machine(study.folder, available_device())
    left = [each for each in planned_models(study) if each.state != "done"]
    held = {each.label: estimator.held(each) for each in left}
    refusal = _refusal(study, left, held, machine, AT_LEAST)
    if refusal is not None:
        raise InputError(refusal)


def _data(study: Study) -> PreparedData:
    """Returns the study's data; reads the log where the data stage is not done."""
    if is_done(study.layout.data, data_key(study.spec.data)):
        return study.data
    say("the log is read for the estimate, and nothing of it is kept")
    if study.spec.data.source == "prepared":
        return load_prepared(Path(study.spec.data.path or ""))
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
    gc.collect()  # what was measured may lie in circles of references, and the next models need its memory
    return row


def _unmeasured(estimator: Estimator, planned: Planned, need: Need, seconds: float | None = None) -> Row:
    size, trains = estimator.size(planned).parameters, planned.kind != "teaching"
    left = planned.left(estimator.steps(planned)).steps if trains and planned.state != "done" else 0
    return Row(planned, size["total"], size["trainable"] if trains else 0, left, None, seconds, need)


def _total(rows: list[Row]) -> float | None:
    known = [row.seconds for row in rows if row.seconds is not None]
    return sum(known) if len(known) == len(rows) else None


def _refusal(study: Study, left: list[Planned], needs: dict[str, Need], machine: Machine, how: str) -> str | None:
    """Says which of the models that do not fit needs most, and what to do; None where all fit."""
    lacking = [each for each in left if needs[each.label].lacking(machine)]
    if not lacking:
        return None
    worst = max(lacking, key=lambda each: needs[each.label].device)
    need = needs[worst.label]
    taken, there, where = need.device, machine.memory, machine.device
    if machine.shared or taken <= there:
        taken, there, where = need.host + (need.device if machine.shared else 0), machine.host, "the host"
    return (
        f"the plan does not fit: {worst.label} needs {how}{shown_bytes(taken)} of memory and {where} has "
        f"{shown_bytes(there)} left: {', or '.join(_remedies(study, worst, how))}"
    )


def _remedies(study: Study, worst: Planned, how: str) -> list[str]:
    """Returns what makes a model need less, leaving out what the study does already and what weights do not feel."""
    spec = study.spec
    if worst.kind == "sasrec":
        return ["lower items.sasrec.dim or items.training.batch_size", "set items.training.max_tokens"]
    where = "distill.training" if worst.kind == "distilled" and spec.distill.training else "training"
    found = [] if how == AT_LEAST else [f"lower {where}.batch_size or {where}.max_tokens"]
    if spec.tuning.method == "full":
        found.append("set tuning.method lora")
    elif spec.backbone.dtype == "float32" and spec.backbone.quantize is None:
        found.append("set backbone.dtype bfloat16")
    if how != AT_LEAST and not spec.backbone.gradient_checkpointing:
        found.append("set backbone.gradient_checkpointing true")
    return [
        *found,
        "take fewer layers by backbone.keep" if spec.backbone.checkpoint else "lower backbone.layers or hidden_size",
    ]


def _disk_refusal(needed: float, machine: Machine) -> str | None:
    if needed <= machine.disk:
        return None
    return (
        f"the plan does not fit: its checkpoints take about {shown_bytes(needed)} on disk and "
        f"{shown_bytes(machine.disk)} are free: choose another --out, set tuning.method lora, or probe fewer selections"
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
            "-" if row.seconds is None else shown_seconds(row.seconds),
            "-" if row.planned.state == "done" else shown_bytes(row.need.shown(machine)),
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
        f"time and memory: a few steps each of SASRec and of {low} and {high} layers with random weights, drawn on to "
        "the depths above; time is at most, since training may stop early"
    )
    if total is None:
        how = "memory: weights, gradients and moments alone; nothing was measured"
    elif not left:
        how = "nothing is left to train"
    return [
        f"in all: {'not measured' if total is None else shown_seconds(total)}, memory {shown_bytes(peak)}",
        f"machine: {machine.device}{beside}, {shown_bytes(machine.memory)} of memory and {shown_bytes(machine.disk)} "
        "of disk left",
        how,
        f"not in it: {UNMEASURED}",
    ]


def shown_seconds(seconds: float) -> str:
    """Returns a time for people.

    >>> shown_seconds(0), shown_seconds(42.4), shown_seconds(150), shown_seconds(5400), shown_seconds(200_000)
    ('0 s', '42 s', '2.5 min', '1.5 h', '2.3 days')
    """
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def shown_bytes(count: float) -> str:
    """Returns an amount of memory for people.

    >>> shown_bytes(3 * 2**19), shown_bytes(2**31), shown_bytes(5 * 2**41)
    ('2 MiB', '2.0 GiB', '10.0 TiB')
    """
    for size, name in ((2**40, "TiB"), (2**30, "GiB")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count / MIB:.0f} MiB"

"""What each model of a study will need: time from a few measured steps, memory, and disk space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection
from layerprobe.data.splits import Split
from layerprobe.distillation.mapping import block_map
from layerprobe.pipeline.dry_run.machine import Machine
from layerprobe.pipeline.dry_run.sizes import FLOAT32, Size, Sizes, size_without_memory
from layerprobe.pipeline.dry_run.step_costs import Cost, CostLine, Workbench, measure_model
from layerprobe.probing.variant import RecipeOptions, repeated_positions
from layerprobe.recommender.sasrec import SASRec
from layerprobe.stages.planned import Planned
from layerprobe.study.study import Study
from layerprobe.sweep.halving import candidates
from layerprobe.training.engine import available_device
from layerprobe.training.options import TrainingOptions, train_batches

RESUMED = 3
"""A half-trained model is its trained parameters and two moments of each."""


@dataclass(frozen=True)
class Need:
    """Bytes that training a model takes at its peak: on the device, and in the host's memory beside it."""

    device: float
    host: float = 0.0

    def shown(self, machine: Machine) -> float:
        """Returns the memory of the whole process; on the CPU that includes libraries and data."""
        return machine.base + self.device + self.host if machine.shared else self.device

    def lacking(self, machine: Machine) -> bool:
        """Tells whether the machine has less than this."""
        if machine.shared:
            return self.device + self.host > machine.memory
        return self.device > machine.memory or self.host > machine.host


@dataclass(frozen=True, eq=False)
class Estimator:
    """Estimates the models of a study on its data; measures a kind of model when it is first needed.

    Attributes:
        study: what is planned.
        split: its sequences.
    """

    study: Study
    split: Split

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes of teacher and variants."""
        return Sizes.of(self.study.recipe, self.split.sequences.n_items, self._dim)

    @cached_property
    def student_sizes(self) -> Sizes:
        """Sizes of students, which are never quantized."""
        same = self.study.student_recipe == self.study.recipe
        return self.sizes if same else Sizes.of(self.study.student_recipe, self.split.sequences.n_items, self._dim)

    @property
    def _dim(self) -> int:
        items = self.study.spec.items
        return items.sasrec.dim if items.kind == "sasrec" else items.random_dim

    def size(self, planned: Planned) -> Size:
        """Returns parameters and bytes; nothing is measured and no memory taken."""
        if planned.kind == "sasrec":
            return size_without_memory(self._sasrec)
        if planned.kind == "distilled":
            assert planned.selection is not None
            return self.student_sizes.student(planned.selection, self._blocks(planned.selection))
        return self.sizes.at(planned.selection)

    def steps(self, planned: Planned) -> int:
        """Returns the steps of an epoch."""
        return -(-self._examples(planned)[0] // planned.training.batch_size)

    def cost(self, planned: Planned) -> Cost:
        """Returns a model's measured costs."""
        if planned.kind == "sasrec":
            return self._sasrec_cost
        cost = self._line(self._recipe(planned), planned.training).at(self._depth(planned))
        if planned.kind != "distilled":
            return cost
        seconds, bytes_more = self._distilling(planned)
        return replace(cost, step=cost.step + seconds, backward=cost.backward + bytes_more)

    def seconds(self, planned: Planned) -> float:
        """Returns an upper bound of the time to finish a model; what is done already takes none."""
        cost, left = self.cost(planned), planned.left(self.steps(planned))
        if planned.kind == "teaching":
            heads = self.study.spec.probe.heads
            fitting = heads.epochs * max(self.steps(planned), heads.least_steps) * cost.heads
            return fitting + cost.exits + self._cuts() * cost.valid
        total = left.steps * cost.step + left.validations * cost.valid + cost.final
        if planned.kind == "sasrec":
            return total + planned.floors * cost.final
        return total + self._teaching_seconds(planned) if planned.kind == "distilled" else total

    def _cuts(self) -> float:
        """Returns the cost of ranking with cut teachers, in units of one ranking of all validation users.

        Leaving out one layer at a time takes L + 1 rankings with nearly all layers; greedy removal takes
        L (L + 1) / 2 rankings with half of the layers on average.
        """
        spec, n_layers = self.study.spec.similarity, self.study.n_layers
        share = min(1.0, spec.rows / len(self.split.users("valid")))
        return share * (n_layers + 1 + (n_layers * (n_layers + 1) / 4 if self.study.needs_greedy else 0))

    def held(self, planned: Planned) -> Need:
        """Returns the memory that is known without measuring: weights, gradients, moments and item table."""
        size = self.size(planned).bytes
        if planned.kind == "teaching":
            return Need(size.weights, self._table)
        copies = 2 if processes.count() > 1 else 1  # data parallelism exchanges gradients in buckets of its own
        table = 0 if planned.kind == "sasrec" else self._table
        return Need(size.held + copies * size.trained, table)

    def need(self, planned: Planned) -> Need:
        """Returns the peak memory of training and ranking, from the measured steps."""
        cost, size = self.cost(planned), self.size(planned).bytes
        if planned.kind == "teaching":
            return Need(size.weights + max(cost.rank, cost.teacher_bytes, cost.heads_bytes, cost.backward), self._table)
        backward = cost.backward
        if planned.kind != "sasrec":
            line = self._line(self._recipe(planned), planned.training)
            backward = max(backward, line.backward(self._depth(planned), size.trained))
        passes = max(backward, size.trained + cost.update)
        if available_device().type == "cuda":
            passes = max(passes, cost.rank)
        else:
            # The C library seldom gives back what ranking has freed before training takes its own (measured: 1,093 MiB
            # held by a process, 1,011 by this sum, 904 by the larger of the two).
            passes += cost.rank
        exchanged = size.trained if processes.count() > 1 else 0
        plain = Need(size.held + passes + exchanged, 0 if planned.kind == "sasrec" else self._table)
        return self._distilled_need(planned, plain) if planned.kind == "distilled" else plain

    def disk(self, planned: list[Planned]) -> float:
        """Returns the bytes of all checkpoints: each model, a half-trained one while it is replaced, the student."""
        trained = [self.size(model).bytes.trained for model in planned if model.kind != "teaching"]
        exported = [self.size(model).parameters["total"] for model in planned if model.kind == "distilled"]
        # Halving leaves every variant that it may stop half-trained until the last choice.
        halved = [] if self.study.spec.probe.halving is None else [model for model in planned if self._may_stop(model)]
        half = sum(self.size(model).bytes.trained for model in halved) or max(trained, default=0)
        return sum(trained) + RESUMED * (half + max(trained, default=0)) + FLOAT32 * max(exported, default=0)

    def _may_stop(self, planned: Planned) -> bool:
        """Tells whether a model is a variant that halving may stop: no twin, and neither depth 0 nor the full model."""
        stopped = candidates(self.study)
        folders = {
            self.study.variant_folder(selection, seed) for selection in stopped for seed in self.study.spec.probe.seeds
        }
        return not folders.isdisjoint(planned.folders)

    def _distilled_need(self, planned: Planned, plain: Need) -> Need:
        """Adds the teacher's cached states, held twice for a moment, while the teacher is still in memory."""
        teacher = self._line(self.study.recipe, planned.training).at(self.study.n_layers).teacher_bytes
        first = self.size(planned).bytes.weights + self.sizes.at(None).bytes.weights + teacher
        cached = self._cached(planned)
        if available_device().type != "cuda":
            # Both peaks use the same memory, but at different times.
            return Need(max(first + 2 * cached, plain.device + cached), plain.host)
        return Need(max(first, plain.device), plain.host + 2 * cached)

    def _cached(self, planned: Planned) -> int:
        """Returns the bytes of the teacher's block states at every supervised position."""
        assert planned.selection is not None
        width = self.sizes.full.backbone.config.hidden_size
        return self._examples(planned)[1] * self._blocks(planned.selection) * width * FLOAT32

    def _examples(self, planned: Planned) -> tuple[int, int]:
        """Returns the examples and targets of an epoch, counted once per training and length."""
        for training, max_len, counts in self._counted:
            if (training, max_len) == (planned.training, planned.max_len):
                return counts
        extra = 0 if planned.kind == "sasrec" else repeated_positions(self._recipe(planned))
        examples = train_batches(self.split, planned.max_len, planned.training, 0, extra).examples
        counts = len(examples), int(examples.supervised.sum())
        self._counted.append((planned.training, planned.max_len, counts))
        return counts

    @cached_property
    def _counted(self) -> list[tuple[TrainingOptions, int, tuple[int, int]]]:
        return []

    def _teaching_seconds(self, planned: Planned) -> float:
        teacher = self._line(self.study.recipe, planned.training).at(self.study.n_layers)
        return self.steps(planned) * teacher.teacher

    @property
    def _table(self) -> int:
        """Bytes of the study's own copy of the item table."""
        return (self.split.sequences.n_items + 1) * self._dim * FLOAT32

    def _blocks(self, selection: LayerSelection) -> int:
        return block_map(self.study.n_layers, selection.depth, self.study.spec.distill.blocks).blocks

    def _depth(self, planned: Planned) -> int:
        return self.study.n_layers if planned.selection is None else planned.selection.depth

    def _recipe(self, planned: Planned) -> RecipeOptions:
        return self.study.student_recipe if planned.kind == "distilled" else self.study.recipe

    def _sasrec(self) -> SASRec:
        return SASRec(self.split.sequences.n_items, self.study.spec.items.sasrec)

    @cached_property
    def _sasrec_cost(self) -> Cost:
        return measure_model(self._sasrec(), self.study.spec.items.training, self.study.ranking_on(self.split))

    @cached_property
    def _lines(self) -> list[tuple[RecipeOptions, TrainingOptions, CostLine]]:
        return []

    def _line(self, recipe: RecipeOptions, training: TrainingOptions) -> CostLine:
        """Returns the costs over depth of a recipe, measured once."""
        for known, trained, line in self._lines:
            if (known, trained) == (recipe, training):
                return line
        line = self._bench(recipe, training).line()
        self._lines.append((recipe, training, line))
        return line

    @cached_property
    def _extras(self) -> dict[LayerSelection, tuple[float, float]]:
        return {}

    def _distilling(self, planned: Planned) -> tuple[float, float]:
        """Returns seconds and bytes that distillation adds to a step, measured once."""
        assert planned.selection is not None
        if planned.selection not in self._extras:
            recipe, weights = self._recipe(planned), self.study.spec.distill.weights
            line, bench = self._line(recipe, planned.training), self._bench(recipe, planned.training)
            self._extras[planned.selection] = bench.distilling(line, weights, self._blocks(planned.selection))
        return self._extras[planned.selection]

    def _bench(self, recipe: RecipeOptions, training: TrainingOptions) -> Workbench:
        table = torch.randn(self.split.sequences.n_items + 1, self._dim)
        return Workbench(recipe, training, self.study.ranking_on(self.split), table, self.study.n_layers)

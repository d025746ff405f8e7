"""What a study's models cost: measured on two shallow models with random weights, extrapolated to any depth.

Time and memory of a backbone grow linearly with its depth, and neither depends on the values of the weights. So a few
steps and rankings of two shallow models tell what any depth costs, and no checkpoint is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import PARTS, Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.distillation.mapping import BlockMap
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import TeacherCache
from layerprobe.evaluation.ranking import Ranking
from layerprobe.evaluation.ranks import Scorer, rank_targets
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.probe_heads import HeadFit, own_heads
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.losses import LossOptions, next_item_objective_with
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import ModelScorer, SequenceModel
from layerprobe.training.engine import Engine
from layerprobe.training.measure import measure_step, model_bytes, peak_bytes, step_positions
from layerprobe.training.options import TrainingOptions, train_batches

RANKED_BATCHES = 2
CACHED_STATES = 4096


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        step: seconds of a training step.
        backward: peak bytes of forward and backward pass, gradients included.
        update: bytes that the optimizer step takes beyond the gradients.
        valid: seconds of ranking the validation targets, as after every epoch.
        final: seconds of ranking validation and test targets in all protocols.
        rank: bytes that ranking takes beyond the weights.
        exits: seconds of ranking all exits.
        teacher: seconds of the frozen teacher's pass over the examples of one step of its student.
        teacher_bytes: bytes of that pass beyond the weights.
        heads: seconds of fitting the heads of all exits on the examples of one step.
        heads_bytes: bytes of that beyond the weights.
    """

    step: float
    backward: float
    update: float
    valid: float
    final: float
    rank: float
    exits: float = 0.0
    teacher: float = 0.0
    teacher_bytes: float = 0.0
    heads: float = 0.0
    heads_bytes: float = 0.0


@dataclass(frozen=True)
class CostLine:
    """Costs of two depths and the straight line through them.

    Attributes:
        depths: the two that were measured, ascending.
        costs: theirs.
        gradients: bytes of the gradients at the lower of them.
    """

    depths: tuple[int, int]
    costs: tuple[Cost, Cost]
    gradients: int

    def at(self, depth: int) -> Cost:
        """Returns the costs of a depth on the line; a cost never falls with depth and is never below 0."""
        (low, high), (first, second) = self.depths, self.costs
        costs = {}
        for entry in fields(Cost):
            start, end = getattr(first, entry.name), getattr(second, entry.name)
            slope = max(0.0, (end - start) / (high - low))
            costs[entry.name] = max(0.0, start + slope * (depth - low))
        return Cost(**costs)

    def backward(self, depth: int, gradients: int) -> float:
        """Returns the peak bytes of forward and backward pass at a depth whose gradients take `gradients` bytes.

        At the start of the backward pass all activations are in memory, at its end all gradients are. Which of the two
        is the peak may change with depth, so the line alone can be too low.
        """
        return max(self.at(depth).backward, gradients + max(0.0, self.costs[0].backward - self.gradients))


def shallow_depths(n_layers: int) -> tuple[int, int]:
    """Returns the two depths that are measured for a teacher of `n_layers`."""
    return (1, min(3, n_layers)) if n_layers > 1 else (0, 1)


def weightless(recipe: RecipeOptions, depth: int | None = None) -> RecipeOptions:
    """Returns the recipe with random weights in place of a checkpoint's; one given by its shape gets `depth` layers.

    Random weights are not quantized. They are in bfloat16 instead, which takes about as long.
    """
    options = recipe.backbone
    if options.checkpoint is None:
        made = options if depth is None else replace(options, layers=max(depth, 1), keep=None)
    else:
        dtype = options.dtype if options.quantize is None else "bfloat16"
        made = replace(options, init="random", quantize=None, dtype=dtype)
    return replace(recipe, backbone=made)


def measure_model(model: SequenceModel, training: TrainingOptions, ranking: Ranking) -> Cost:
    """Measures plain training and ranking of a model; with a backbone also its exits and its pass as a teacher."""
    batches = train_batches(ranking.split, model.max_len, training, 0, model.extra_positions)
    step = measure_step(Engine(model, next_item_objective_with(training.loss), training), batches)
    model.eval()
    few = some_users(ranking.split, RANKED_BATCHES * ranking.batch_size)
    valid, test = (len(ranking.split.queries(part)) / len(few.queries(part)) for part in PARTS)
    share = max(valid, test)
    shown = replace(ranking, split=few)
    rank = peak_bytes(lambda: shown.ndcg_valid(model), model.device)
    cost = Cost(
        step=step.seconds,
        backward=step.backward,
        update=step.update,
        valid=valid * _seconds(lambda: shown.ndcg_valid(model), model.device),
        final=share * _seconds(lambda: _rank(ModelScorer(model), shown), model.device),
        rank=rank,
    )
    if not isinstance(model, Recommender):
        return cost
    return _with_heads(_with_teaching(cost, model, batches, shown, share), model, batches, training.loss)


@dataclass(frozen=True, eq=False)
class Workbench:
    """What is needed to measure recommenders of a study.

    Attributes:
        recipe: what they are built from.
        training: how they are trained.
        ranking: the data, and how models are ranked.
        item_table: any vectors of the right width.
        n_layers: depth of the teacher.
    """

    recipe: RecipeOptions
    training: TrainingOptions
    ranking: Ranking
    item_table: torch.Tensor
    n_layers: int

    def line(self) -> CostLine:
        """Measures recommenders of two shallow depths."""
        depths, costs, gradients = shallow_depths(self.n_layers), [], []
        for depth in depths:
            model = self._shallow(depth)
            gradients.append(model_bytes(model).trained)
            costs.append(measure_model(model, self.training, self.ranking))
        return CostLine(depths, (costs[0], costs[1]), gradients[0])

    def distilling(self, line: CostLine, weights: DistillationWeights, blocks: int) -> tuple[float, float]:
        """Returns the seconds and bytes by which a student's step exceeds that of a plain model of the same depth.

        Args:
            line: plain costs of this workbench.
            weights: of the distillation terms.
            blocks: aligned blocks.
        """
        depth, split = line.depths[1], self.ranking.split
        student = StudentInTraining(self._shallow(depth), blocks, 0)
        batches = train_batches(split, student.max_len, self.training, 0, student.extra_positions)
        states = torch.randn(CACHED_STATES, blocks, student.student.head.in_features)
        cache = TeacherCache(states, torch.arange(len(split.sequences.items)) % CACHED_STATES)
        ends = (depth,) * blocks  # which states are compared costs the same
        objective = BlockDistillation(weights, BlockMap(ends, ends), cache, self.training.loss)
        step, plain = measure_step(Engine(student, objective, self.training), batches), line.costs[1]
        return max(0.0, step.seconds - plain.step), max(0.0, step.backward - plain.backward)

    def _shallow(self, depth: int) -> Recommender:
        recipe = weightless(self.recipe, depth)
        return build_recommender(recipe, self.item_table, f"first:{depth}", 0)


def some_users(split: Split, n_users: int) -> Split:
    """Returns the sequences of about `n_users` users of each part, taken at even distances."""
    users = [split.users(part) for part in PARTS]
    rows = np.unique(np.concatenate([_spread(of_part, n_users) for of_part in users]))
    sequences = split.sequences
    places = np.flatnonzero(np.isin(np.repeat(np.arange(sequences.n_users), sequences.lengths), rows))
    offsets = np.concatenate([[0], np.cumsum(sequences.lengths[rows])])
    few = Sequences(sequences.items[places], offsets, sequences.n_items)
    return Split(few, times=None if split.times is None else split.times[places], cuts=split.cuts)


def _spread(users: np.ndarray, n_users: int) -> np.ndarray:
    return users[np.linspace(0, len(users) - 1, min(n_users, len(users))).astype(np.int64)]


def _with_teaching(cost: Cost, model: Recommender, batches: TrainBatches, shown: Ranking, share: float) -> Cost:
    """Adds the two uses of a trained teacher: ranking its exits, and giving its states to a student."""
    batches = replace(batches, sampler=None)
    plan = batches.plan(0)
    widest = max(plan, key=lambda chosen: step_positions(batches, chosen))

    def teach(chosen: np.ndarray) -> None:
        with torch.no_grad():
            for portion in batches.portions(chosen):
                model.hidden(portion.batch.to(model.device))

    peak = peak_bytes(lambda: teach(widest), model.device)
    return replace(
        cost,
        exits=share * _seconds(lambda: _rank(ExitScorer(model, own_heads(model)), shown), model.device),
        teacher=_seconds(lambda: teach(plan[len(plan) // 2]), model.device),
        teacher_bytes=peak,
    )


def _with_heads(cost: Cost, model: Recommender, batches: TrainBatches, loss: LossOptions) -> Cost:
    """Adds what fitting the heads of all exits takes."""
    plan = batches.plan(0)
    widest = max(plan, key=lambda chosen: step_positions(batches, chosen))
    fit = HeadFit(model, 1.0, len(plan), loss)

    def take(chosen: np.ndarray) -> None:
        fit.step(batches.portions(chosen))

    peak = peak_bytes(lambda: take(widest), model.device)
    return replace(cost, heads=_seconds(lambda: take(plan[len(plan) // 2]), model.device), heads_bytes=peak)


def _rank(scorer: Scorer, ranking: Ranking) -> None:
    rank_targets(scorer, ranking.split, PARTS, ranking.protocols, ranking.batch_size)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Times `work` once; its caller has run the model before."""
    started = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started

"""`fit`: trains one model on a split. Studies train by the same code, in folders of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from layerprobe.arguments import require_kind, require_whole, writable_folder
from layerprobe.data.prepare import split_hash
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.evaluation.ranking import Ranking, require_same_items
from layerprobe.evaluation.ranks import Protocols
from layerprobe.recommender.losses import next_item_objective_with
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training.engine import Objective, available_device
from layerprobe.training.loop import FitResult, Trainer
from layerprobe.training.options import TrainingOptions, train_batches


def fit(
    model: SequenceModel,
    split: Split,
    options: TrainingOptions | None = None,
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    remove_history: bool = True,
) -> FitResult:
    """Trains a model in place on next items; ends with its best parameters by validation NDCG@10, in evaluation mode.

    The same model, split, options and seed give the same parameters on the same machine.

    Args:
        model: a `Recommender` or `SASRec`.
        split: the log; validation targets pick the epoch, test targets are not looked at.
        options: rates, epochs, loss.
        seed: seed of the order of examples and of dropout.
        folder: where `checkpoint/` and `log.jsonl` are kept, so that a training that was cut off is resumed; None keeps
            nothing on disk.
        remove_history: whether items a user has met are no candidates when validation users are ranked.

    Returns:
        The best epoch, its validation NDCG@10, epochs, steps and seconds.

    Raises:
        InputError: an argument is of a wrong kind, an option does not fit the data or the model, or the folder holds
            another training.
        TrainingDiverged: a loss or gradient became NaN or infinite.
    """
    options = TrainingOptions() if options is None else options
    require_kind("model", model, SequenceModel, instead="build one with build_recommender or SASRec")
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    require_kind("options", options, TrainingOptions)
    require_whole("seed", seed, 0)
    require_same_items(model, split)
    plan = FitPlan(seed, None if folder is None else writable_folder("folder", folder), remove_history)
    return fit_by(model, split, options, plan)


@dataclass(frozen=True)
class FitPlan:
    """How a training differs from the plain one.

    Attributes:
        seed: of the order of examples and of dropout.
        folder: where checkpoints are kept; None keeps nothing.
        remove_history: whether items a user has met are no candidates when validation users are ranked.
        make_objective: makes the loss terms from the training batches; None is plain next-item training.
        spec: what the result depends on besides.
        label: what progress lines call the training.
    """

    seed: int = 0
    folder: Path | None = None
    remove_history: bool = True
    make_objective: Callable[[TrainBatches], Objective] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None


def fit_by(model: SequenceModel, split: Split, options: TrainingOptions, plan: FitPlan) -> FitResult:
    """Does what `fit` does, with any objective; arguments are not checked."""
    ranking = Ranking(split, Protocols(sampled=None, remove_history=plan.remove_history), [10], 256)
    batches = train_batches(split, model.max_len, options, plan.seed, model.extra_positions)
    make = plan.make_objective
    model.to(available_device())
    with TemporaryDirectory(prefix="layerprobe-fit-") as temporary:
        return Trainer(
            model,
            batches,
            options,
            ranking.ndcg_valid,
            plan.folder or Path(temporary),
            objective=next_item_objective_with(options.loss) if make is None else make(batches),
            label=plan.label or model_label(model),
            spec={**described(model, split, options, plan.seed), **plan.spec},
        ).run()


def model_label(model: SequenceModel) -> str:
    """Returns what progress lines call a model."""
    if not isinstance(model, Recommender):
        return type(model).__name__
    return f"recommender of {model.n_layers} layer{'s' if model.n_layers != 1 else ''}"


def described(model: SequenceModel, split: Split, options: TrainingOptions, seed: int) -> dict[str, Any]:
    """Returns what a training in a folder of its own is known by: a half-done one of something else is refused."""
    shapes = {name: list(value.shape) for name, value in model.named_parameters() if value.requires_grad}
    return {
        "model": type(model).__name__,
        "parameters": shapes,
        "data": split_hash(split),
        "training": _plain(asdict(options)),
        "seed": seed,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value

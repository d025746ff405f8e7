"""Layerprobe's SASRec: the recipe of the data set's study specification, in the shape of this comparison."""

from __future__ import annotations

from pathlib import Path

import torch
from _runner import Curve, answer_rounds, do_job, ndcg

from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import ModelScorer, SequenceModel
from layerprobe.training.loop import Trainer
from layerprobe.training.options import TrainingOptions


def build(split: Split, job: dict) -> SASRec:
    """Returns an untrained model."""
    torch.manual_seed(job["seed"])
    return SASRec(split.sequences.n_items, SASRecOptions(**job["sasrec"]))


def train(split: Split, job: dict) -> None:
    """Trains with the project's own loop and saves the curve."""
    model, options = build(split, job), TrainingOptions(**job["training"])
    curve = Curve(split, job)

    def validate(trained: SequenceModel) -> float:
        trained.eval()
        if not curve.started:  # the loop asks once before the first step
            curve.start()
            return ndcg(ModelScorer(trained), split, "valid")
        curve.epoch_done(lambda _: ModelScorer(trained))  # the recipe, not this, says when to stop
        return curve.epochs[-1]["valid"]

    batches = TrainBatches(split, model.max_len, options.batch_size, options.supervision, job["seed"])
    Trainer(model, batches, options, validate, Path(job["folder"]) / "model").run()
    curve.save(finished=True)


def rank(split: Split, job: dict) -> None:
    """Answers rounds of ranking the test targets."""
    scorer = ModelScorer(build(split, job).eval())

    def full(sampled: int | None, remove_history: bool = True) -> float:
        protocols = Protocols(sampled=sampled, remove_history=remove_history)
        ranks = rank_targets(scorer, split, ["test"], protocols)["model"]
        return float(metric_values(ranks[ranks["protocol"] == "full"], "ndcg", 10).mean())

    answer_rounds(
        {
            "full": lambda: full(None),
            "full, history kept": lambda: full(None, remove_history=False),
            f"full and sampled-{job['sampled']}": lambda: full(job["sampled"]),
        }
    )


def main() -> None:
    """Does the job."""
    do_job({"train": train, "rank": rank})


if __name__ == "__main__":
    main()

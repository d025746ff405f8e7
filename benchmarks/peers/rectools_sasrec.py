"""RecTools' SASRec, with its defaults (softmax loss, batches of 128, dropout 0.2, Adam at 1e-3) beyond the shape."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from _runner import Curve, Vectors, answer_rounds, do_job, ndcg
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG
from rectools.models import SASRecModel

from layerprobe.data.splits import Part, Split


def log(split: Split, ends: np.ndarray) -> pd.DataFrame:
    """Returns the interactions of each user up to `ends`; the position stands for the time."""
    sequences = split.sequences
    user = np.repeat(np.arange(sequences.n_users), sequences.lengths)
    place = np.arange(len(sequences.items))
    frame = pd.DataFrame({Columns.User: user, Columns.Item: sequences.items, Columns.Weight: 1.0})
    frame[Columns.Datetime] = pd.to_datetime(place - sequences.offsets[user], unit="D")
    return frame[place < ends[user]].reset_index(drop=True)


def histories(split: Split, part: Part) -> Dataset:
    """Returns what is known of each user before the target of `part`."""
    ends = split.sequences.offsets[1:].copy()
    ends[split.evaluated] = split.queries(part).ends
    return Dataset.construct(log(split, ends))


def build(job: dict, **trainer_options: Any) -> SASRecModel:
    """Returns an untrained model of the shape asked for."""
    seed_everything(job["seed"])
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = functools.partial(
        Trainer, enable_checkpointing=False, accelerator="cpu", devices=1, **quiet, **trainer_options
    )
    shape = {"n_factors": job["dim"], "n_blocks": job["blocks"], "n_heads": job["heads"]}
    return SASRecModel(**shape, session_max_len=job["max_len"], get_trainer_func=lambda: trainer())


class Watch(Callback):
    """Keeps the curve; RecTools copies its trainer, so the copy must be this very object."""

    def __init__(self, split: Split, curve: Curve) -> None:
        self.split, self.curve = split, curve
        self.data = {part: histories(split, part) for part in ("valid", "test")}
        self.loaders: dict[str, Any] = {}

    def __deepcopy__(self, memo: dict) -> Watch:
        return self

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Starts the clock."""
        self.curve.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Ranks, with the clock stopped."""
        trainer.should_stop = self.curve.epoch_done(functools.partial(self.scorer, pl_module))
        pl_module.train()

    def scorer(self, module: Any, part: Part) -> Vectors:
        """Returns the model's vectors for the histories of `part`."""
        preparator = module.data_preparator
        if part not in self.loaders:
            users = self.data[part].user_id_map.external_ids
            data = preparator.transform_dataset_u2i(self.data[part], users)
            loader = preparator.get_dataloader_recommend(data, 256)
            self.loaders[part] = loader, torch.from_numpy(data.user_id_map.external_ids.astype(np.int64))
        loader, rows = self.loaders[part]
        found, vectors = module._get_user_item_embeddings(loader, "cpu")
        users = torch.zeros(self.split.sequences.n_users, found.shape[1])
        users[rows] = found
        index = torch.from_numpy(preparator.get_known_item_ids().astype(np.int64))
        items = torch.zeros(self.split.sequences.n_items + 1, found.shape[1])
        items[index] = vectors[preparator.n_item_extra_tokens :].detach()
        known = torch.zeros(len(items), dtype=torch.bool)
        known[index] = True
        return Vectors(self.split, users, items, known)


def own_ndcg(model: SASRecModel, split: Split, data: Dataset) -> float:
    """Returns NDCG@10 of the test targets the way RecTools' users get it: recommend, then the metric."""
    found = model.recommend(split.evaluated, data, k=10, filter_viewed=True, on_unsupported_targets="ignore")
    queries = split.queries("test")
    truth = pd.DataFrame({Columns.User: queries.users, Columns.Item: queries.targets})
    return float(NDCG(k=10, divide_by_achievable=True).calc(found, truth))


def train(split: Split, job: dict) -> None:
    """Trains until the budget is spent and saves the curve."""
    curve = Curve(split, job)
    watch = Watch(split, curve)
    model = build(job, max_epochs=10_000, callbacks=[watch])
    model.fit(Dataset.construct(log(split, split.train_ends)))
    theirs = own_ndcg(model, split, watch.data["test"])
    ours = ndcg(watch.scorer(model.lightning_model, "test"), split, "test")
    curve.save(finished=True, own_metric=theirs, same_by_ours=ours)


def rank(split: Split, job: dict) -> None:
    """Answers rounds of ranking the test targets."""
    model, data = build(job, max_epochs=1, limit_train_batches=1), histories(split, "test")
    model.fit(Dataset.construct(log(split, split.train_ends)))  # one batch: RecTools ranks fitted models alone
    answer_rounds({"own": lambda: own_ndcg(model, split, data)})


def main() -> None:
    """Does the job."""
    warnings.filterwarnings("ignore")
    do_job({"train": train, "rank": rank})


if __name__ == "__main__":
    main()

"""RecBole's SASRec, with its defaults (CE over all items, one example per prefix, batches of 2,048, dropout 0.5)."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from _runner import Curve, Vectors, answer_rounds, do_job, ndcg
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

from layerprobe.data.splits import Part, Split

NAME = "interactions"


class Budget(Exception):
    """The budget is spent."""


def write_atomic(split: Split, folder: Path) -> None:
    """Writes the log in RecBole's format; the position stands for the time."""
    sequences = split.sequences
    user = np.repeat(np.arange(sequences.n_users), sequences.lengths)
    rows = np.stack([user, sequences.items, np.arange(len(user)) - sequences.offsets[user]], axis=1)
    (folder / NAME).mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(folder / NAME / f"{NAME}.inter", rows, fmt="%d", delimiter="\t", header=header, comments="")


class Model:
    """A prepared data set, its loaders, the model and its trainer."""

    def __init__(self, split: Split, job: dict) -> None:
        self.split = split
        os.chdir(job["folder"])  # RecBole writes logs and an empty checkpoint folder where it stands
        write_atomic(split, Path(job["folder"]))
        self.config = Config(model="SASRec", dataset=NAME, config_dict=settings(job))
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.dataset = create_dataset(self.config)
        self.train_data, valid, test = data_preparation(self.config, self.dataset)
        self.loaders = {"valid": valid, "test": test}
        self.model = SASRec(self.config, self.train_data.dataset)
        tokens = self.dataset.id2token("item_id", np.arange(1, self.dataset.item_num))
        self.index = torch.from_numpy(tokens.astype(np.int64))

    @torch.no_grad()
    def scorer(self, part: Part) -> Vectors:
        """Returns the model's vectors for the histories of `part`."""
        self.model.eval()
        sequences, dim = self.split.sequences, self.model.hidden_size
        users, items = torch.zeros(sequences.n_users, dim), torch.zeros(sequences.n_items + 1, dim)
        for interaction, *_ in self.loaders[part]:
            rows = self.dataset.id2token("user_id", interaction["user_id"].numpy()).astype(np.int64)
            users[torch.from_numpy(rows)] = self.model(interaction["item_id_list"], interaction["item_length"])
        items[self.index] = self.model.item_embedding.weight[1:].detach()
        known = torch.zeros(len(items), dtype=torch.bool)
        known[self.index] = True
        return Vectors(self.split, users, items, known)


def settings(job: dict) -> dict:
    """Returns what differs from RecBole's defaults: the shape, the files, the split, and which metric is asked for."""
    return {
        "n_layers": job["blocks"],
        "n_heads": job["heads"],
        "hidden_size": job["dim"],
        "MAX_ITEM_LIST_LENGTH": job["max_len"],
        "data_path": job["folder"],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 8,
        "epochs": 10_000,
        "eval_step": 0,
        "use_gpu": False,
        "show_progress": False,
    }


def train(split: Split, job: dict) -> None:
    """Trains until the budget is spent and saves the curve."""
    held = Model(split, job)
    curve = Curve(split, job)

    class Watched(Trainer):
        def _train_epoch(self, *args, **keywords):  # noqa: ANN002, ANN003, ANN202 - RecBole's signature
            loss = super()._train_epoch(*args, **keywords)
            if curve.epoch_done(held.scorer):
                raise Budget
            return loss

    trainer = Watched(held.config, held.model)
    curve.start()
    with contextlib.suppress(Budget):
        trainer.fit(held.train_data, verbose=False, saved=False)
    theirs = trainer.evaluate(held.loaders["test"], load_best_model=False)["ndcg@10"]
    ours = ndcg(held.scorer("test"), split, "test", remove_history=False)  # RecBole keeps the history in
    curve.save(finished=True, own_metric=float(theirs), same_by_ours=ours)


def rank(split: Split, job: dict) -> None:
    """Answers rounds of ranking the test targets."""
    held = Model(split, job)
    trainer = Trainer(held.config, held.model)
    trainer.eval_collector.data_collect(held.train_data)
    answer_rounds({"own": lambda: float(trainer.evaluate(held.loaders["test"], load_best_model=False)["ndcg@10"])})


def main() -> None:
    """Does the job."""
    warnings.filterwarnings("ignore")
    do_job({"train": train, "rank": rank})


if __name__ == "__main__":
    main()

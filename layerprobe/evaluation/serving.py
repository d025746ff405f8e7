"""Time of answering requests: histories in, the best items of the whole catalogue out, as a served model does it.

Takes a model and a split's test users, hands on milliseconds per call. A call makes the batch, reads the users, scores
the catalogue, leaves out items of the history where the study does so, and finds the best ten.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from layerprobe.data.batches import history_batch
from layerprobe.data.splits import Split
from layerprobe.recommender.sequence_model import SequenceModel

BEST = 10
"""Items that a call returns per user."""
WARM_UP = 2
Request = Sequence[np.ndarray]
"""Histories of users who are answered together."""


def make_requests(split: Split, n_requests: int, n_users: int, seed: int = 0) -> list[Request]:
    """Draws requests of `n_users` test users each, spread over all users, in a seeded order.

    Where there are fewer users than needed, users are repeated.
    """
    queries = split.queries("test")
    n_drawn = n_requests * n_users
    spread = np.arange(n_drawn) * len(queries) // n_drawn  # evenly over all users
    rows = np.random.default_rng(seed).permutation(spread).reshape(n_requests, n_users)
    items = split.sequences.items
    return [[items[queries.starts[row] : queries.ends[row]] for row in users] for users in rows]


def answer(model: SequenceModel, request: Request, remove_history: bool) -> torch.Tensor:
    """Returns the catalogue indices of the best items per user, best first, int64 [users, 10] on the CPU.

    The model must be in evaluation mode. A catalogue of fewer than ten items is returned whole.
    """
    batch = history_batch(list(request), model.max_len)
    with torch.no_grad():
        scores = model.read(batch.to(model.device)) @ model.item_vectors().T  # [users, n_items + 1]
        scores[:, 0] = -torch.inf  # padding is never recommended
        if remove_history:
            users = np.repeat(np.arange(len(request)), [len(history) for history in request])
            met = np.concatenate(request)
            scores[torch.from_numpy(users).to(model.device), torch.from_numpy(met).to(model.device)] = -torch.inf
        return scores.topk(min(BEST, scores.shape[1] - 1), dim=1).indices.cpu()


def time_requests(model: SequenceModel, requests: Sequence[Request], remove_history: bool) -> np.ndarray:
    """Returns the milliseconds of each request, shape (n_requests,); a few untimed ones are answered first.

    On a GPU a call ends when its answer is in the host's memory.
    """
    for request in requests[:WARM_UP]:  # the first calls allocate memory and choose kernels
        answer(model, request, remove_history)
    milliseconds = []
    for request in requests:
        if model.device.type == "cuda":  # work that is still queued must not count
            torch.cuda.synchronize(model.device)
        started = time.perf_counter()
        answer(model, request, remove_history)
        milliseconds.append(1000 * (time.perf_counter() - started))
    return np.array(milliseconds)

"""Ranks tables with a known HR@1, and models' metrics per user, for tests of what compares models by them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import parse_selection
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser
from layerprobe.probing.verdicts.evidence import Evidence

HR_1 = DecisionOptions(metric="hr", k=1, n_boot=500)


def ranks_table(n_higher: np.ndarray) -> pd.DataFrame:
    """Test targets ranked in the whole catalogue, and rows of another split and protocol that must not count."""
    n_users = len(n_higher)
    table = pd.DataFrame(
        {
            columns.USER: np.arange(n_users) * 2,
            columns.TARGET: np.arange(n_users) % 7 + 1,
            columns.SPLIT: "test",
            columns.PROTOCOL: "full",
            columns.N_HIGHER: n_higher,
            columns.N_TIES: 0,
        }
    )
    noise = [table.assign(split="valid", n_higher=0), table.assign(protocol="sampled-9", n_higher=0)]
    return pd.concat([*noise, table], ignore_index=True)


def hits(share: float, n_users: int = 10_000, flipped: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Ranks with HR@1 = share on the first users; `flipped` of all users change between hit and miss in pairs."""
    hit = np.arange(n_users) < share * n_users
    if flipped:
        generator = np.random.default_rng(seed)
        count = int(flipped * n_users / 2)
        for group in (np.flatnonzero(hit), np.flatnonzero(~hit)):
            chosen = generator.choice(group, count, replace=False)
            hit[chosen] = ~hit[chosen]
    return ranks_table(np.where(hit, 0, 50))


def twice(share: float, n_users: int = 10_000, flipped: float = 0.0, seed: int = 0) -> list[pd.DataFrame]:
    """The same ranks from two training seeds: a study that is not exploratory, and whose training has no noise."""
    return [hits(share, n_users, flipped, seed)] * 2


def evidence_of(metric: np.ndarray, options: DecisionOptions) -> Evidence:
    """Returns the models of a decision from values per user, without the detour of tables.

    Args:
        metric: [models, seeds, users]: depths 0, 1, ..., the full model last.
        options: of the decision.
    """
    users, deepest = np.arange(metric.shape[-1]), len(metric) - 1
    selections = [parse_selection(f"first:{k}", deepest) for k in range(deepest + 1)]
    *smaller, full = (PerUser(each.text, users, users, metric[each.depth]) for each in selections)
    return Evidence(selections[-1], full, dict(zip(selections, smaller, strict=False)), {}, options, options.alpha)

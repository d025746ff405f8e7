"""The YAML of a tiny study that runs from end to end in seconds."""

from __future__ import annotations

from pathlib import Path

import yaml

TRAINING = {"epochs": 1, "batch_size": 32, "learning_rate": 0.003, "warmup_steps": 2, "patience": None}
TINY = {
    "name": "tiny",
    "data": {"source": "synthetic", "synthetic": {"n_users": 80}},
    "items": {"sasrec": {"dim": 8, "blocks": 1, "heads": 1, "dropout": 0.1, "max_len": 16}, "training": TRAINING},
    "backbone": {"layers": 4, "hidden_size": 8, "intermediate_size": 12, "heads": 2, "max_positions": 64},
    "recommender": {"max_len": 16, "input_dropout": 0.1},
    "training": TRAINING,
    "evaluation": {"sampled": 20, "remove_history": False, "ks": [1, 10], "n_boot": 100},
    "probe": {"depths": [0, 2]},
    "similarity": {"rows": 40, "n_boot": 100},
    "cost": {"calls": 20},
    "distill": {"depth": 2},
}


def write_study(folder: Path, **changes: object) -> Path:
    """Writes the tiny study's YAML with some sections replaced and returns its path.

    Seed 0 alone is trained where `probe` names no seeds; `seeds: None` leaves the key out.
    """
    told = {**TINY, **changes}
    probe = {"seeds": [0], **told["probe"]}
    told["probe"] = {name: value for name, value in probe.items() if (name, value) != ("seeds", None)}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(told))
    return path

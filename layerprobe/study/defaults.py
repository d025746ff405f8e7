"""Defaults of a study's options, so that an option added in a later version leaves older folders valid.

Two rules, both for the same reason: an older version behaved as a newer one does with the new option at its default.

1. Where a folder holds its own specification (`study.yaml`, the `spec.yaml` of a model, a half-trained model), the
   plain values are compared. A key that the older specification lacks counts as its default.
2. Where a stage keeps only a hash (data, exits, similarity, costs), the options of the first release (`HASHED`) are
   hashed in any case, and a later option only where it differs from its default. So the hash of the first release
   stays valid, and an option added later changes a hash only once it is used.

Both rules need one thing of a later option: its default must always mean what the versions before it did.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Literal

from layerprobe.study.spec import StudySpec, to_plain

Section = Literal["data", "training", "probe.heads", "similarity", "cost"]

HASHED: dict[Section, frozenset[str]] = {
    "data": frozenset({
        "source", "path", "seed", "read.user_column", "read.item_column", "read.timestamp_column", "read.rating_column",
        "read.title_column", "read.items_path", "read.delimiter", "read.declared_ordered", "preprocess.min_rating",
        "preprocess.filter", "preprocess.min_user", "preprocess.min_item", "preprocess.drop_repeats", "order.by",
        "order.ties", "order.salt", "synthetic.n_users", "synthetic.min_length", "synthetic.max_length",
        "synthetic.share_markov", "synthetic.share_lagged", "synthetic.lag", "synthetic.share_induction",
        "synthetic.share_composed", "synthetic.look_ups", "synthetic.markov_items", "synthetic.lagged_items",
        "synthetic.induction_items", "synthetic.composed_items", "synthetic.private_min", "synthetic.private_max",
        "synthetic.noise", "synthetic.popularity_skew", "synthetic.seed",
    }),
    "training": frozenset({
        "epochs", "batch_size", "learning_rate", "warmup_steps", "schedule", "final_rate", "weight_decay", "betas",
        "max_grad_norm", "patience", "supervision", "loss.kind", "loss.negatives", "loss.sampling", "loss.calibration",
        "stride", "max_tokens", "compile",
    }),
    "probe.heads": frozenset({"epochs", "step_size", "least_steps"}),
    "similarity": frozenset({"rows", "measures", "positions", "greedy", "n_permutations", "n_boot", "seed"}),
    "cost": frozenset({"calls"}),
}  # fmt: skip
"""Options of the first release by section, hashed whatever their value. Never add a key here."""


def defaults_of(options: Any) -> dict[str, Any]:
    """Returns the default of every option of a dataclass as plain values.

    A section that is null by default but is given here, such as `distill.training`, has the defaults of its class.
    """
    sections = {entry.name: getattr(options, entry.name) for entry in fields(options)}
    given = {name: defaults_of(section) for name, section in sections.items() if is_dataclass(section)}
    return to_plain(type(options)()) | given


def model_defaults(spec: StudySpec) -> dict[str, Any]:
    """Returns the defaults of everything that the `spec.yaml` of a model may hold."""
    return {**defaults_of(spec), "sasrec": defaults_of(spec.items.sasrec)}


def hashed_options(section: Section, options: Any) -> dict[str, Any]:
    """Returns a section's options for a hash: those of the first release, and later ones that are not at their default.

    Args:
        section: name of the section in the study.
        options: its options.
    """
    return without_later_defaults(to_plain(options), defaults_of(options), HASHED[section])


def without_later_defaults(plain: dict[str, Any], defaults: dict[str, Any], first: frozenset[str]) -> dict[str, Any]:
    """Returns plain options without those that came after the first release and are at their default.

    Args:
        plain: the options.
        defaults: their defaults.
        first: dotted names of the options of the first release.

    >>> without_later_defaults({"a": 1, "b": 2, "c": 4}, {"a": 1, "b": 2, "c": 3}, frozenset({"a"}))
    {'a': 1, 'c': 4}
    """
    kept = {}
    for name, value in plain.items():
        below = frozenset(key.removeprefix(f"{name}.") for key in first if key.startswith(f"{name}."))
        if below:
            kept[name] = without_later_defaults(value, defaults[name], below)
        elif name in first or value != defaults[name]:
            kept[name] = value
    return kept

"""Backbones: built from a shape with seeded random weights, or read from a local folder or a hub id.

Takes options, hands on a Hugging Face model without LM head, with token embeddings frozen. Weights that are missing,
unexpected or of another shape are errors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModel, LlamaConfig, PretrainedConfig, PreTrainedModel

from layerprobe.backbone.architecture import ARCHITECTURES, architecture_named, layers_of
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import truncate
from layerprobe.errors import InputError

HEAD_WEIGHTS = ("lm_head.weight", "lm_head.bias")


@dataclass(frozen=True)
class BackboneOptions:
    """Which backbone, and how much of it is the teacher."""

    checkpoint: str | None = None
    """Local folder or hub id of a checkpoint; null builds the shape below with random weights."""
    revision: str | None = None
    """Revision of a hub checkpoint."""
    family: Literal["llama"] = "llama"
    """Family of a backbone built from the shape below."""
    layers: int = 4
    """Layers of a backbone built from a shape."""
    hidden_size: int = 64
    """Width."""
    intermediate_size: int = 172
    """Width inside the MLP."""
    heads: int = 4
    """Attention heads."""
    rope_theta: float = 10000.0
    """Base of the rotary positions."""
    attention_dropout: float = 0.0
    """Dropout on attention weights, in [0, 1)."""
    max_positions: int = 2048
    """Longest input in positions, prompt included."""
    init: Literal["pretrained", "random"] = "pretrained"
    """Weights of a checkpoint: its own, or seeded random ones in its shape (the control that shows what pretraining is
    worth). A backbone built from a shape is random anyway."""
    keep: str | None = None
    """Selection applied before anything else, such as `first:8`: the full-depth teacher is what it keeps."""
    init_seed: int = 0
    """Seed of random weights."""
    init_std: float = 0.02
    """Standard deviation of random weights."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden_size", "intermediate_size", "heads", "max_positions"):
            if getattr(self, name) < 1:
                raise InputError(f"backbone.{name} must be at least 1; got {getattr(self, name)}")
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise InputError(
                f"backbone.hidden_size must be an even multiple of heads; got {self.hidden_size} and {self.heads} heads"
            )
        if self.rope_theta <= 0:
            raise InputError(f"backbone.rope_theta must be above 0; got {self.rope_theta}")
        if self.init_seed < 0:
            raise InputError(f"backbone.init_seed must not be negative; got {self.init_seed}")
        self._refuse_unused()
        if not 0 < self.init_std < 1:
            raise InputError(f"backbone.init_std must lie in (0, 1); got {self.init_std}")
        if not 0 <= self.attention_dropout < 1:
            raise InputError(f"backbone.attention_dropout must lie in [0, 1); got {self.attention_dropout}")

    def _refuse_unused(self) -> None:
        """A checkpoint brings its own shape, and only a checkpoint has a revision."""
        if self.checkpoint is None:
            if self.revision is not None:
                raise InputError(f"backbone.revision needs backbone.checkpoint; got {self.revision} without one")
            if self.init != "pretrained":
                raise InputError("backbone.init needs backbone.checkpoint; a backbone built from a shape is random anyway")
            return
        own = {"checkpoint", "revision", "keep", "attention_dropout", "init"}
        if self.init == "random":
            own.add("init_seed")
        unused = [e.name for e in fields(self) if e.name not in own and getattr(self, e.name) != e.default]
        if unused:
            raise InputError(f"backbone.{unused[0]} has no use with backbone.checkpoint, which brings its own shape")


def load_backbone(options: BackboneOptions) -> PreTrainedModel:
    """Returns the full-depth backbone in float32, token embeddings frozen.

    Raises:
        InputError: the checkpoint is absent, unreadable, or its weights do not fit its config.
        UnsupportedArchitecture: its family is not in the table.
    """
    model = _from_shape(options) if options.checkpoint is None else _from_checkpoint(options)
    if options.keep is not None:
        model = truncate(model, parse_selection(options.keep, len(layers_of(model))))
    model.get_input_embeddings().requires_grad_(False)
    return model


def _from_shape(options: BackboneOptions) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=1,  # items enter as vectors; one row, never read, keeps stock loaders content
        hidden_size=options.hidden_size,
        intermediate_size=options.intermediate_size,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=options.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": options.rope_theta},
        attention_dropout=options.attention_dropout,
        initializer_range=options.init_std,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.init_seed)
        return AutoModel.from_config(config)


def _from_checkpoint(options: BackboneOptions) -> PreTrainedModel:
    where = str(options.checkpoint)
    config = _known_config(where, options.revision)
    config.attention_dropout = options.attention_dropout
    if options.init == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.init_seed)
            return AutoModel.from_config(config)
    return _read_weights(where, options.revision, config)


def read_stock_backbone(where: str) -> PreTrainedModel:
    """Reads a backbone folder as it is, weights checked against its config.

    Raises:
        InputError: the folder is absent, unreadable, or its weights do not fit its config.
    """
    config = _known_config(where, None)
    return _read_weights(where, None, config)


def _read_weights(where: str, revision: str | None, config: PretrainedConfig) -> PreTrainedModel:
    try:
        model, report = AutoModel.from_pretrained(
            where,
            revision=revision or "main",
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused, with the other misfits
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"backbone.checkpoint {where} cannot be read: {_first_line(error)}") from error
    _refuse_misfit(where, report)
    return model


def empty_backbone(where: str) -> PreTrainedModel:
    """Builds a checkpoint's model from its config alone, without memory for its weights: for counting.

    Raises:
        InputError: there is no readable config at `where`.
        UnsupportedArchitecture: its family is not in the table.
    """
    with torch.device("meta"):
        return AutoModel.from_config(_known_config(where, None))


def _known_config(where: str, revision: str | None) -> PretrainedConfig:
    """Reads a config and makes sure its family is known; the error shows the module tree of an unknown one."""
    config = _read_config(where, revision)
    if config.model_type not in ARCHITECTURES:
        with torch.device("meta"):
            architecture_named(config, AutoModel.from_config(config))
    return config


def _read_config(where: str, revision: str | None) -> PretrainedConfig:
    looks_local = where.startswith((".", "/", "~")) or Path(where).exists()
    if looks_local and not (Path(where) / "config.json").exists():
        raise InputError(f"backbone.checkpoint must be a folder with config.json and safetensors; none at {where}")
    try:
        return AutoConfig.from_pretrained(where, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise InputError(
            f"backbone.checkpoint {where} is neither a local folder nor reachable on the hub "
            f"({_first_line(error)}); give a folder, or log in and check the network"
        ) from error


def _refuse_misfit(where: str, report: dict[str, Any]) -> None:
    missing = sorted(report["missing_keys"])
    unexpected = sorted(key for key in report["unexpected_keys"] if key not in HEAD_WEIGHTS)
    shapes = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    for rule, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            raise InputError(
                f"the weights of {where} must fit its config.json; {len(names)} {rule}: {', '.join(names[:3])}; "
                "the depth or shape in config.json disagrees with the file"
            )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def count_layers(options: BackboneOptions) -> int:
    """Returns the depth `load_backbone` would give, from the config alone.

    Raises:
        InputError: the checkpoint's config is absent, or `keep` does not fit it.
        UnsupportedArchitecture: its family is not in the table.
    """
    if options.checkpoint is None:
        n_layers = options.layers
    else:
        config = _known_config(options.checkpoint, options.revision)
        n_layers = config.num_hidden_layers
    return n_layers if options.keep is None else len(parse_selection(options.keep, n_layers).layers)

"""Checkpoints in the stock format, on disk or on the hub: config and names first, weights of kept layers only.

Takes a folder or a hub id, hands on a config and, per weight of the cut model, where its bytes lie. Shards that hold no
kept layer are neither downloaded nor read. safetensors only: nothing that could run code is opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError, safe_open
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PretrainedConfig

from layerprobe.backbone.architecture import ARCHITECTURES, Architecture, architecture_named
from layerprobe.backbone.config_rules import NONSENSE, check_numbers, check_shape, drop_token_ids
from layerprobe.backbone.foreign import other_weights, refuse_pointer, refuse_wrapper, tied_head
from layerprobe.backbone.keys import in_layers, kept_names, layer_numbers
from layerprobe.backbone.quiet import quiet
from layerprobe.errors import InputError
from layerprobe.store.run_folder import hash_file

STALE_BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")
"""Constants that older versions of the library stored as weights; today's models compute them."""
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint is.

    Attributes:
        where: local folder or hub id.
        revision: branch, tag or commit on the hub; None is the main branch. A folder has none.
    """

    where: str
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether `where` names a folder; the hub is never asked for what looks like a path."""
        return self.where.startswith((".", "/", "~")) or Path(self.where).exists()

    @property
    def place(self) -> str:
        """`where` as other libraries take it: a folder with `~` expanded, or the hub id."""
        return str(Path(self.where).expanduser()) if self.is_local else self.where

    @quiet()
    def find(self, name: str) -> Path | None:
        """Returns the path of one of its files, downloaded if it has to be; None where it has no such file.

        Raises:
            InputError: the hub cannot be reached, or refuses the file.
        """
        if self.is_local:
            if self.revision is not None:
                raise InputError(f"backbone.revision is for hub checkpoints; {self.where} is a folder")
            path = Path(self.place) / name
            return path if path.is_file() else None
        try:
            return Path(hf_hub_download(self.where, name, revision=self.revision))
        except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
            if isinstance(error, EntryNotFoundError) and (
                self._is_cached or not isinstance(error, LocalEntryNotFoundError)
            ):
                return None
            raise InputError(hub_problem(self.where, self.revision, error)) from error

    @property
    def _is_cached(self) -> bool:
        """Whether its config is in the local cache: offline, a file that is not in it counts as absent."""
        return isinstance(try_to_load_from_cache(self.where, "config.json", revision=self.revision), str)

    @quiet()
    def config(self) -> PretrainedConfig:
        """Reads `config.json` and makes sure the family is supported.

        Raises:
            InputError: it does not exist, or cannot be read.
            UnsupportedArchitecture: the family is not in the table; the message shows its module tree.
        """
        path = self.find("config.json")
        if path is None:
            adapter = self.find("adapter_config.json") is not None
            extra = " (there is a LoRA adapter: merge it into its model first)" if adapter else ""
            raise InputError(
                f"backbone.checkpoint must be a folder or hub id with config.json and safetensors; none at {self.where}"
                f"{extra}"
            )
        refuse_pointer(path)
        check_numbers(self.where, path)
        try:
            config = AutoConfig.from_pretrained(path.parent, trust_remote_code=False)  # code of a hub repo is never run
        except (OSError, ValueError, KeyError, TypeError, StrictDataclassError, *NONSENSE) as error:
            raise InputError(f"{self.where}/config.json cannot be read: {first_line(error)}") from error
        drop_token_ids(config)
        if config.model_type not in ARCHITECTURES:  # built without memory only to show its module tree in the error
            architecture_named(config, _empty_model(config))
        architecture_named(config)
        check_shape(self.where, config)
        return config


def hub_problem(where: str, revision: str | None, error: Exception) -> str:
    """Returns one line that says why the hub did not give a checkpoint, and what to do."""
    head = f"backbone.checkpoint {where} is not a local folder, and the hub "
    if isinstance(error, GatedRepoError):
        return f"{head}asks for a licence: accept it on the model's page, then run `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"{head}has no such model, or it is private: check the name, or run `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"{head}has no revision {revision} of it: check backbone.revision"
    if isinstance(error, HFValidationError):
        return f"{head}takes ids of the form owner/name only: give an existing folder or such an id"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{head}cannot be reached (offline?) and it is not in the local cache: download it once, or give a folder"
        )
    return f"{head}answered: {first_line(error)}"


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text; for a refused config all of it, since the cause comes last."""
    if isinstance(error, StrictDataclassError):
        return " ".join(str(error).split())
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _empty_model(config: PretrainedConfig) -> torch.nn.Module | None:
    """Builds the module tree of a config without weights; None where the library has no bare model for it."""
    if type(config) not in MODEL_MAPPING:
        return None
    with torch.device("meta"):
        return AutoModel.from_config(config)


def kept_weights(checkpoint: Checkpoint, config: PretrainedConfig, layers: Sequence[int]) -> dict[str, Any]:
    """Returns the weights of the cut backbone by their new names, as slices that are read when they are used.

    Heads are left out. A config whose depth disagrees with the layers on disk, and shards that disagree with their
    index, are errors.

    Args:
        checkpoint: where the weights are.
        config: the config as stored, of the full depth.
        layers: layers to keep, 0-based, ascending.

    Raises:
        InputError: no safetensors, a missing shard or one of another checkpoint, no backbone in them, or another depth
            than the config's.
    """
    architecture = architecture_named(config)
    files = _weight_files(checkpoint)
    _check_depth(checkpoint.where, files, architecture, config.num_hidden_layers)
    tied = tied_head(files, config, architecture)
    left_out = architecture.dropped
    names = [name for name in files if not name.startswith(left_out) and not name.endswith(STALE_BUFFERS)]
    names += tied
    _refuse_twins(checkpoint.where, names, architecture)
    renamed = kept_names(names, architecture, layers)
    opened = {shard: _open_shard(checkpoint, shard, files) for shard in sorted({files[name] for name in renamed})}
    return {tied.get(old, new): opened[files[old]].get_slice(old) for old, new in renamed.items()}


def _refuse_twins(where: str, names: Sequence[str], architecture: Architecture) -> None:
    """Of two weights for one place, such as `model.layers.1.w` and `layers.1.w`, either could be loaded."""
    seen: dict[str, str] = {}
    for name in names:
        inside = in_layers(name, architecture)
        if inside is not None and seen.setdefault(inside, name) != name:
            raise InputError(f"{where} holds two weights for one place, {seen[inside]} and {name}; copy it again")


def fingerprint(checkpoint: Checkpoint, config: PretrainedConfig, layers: Sequence[int]) -> dict[str, str]:
    """Returns what identifies a checkpoint's content: its commit on the hub, or hashes of config and weight files.

    Weight files that hold none of the kept layers are left out.

    Raises:
        InputError: as `kept_weights`.
    """
    path = checkpoint.find("config.json")
    assert path is not None
    if not checkpoint.is_local:
        return {"commit": path.parent.name}  # the cache keeps each commit in a folder of that name
    architecture = architecture_named(config)
    files = _weight_files(checkpoint)
    shards = sorted({files[name] for name in kept_names(files, architecture, layers)})
    return {"config.json": hash_file(path)} | {shard: hash_file(_shard_path(checkpoint, shard)) for shard in shards}


def check_weights(checkpoint: Checkpoint, config: PretrainedConfig) -> None:
    """Checks that there are weights and that their names agree with the depth in the config.

    A hub checkpoint is checked only where an index lists the names; a single large file is not downloaded for this.

    Raises:
        InputError: they disagree, there are none, or they cannot be read.
    """
    if checkpoint.is_local or checkpoint.find(INDEX) is not None:
        files = _weight_files(checkpoint)
        _check_depth(checkpoint.where, files, architecture_named(config), config.num_hidden_layers)


def _weight_files(checkpoint: Checkpoint) -> dict[str, str]:
    """Returns the file of each weight, by the index or from the one file's header."""
    index = checkpoint.find(INDEX)
    if index is not None:
        refuse_pointer(index)
        damaged = f"{checkpoint.where}/{INDEX} must hold a weight_map of names to files; it is damaged: copy it again"
        try:
            files = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(damaged) from error
        if not all(isinstance(file, str) for file in files.values()):
            raise InputError(damaged)
        return files
    if checkpoint.find(SINGLE) is None:
        raise InputError(
            f"backbone.checkpoint must hold its weights as safetensors; {checkpoint.where} has neither {SINGLE} nor "
            f"{INDEX}{other_weights(checkpoint) or ': save it with model.save_pretrained, which writes them'}"
        )
    return dict.fromkeys(_open_file(checkpoint, SINGLE).keys(), SINGLE)


def _open_shard(checkpoint: Checkpoint, shard: str, files: dict[str, str]) -> Any:
    opened = _open_file(checkpoint, shard)
    differing = sorted(set(opened.keys()) ^ {name for name, file in files.items() if file == shard})
    if differing:
        raise InputError(
            f"the shards of {checkpoint.where} are mixed up: {shard} and {INDEX} disagree about {len(differing)} "
            f"weights, such as {differing[0]}; copy the checkpoint again"
        )
    return opened


def _shard_path(checkpoint: Checkpoint, name: str) -> Path:
    path = checkpoint.find(name)
    if path is None:
        raise InputError(f"the shard {name} of {checkpoint.where} is missing; copy the checkpoint again")
    return path


def _open_file(checkpoint: Checkpoint, name: str) -> Any:
    path = _shard_path(checkpoint, name)
    refuse_pointer(path)
    try:
        # Read, not mapped: weights that stayed views of the file would change if it was overwritten.
        return safe_open(path, framework="pt", backend="pread")  # pyright: ignore
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({first_line(error)}); copy it again") from error


def _check_depth(where: str, files: dict[str, str], architecture: Architecture, depth: int) -> None:
    refuse_wrapper(where, files)
    numbers = sorted(layer_numbers(files, architecture))
    if not numbers and depth:
        raise InputError(
            f"{where} holds no backbone of the family {architecture.model_type}: none of its {len(files)} weights is "
            f"named ...{architecture.layers}.0...; it begins with {', '.join(list(files)[:2]) or 'nothing'}"
        )
    if numbers != list(range(depth)):
        raise InputError(
            f"config.json of {where} says {depth} layers and its weights hold {len(numbers)} "
            f"(the last is layer {numbers[-1]}): num_hidden_layers and the file must agree; use the config that the "
            "weights were saved with, and backbone.keep to take fewer layers"
        )

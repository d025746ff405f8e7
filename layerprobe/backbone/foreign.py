"""Files that are no checkpoint in the stock format, and what to do with each: other formats, wrappers, pointers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import MODEL_MAPPING, AutoModel, PretrainedConfig

from layerprobe.backbone.architecture import Architecture
from layerprobe.backbone.keys import in_layers
from layerprobe.errors import InputError

if TYPE_CHECKING:
    from layerprobe.backbone.checkpoint import Checkpoint

POINTER = b"version https://git-lfs"
HEAD = "lm_head.weight"
STATES = ("training_args.bin", "optimizer.", "scheduler.", "rng_state", "scaler.", "trainer_state", "random_states")
"""Beginnings of files that trainers write beside the weights."""
RESAVE = "save it anew as safetensors (model.save_pretrained)"
ADVICE = {
    "adapter_model": "merge the adapter into its model first (merge_and_unload of PEFT), and save that",
    ".gguf": "give the checkpoint that it was made from",
    ".bin": f"{RESAVE}; pickles are never opened",
    ".pt": f"{RESAVE}; pickles are never opened",
    ".pth": f"{RESAVE}; pickles are never opened",
    ".ckpt": f"{RESAVE}; pickles are never opened",
    ".h5": RESAVE,
    ".msgpack": RESAVE,
    ".safetensors": "name it model.safetensors if it holds the whole model",
}
"""What to do, by the end of a file's name, or its beginning."""
WRAPPERS = {
    "_orig_mod.": "torch.compile: save the model inside it, model._orig_mod",
    "module.": "a wrapper for several devices: save the model inside it, model.module",
    "base_model.model.": "PEFT: merge the adapter (merge_and_unload) and save what it returns",
}


def other_weights(checkpoint: Checkpoint) -> str:
    """Returns which other weights a local folder holds and what to do with them, as the end of a message.

    Returns:
        Empty where there is none, and for the hub, which is not searched.
    """
    folder = Path(checkpoint.place)
    if not checkpoint.is_local or not folder.is_dir():
        return ""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(STATES):
            for end, advice in ADVICE.items():
                if path.name.endswith(end) or path.name.startswith(end):
                    return f"; it has {path.name[:80]}: {advice}"
    return ""


def refuse_pointer(path: Path) -> None:
    """Makes sure that a file is not the pointer that git keeps in place of a large file.

    Raises:
        InputError: it is.
    """
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise InputError(f"{path} is a pointer of git-lfs, not the file itself: run `git lfs pull` in its folder")


def refuse_wrapper(where: str, names: Iterable[str]) -> None:
    """Makes sure that weights are not named as parts of a wrapper around the model.

    Raises:
        InputError: they are; the message has such a name.
    """
    for name in names:
        for prefix, what in WRAPPERS.items():
            if name.startswith(prefix):
                raise InputError(f"the weights of {where} are named inside a wrapper, such as {name[:80]} ({what})")


def tied_head(names: Mapping[str, str], config: PretrainedConfig, architecture: Architecture) -> dict[str, str]:
    """Returns the head's weight and the name of the token table it is, where a checkpoint stores their one table there.

    Args:
        names: names of all stored weights.
        config: says whether head and token table are one.
        architecture: where the layers are.

    Returns:
        Old name to new name; empty where the token table is stored, as usual.
    """
    if HEAD not in names or not getattr(config, "tie_word_embeddings", False) or type(config) not in MODEL_MAPPING:
        return {}
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    table = model.get_input_embeddings()
    own = next(name for name, module in model.named_modules() if module is table) + ".weight"
    if any(name.endswith(own) for name in names):
        return {}
    layers = next((name for name in names if in_layers(name, architecture)), "")
    inside = in_layers(layers, architecture)
    return {HEAD: layers.removesuffix(inside or "") + own}

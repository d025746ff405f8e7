"""Names of weights under a selection: which belong to kept layers, and what they are called after the cut.

Used for checkpoints on disk and for trained parameters, so both are cut by one rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from layerprobe.backbone.architecture import Architecture


def layer_numbers(names: Iterable[str], architecture: Architecture) -> set[int]:
    """Returns the layer indices that occur in names of weights."""
    pattern = _pattern(architecture)
    return {int(match[2]) for match in map(pattern.search, names) if match}


def kept_names(names: Iterable[str], architecture: Architecture, layers: Sequence[int]) -> dict[str, str]:
    """Maps the old name of each weight that stays to its name after the cut.

    Args:
        names: names of weights of a model with all layers.
        architecture: where the layers are.
        layers: kept layers, 0-based, ascending; the i-th becomes layer i.

    Returns:
        Old name to new name, in the order of `names`; weights outside the layers keep their name.

    >>> kept_names(["norm.weight", "layers.0.w", "layers.5.w"], Architecture("llama"), [5])
    {'norm.weight': 'norm.weight', 'layers.5.w': 'layers.0.w'}
    """
    pattern, place = _pattern(architecture), {layer: index for index, layer in enumerate(layers)}
    kept = {}
    for name in names:
        match = pattern.search(name)
        if match is None:
            kept[name] = name
        elif int(match[2]) in place:
            kept[name] = f"{name[: match.start(2)]}{place[int(match[2])]}{name[match.end(2) :]}"
    return kept


def in_layers(name: str, architecture: Architecture) -> str | None:
    """Returns the part of a name from the layers on, whatever prefix stands before it; None outside the layers.

    >>> in_layers("model.layers.5.w", Architecture("llama"))
    'layers.5.w'
    """
    match = _pattern(architecture).search(name)
    return None if match is None else name[match.end(1) :]


def stored_name(name: str, architecture: Architecture, layers: Sequence[int]) -> str:
    """Returns what a weight of the cut model is called in the model with all layers: for messages.

    >>> stored_name("layers.0.w", Architecture("llama"), [5])
    'layers.5.w'
    """
    return _pattern(architecture).sub(lambda match: f"{match[1]}{architecture.layers}.{layers[int(match[2])]}.", name)


def _pattern(architecture: Architecture) -> re.Pattern[str]:
    # At the start or after a dot: checkpoints of a model with a head put a prefix such as `model.` before the layers.
    return re.compile(rf"(^|\.){re.escape(architecture.layers)}\.(\d+)\.")

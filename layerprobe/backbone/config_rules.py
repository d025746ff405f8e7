"""What the config of a checkpoint must say before a model is built from it, and what of it is never read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from layerprobe.errors import InputError

NONSENSE = (ZeroDivisionError, AssertionError, AttributeError, IndexError, OverflowError, RuntimeError)
"""What the library and torch raise on numbers that describe no model."""
MOST_LAYERS, LARGEST = 1_000, 2**31 - 1
COUNTS = (
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
POSITIVE = ("eps", "epsilon", "theta", "factor")
"""Ends of names whose numbers must be above 0: below, roots and powers give no numbers."""
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id")


def check_numbers(where: str, path: Path) -> None:
    """Makes sure that the numbers of a `config.json` are finite, and positive where a model needs them to be.

    Raises:
        InputError: one is not, or the file is no JSON object.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{where}/config.json cannot be read: {' '.join(str(error).split())[:160]}") from error
    if not isinstance(plain, dict):
        raise InputError(f"{where}/config.json must be an object of keys and values; got {str(plain)[:40]!r}")
    for name in COUNTS:
        if plain.get(name) is not None:
            _require_count(where, name, plain[name], 1, LARGEST)
    for name, number in _numbers(plain, ""):
        is_finite = math.isfinite(number) if isinstance(number, float) else abs(number) < 2**63
        if not is_finite or (name.endswith(POSITIVE) and number <= 0):
            expected = "a number above 0" if is_finite else "a finite number"
            raise InputError(f"{where}/config.json must have {expected} as {name}; got {str(number)[:40]}")


def check_shape(where: str, config: PretrainedConfig) -> None:
    """Makes sure that sizes are whole numbers that a model can have.

    Raises:
        InputError: one is not.
    """
    rules = {name: (1, LARGEST) for name in COUNTS if getattr(config, name, None) is not None}
    for name, (least, most) in {"num_hidden_layers": (0, MOST_LAYERS), **rules}.items():
        _require_count(where, name, getattr(config, name, None), least, most)


def _require_count(where: str, name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(
            f"{where}/config.json must have a whole number from {least:,} to {most:,} as {name}; got "
            f"{str(value)[:40]!r}"
        )


def drop_token_ids(config: PretrainedConfig) -> None:
    """Forgets ids of special tokens outside the vocabulary, which fine-tunes often have; nothing here reads them."""
    size = getattr(config, "vocab_size", None)
    for name in TOKEN_IDS:
        value = getattr(config, name, None)
        if isinstance(value, int) and isinstance(size, int) and not 0 <= value < size:
            setattr(config, name, None)


def _numbers(value: Any, name: str) -> Iterator[tuple[str, int | float]]:
    """Yields the numbers of plain values with their dotted names."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _numbers(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from _numbers(entry, f"{name}[{place}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value

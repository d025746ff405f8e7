"""Prompt text around the item slots, as token ids of the checkpoint's own tokenizer.

The paper's text is the default of a text prompt. No special tokens are added, as in the paper's code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from layerprobe.errors import InputError

PAPER_PREFIX = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    "Given the user\u2019s purchase history, predict next possible item to be purchased.\n\n### Input:\n"
)
PAPER_SUFFIX = "\n### Response:\n"


@dataclass(frozen=True)
class PromptOptions:
    """Text before and after the item slots; empty text means none. Needs a checkpoint with a tokenizer."""

    prefix: str = ""
    """Text before the items; `paper` stands for the paper's instruction."""
    suffix: str = ""
    """Text after the items; `paper` stands for the paper's response header. Needs supervision `last`."""


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Token ids before and after the items, int64 [n], possibly empty."""

    prefix: torch.Tensor
    suffix: torch.Tensor


def no_prompt() -> PromptTokens:
    """Returns empty prompt parts."""
    return PromptTokens(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def prompt_tokens(options: PromptOptions, checkpoint: str | None, revision: str | None = None) -> PromptTokens:
    """Turns the prompt's text into token ids.

    Raises:
        InputError: text is asked for but there is no checkpoint, or the checkpoint has no tokenizer.
    """
    prefix = PAPER_PREFIX if options.prefix == "paper" else options.prefix
    suffix = PAPER_SUFFIX if options.suffix == "paper" else options.suffix
    if not prefix and not suffix:
        return no_prompt()
    if checkpoint is None:
        raise InputError("prompt text needs backbone.checkpoint with a tokenizer; this backbone is built from a shape")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise InputError(f"prompt text needs a tokenizer in {checkpoint}; none can be read there") from error
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] if text else [] for text in (prefix, suffix)]
    return PromptTokens(*(torch.tensor(ids, dtype=torch.int64) for ids in encoded))

"""The prompt around the item slots: text as token ids of the checkpoint's own tokenizer, or learned vectors.

The paper's text is the default of a text prompt. No special tokens are added, as in the paper's code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import torch
from huggingface_hub.errors import HfHubHTTPError

from layerprobe.arguments import checked
from layerprobe.backbone.checkpoint import Checkpoint
from layerprobe.backbone.quiet import quiet
from layerprobe.errors import InputError
from layerprobe.ranges import Range, Text

PAPER_PREFIX = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    "Given the user\u2019s purchase history, predict next possible item to be purchased.\n\n### Input:\n"
)
PAPER_SUFFIX = "\n### Response:\n"
MOST_PROMPT = 100_000
"""Letters of a prompt: more than any context holds."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
@checked
class PromptOptions:
    """What stands around the item slots."""

    kind: Literal["none", "text", "learned"] = "none"
    """`none`: the items only. `text`: the text below, by the checkpoint's tokenizer. `learned`: trained vectors before
    the items."""
    prefix: Annotated[str, Text(most=MOST_PROMPT)] = "paper"
    """Text before the items; `paper` stands for the paper's instruction, empty text for none."""
    suffix: Annotated[str, Text(most=MOST_PROMPT)] = "paper"
    """Text after the items; `paper` stands for the paper's response header, empty text for none. Needs supervision
    `last`."""
    vectors: Annotated[int, Range(1, 100_000)] = 16
    """Number of learned vectors."""
    shared: bool = True
    """Compute the prefix once per step for all users; false repeats it for each user: the same numbers, slower."""

    def __post_init__(self) -> None:
        used = {"none": (), "text": ("prefix", "suffix", "shared"), "learned": ("vectors", "shared")}[self.kind]
        for entry in fields(self)[1:]:  # all but `kind`
            if entry.name not in used and getattr(self, entry.name) != entry.default:
                needed = "learned" if entry.name == "vectors" else "text"
                raise InputError(f"prompt.{entry.name} needs prompt.kind {needed}; the kind is {self.kind}")
        if self.kind == "text" and not self.prefix and not self.suffix:
            raise InputError("prompt.kind text needs prompt.prefix or prompt.suffix; both are empty: use kind none")

    @property
    def has_suffix(self) -> bool:
        """Whether something stands after the items."""
        return self.kind == "text" and bool(self.suffix)


def _no_tokens() -> torch.Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """The prompt as a model takes it.

    Attributes:
        prefix: token ids before the items, int64 [n], possibly empty.
        suffix: token ids after the items, int64 [n], possibly empty.
        learned: number of learned vectors before the items; with some, there is no prefix text.
        shared: whether the prefix is computed once for all users where the family allows it.
    """

    prefix: torch.Tensor = field(default_factory=_no_tokens)
    suffix: torch.Tensor = field(default_factory=_no_tokens)
    learned: int = 0
    shared: bool = True

    @property
    def n_before(self) -> int:
        """Positions before the first item."""
        return len(self.prefix) + self.learned


def prompt_tokens(options: PromptOptions, checkpoint: str | None, revision: str | None = None) -> PromptTokens:
    """Turns the prompt's text into token ids.

    Raises:
        InputError: the kind is `text` and there is no checkpoint, or the checkpoint has no tokenizer.
    """
    if options.kind == "none":
        return PromptTokens()
    if options.kind == "learned":
        return PromptTokens(learned=options.vectors, shared=options.shared)
    if checkpoint is None:
        raise InputError("prompt text needs backbone.checkpoint with a tokenizer; this backbone is built from a shape")
    texts = (
        PAPER_PREFIX if options.prefix == "paper" else options.prefix,
        PAPER_SUFFIX if options.suffix == "paper" else options.suffix,
    )
    tokenizer = _tokenizer(Checkpoint(checkpoint, revision))
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] if text else [] for text in texts]
    for name, ids in zip(("prefix", "suffix"), encoded, strict=True):
        # A text of unknown words would become the same vector over and over, without an error.
        if ids and set(ids) == {tokenizer.unk_token_id}:
            raise InputError(
                f"prompt.{name} must hold a word that the tokenizer of {checkpoint} knows; all are unknown to it"
            )
    prefix, suffix = (torch.tensor(ids, dtype=torch.int64) for ids in encoded)
    return PromptTokens(prefix, suffix, shared=options.shared)


@quiet()
def _tokenizer(checkpoint: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    problem = (
        f"prompt text needs a tokenizer, and {checkpoint.where} has none that can be read; save one there with "
        "tokenizer.save_pretrained, or use prompt.kind learned or none"
    )
    # Without its files the library makes up an empty tokenizer for some families, which knows no word.
    if all(checkpoint.find(name) is None for name in TOKENIZER_FILES):
        raise InputError(problem)
    try:
        return AutoTokenizer.from_pretrained(
            checkpoint.place, revision=checkpoint.revision or "main", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError, HfHubHTTPError) as error:
        raise InputError(problem) from error

"""Whether the titles of a log's items are there and hold words, which the TF-IDF floor needs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from layerprobe.errors import InputError

WORD = re.compile(r"\w\w+")
NO_WORD = "no title holds a word of two or more letters or digits, which the TF-IDF floor needs"
REMEDY = "name another column of titles (read.title_column), or give the log without titles"


def has_words(titles: np.ndarray) -> bool:
    """Tells whether a title holds a word, as TF-IDF counts them.

    >>> has_words(np.array(["", "A"])), has_words(np.array(["", "An apple"]))
    (False, True)
    """
    return any(WORD.search(str(title)) for title in titles)  # ends at the first word, in most logs at once


def require_words(titles: np.ndarray | None) -> None:
    """Makes sure that items without titles are told apart from items whose titles say nothing.

    Raises:
        InputError: there are titles, and none holds a word.
    """
    if titles is not None and not has_words(titles):
        raise InputError(f"{NO_WORD}: {REMEDY}")


def title_notes(titles: np.ndarray | None) -> list[str]:
    """Returns what `run` will say of titles that hold no word, for those who only prepare the data."""
    return [] if titles is None or has_words(titles) else [f"{NO_WORD}; `run` refuses these data: {REMEDY}"]


def title_lines(facts: dict[str, Any]) -> list[str]:
    """Returns how many items have a title, as a line; none where the log has no titles at all."""
    titled = facts["items_with_title"]
    return [] if titled is None else [f"titles: {titled:,} of {facts['counts']['items']:,} items"]

"""Names, paths and versions with Markdown, HTML or control characters stay text in the card of a student."""

from __future__ import annotations

import html
import re
from typing import Any

import pandas as pd
import pytest

from layerprobe.errors import one_line
from layerprobe.export.card import model_card
from layerprobe.wording import as_code, as_markdown

NASTY = {
    "html": "<script>alert(1)</script><img src=x onerror=y>",
    "link": "[click](http://example.com) ![x](y)",
    "emphasis": "**bold** _it_ ~~gone~~ `code`",
    "bar": "a | b || c \\| d",
    "newlines": "first\n# Heading\r\n- item\n\n---",
    "control": "\x1b[31mred\x00\x07",
    "direction": "abc\u202edcba",
    "formula": "=HYPERLINK(1)",
    "heading": "# top",
    "number": "1. one",
    "fence": "```\n</details>\n````",
    "mathematics": "$\\frac$ and $x",
}
every_nasty = pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())


def shown(source: str) -> str:
    """Returns what a reader sees of escaped text: entities and backslashes undone."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source))


@every_nasty
def test_escaped_text_reads_as_it_was_and_does_nothing(text: str) -> None:
    source = as_markdown(text)
    assert shown(source) == one_line(text, most=None)
    assert source.isprintable()
    bare = re.sub(r"\\.", "", source)
    assert not re.search(r"[<>|*`\[\]~$]", bare)
    assert not re.match(r"[-+=#]|\d+[.)]\s", bare)


@pytest.mark.parametrize("text", ["a_b", "0.5.1", "x86_64, 2 cores", "synthetic", "12 (3.4 %)", "last id + 1", '"a"'])
def test_common_text_is_unchanged(text: str) -> None:
    assert as_markdown(text) == text


@every_nasty
def test_code_holds_every_text(text: str) -> None:
    code = as_code(text)
    fence = re.match("`+", code)
    assert fence is not None
    inner = code[len(fence[0]) : -len(fence[0])]
    assert inner.strip() == one_line(text, most=None)
    assert fence[0] not in re.findall("`+", inner)


@every_nasty
def test_a_card_shows_foreign_text_as_text(text: str) -> None:
    facts: dict[str, Any] = {
        "study": text, "kept_layers": 2, "teacher_depth": 4, "split": text, "teacher_sha256": None,
        "student_sha256": "0" * 64, "data_sha256": "1" * 64, "versions": {text: text},
        "backbone": {"checkpoint": text, "keep": text, "revision": text, "content": {text: text}},
    }  # fmt: skip
    card = model_card(facts, pd.DataFrame())
    assert f"in the study {as_code(text)}. It takes" in card
    assert f"of the checkpoint {as_code(text)}, revision {as_code(text)}" in card
    assert all(line.isprintable() for line in card.split("\n"))
    plain = re.sub(r"(?<![\\`])(`+)(?!`).+?(?<!`)\1(?!`)", "", card)
    assert "<" not in plain
    assert len(card.split("\n")) == len(model_card(dict(facts, study="s"), pd.DataFrame()).split("\n"))

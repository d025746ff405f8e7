"""Markdown pieces."""

from __future__ import annotations

from layerprobe.reporting.words import markdown


def test_a_table_is_padded_and_numbers_stand_right() -> None:
    assert markdown.table(["Name", "n"], [["a", "12345"], ["long name", "6"]]).splitlines() == [
        "| Name      |     n |",
        "| --------- | ----: |",
        "| a         | 12345 |",
        "| long name |     6 |",
    ]


def test_a_bar_in_a_cell_does_not_end_the_cell() -> None:
    assert "a\\|b" in markdown.table(["Name"], [["a|b"]])


def test_folded_text_is_a_code_block_behind_a_summary() -> None:
    lines = markdown.folded("All", "a: 1\n", "yaml").splitlines()
    assert lines == ["<details><summary>All</summary>", "", "```yaml", "a: 1", "```", "", "</details>"]


def test_backticks_in_folded_text_do_not_end_its_block() -> None:
    lines = markdown.folded("All", "path: a```b\n```\n</details>", "yaml").splitlines()
    assert lines[2:] == ["````yaml", "path: a```b", "```", "</details>", "````", "", "</details>"]

"""`publish` and `verify`: a report that travels with the ranks behind it, and the check of one that arrived."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from layerprobe import wording

if TYPE_CHECKING:
    from layerprobe.publishing.comparing import Checked

SHOWN = 5
"""Differences that are printed per file."""


def publish_command(known: argparse.Namespace, rest: list[str]) -> int:  # noqa: ARG001 - every command has both
    """Publishes a study and prints what travels."""
    from layerprobe.publishing.publish import publish

    published = publish(known.study, known.out)
    models = {model for part in published.ranks.parts for model in part.models}
    parts = wording.listed([f"{part.split} {part.protocol}" for part in published.ranks.parts])
    print(f"ranks: {len(models)} models, {parts}, {published.rank_bytes / 2**20:.1f} MiB")
    for left in published.ranks.left_out:
        print(f"left out, to stay small: {left.split} {left.protocol} ranks of {len(left.models)} models")
    print(f"published: {published.folder} (check it with `layerprobe verify {published.folder}`)")
    return 0


def verify_command(known: argparse.Namespace, rest: list[str]) -> int:  # noqa: ARG001 - every command has both
    """Checks a report and prints a line per file; returns 1 where anything differs."""
    from layerprobe.publishing.verify import verify

    files = differing = numbers = skipped = 0
    for checked in verify(known.report):
        print("\n".join(_lines(checked)), flush=True)
        files += 1
        differing += bool(checked.differences)
        numbers += checked.numbers
        skipped += checked.skipped
    away = f"; {wording.count(skipped)} could not be computed, since their ranks did not travel" if skipped else ""
    total = f"{wording.count(numbers)} numbers in {files} checks{away}"
    print(f"verified: {total}, all equal" if not differing else f"NOT verified: {total}; {differing} checks differ")
    return 1 if differing else 0


def _lines(checked: Checked) -> list[str]:
    """Returns what was checked in one line, and the first differences in one each."""
    parts = [f"{wording.count(checked.numbers)} numbers"] if checked.numbers else []
    parts += [f"{wording.count(checked.skipped)} not computed: their ranks did not travel"] if checked.skipped else []
    found = checked.differences
    parts.append(f"{len(found)} DIFFER" if found else "equal")
    more = [f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    lines = [f"  {difference.text}" for difference in found[:SHOWN]]
    return [f"{checked.name}: {checked.how}; {', '.join(parts)}", *lines, *more]

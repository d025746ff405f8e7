"""`publish` and `verify`: a report that travels with the ranks behind it, and the check of one that arrived."""

from __future__ import annotations

import argparse

from layerprobe import wording


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

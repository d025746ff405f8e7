"""The decision of a version without a ledger, as the first look of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerprobe.store.atomic import read_json, read_yaml
from layerprobe.store.decision import DecisionRecord
from layerprobe.store.layout import StudyLayout
from layerprobe.store.ledger_lines import LookLine

ALWAYS = ("metric", "k", "margin", "alpha", "n_boot", "seed")
LATER = ("rule", "cover", "prior_noise")
"""Options of `decision.json` by version; where one is absent, the default of the record is what older versions did."""


def plain_decision(folder: Path) -> dict[str, Any]:
    """Returns the content of `decision.json`; nothing where there is none, or a damaged one.

    Deciding again is what repairs a damaged one, so it stops nothing here.
    """
    path = StudyLayout(folder).decision
    try:
        plain = read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    return plain if isinstance(plain, dict) else {}


def look_of(folder: Path, decision: dict[str, Any]) -> LookLine | None:
    """Returns a decision without a ledger as the first look; None where there is none, or parts of it are missing."""
    try:
        options = {name: decision[name] for name in ALWAYS}
        options |= {name: decision.get(name, getattr(DecisionRecord, name)) for name in LATER}
        rows = decision["depths"]
        texts = [row.get("selection") or f"first:{row['depth']}" for row in rows]
        texts += [merged[0] for merged in decision.get("merged", [])]  # asked for, too
        return LookLine(
            time=None,
            number=1,
            options=options,
            seeds=_seeds(folder, max(row.get("seeds", 1) for row in rows)),
            selections=tuple(sorted(texts)),
            ranks=None,
            n_users=decision["power"]["n_users"],
            level=options["alpha"],
            spent=options["alpha"],
            verdict=decision.get("verdict", ""),
            selection=decision.get("selection"),
            depth=decision["depth"],
            sentence=decision["sentence"],
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _seeds(folder: Path, count: int) -> tuple[int, ...]:
    """Returns the seeds that the study names, where they are as many as the decision has; else none."""
    path = StudyLayout(folder).spec
    spec = read_yaml(path) if path.is_file() else {}
    seeds = spec.get("probe", {}).get("seeds", [])
    return tuple(sorted(seeds)) if len(seeds) == count else ()

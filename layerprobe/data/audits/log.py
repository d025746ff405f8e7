"""What is looked at in every log: as it was read, before a row is dropped, and as it is split in the end.

Takes `Interactions`, hands on sentences and the facts `audit` and `repeats`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerprobe.data.audit import OrderAudit, audit_order
from layerprobe.data.audits.clocks import clock_notes
from layerprobe.data.audits.ids import large_user_notes, require_ids
from layerprobe.data.audits.repeats import Repeats, count_repeats
from layerprobe.data.audits.titles import title_lines, title_notes
from layerprobe.data.catalogue import Catalogue
from layerprobe.data.interactions import Interactions
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.splits import Split


def check_raw_log(log: Interactions, options: PreprocessOptions, times_decide: bool) -> list[str]:
    """Looks at a log as it was read.

    Args:
        log: rows in file order.
        options: what becomes of ids that stand for missing values.
        times_decide: whether times decide the order of rows or the split.

    Returns:
        What a reader should know, one sentence each.

    Raises:
        InputError: an id stands for a missing value and nothing says what to do with it, or times are of two units.
    """
    if options.null_ids == "refuse":
        require_ids(log)
    return clock_notes(log.timestamp, times_decide)


def audit_facts(log: Interactions, split: Split, catalogue: Catalogue, notes: Sequence[str]) -> dict[str, Any]:
    """Returns the facts `audit` and `repeats` of a log as it is split.

    Args:
        log: the rows that are left, in sequence order.
        split: made of them.
        catalogue: its items.
        notes: what `check_raw_log` found.
    """
    audit = audit_order(log, None if split.cuts is None else split.queries("test").ends).to_dict()
    audit["notes"] = [*notes, *audit["notes"], *large_user_notes(log), *title_notes(catalogue.titles)]
    return {"audit": audit, "repeats": count_repeats(split, log.timestamp).to_dict()}


def audit_lines(facts: dict[str, Any]) -> list[str]:
    """Returns what was found in a log as lines, the order first."""
    return [*OrderAudit(**facts["audit"]).lines(), *Repeats(**facts["repeats"]).lines(), *title_lines(facts)]

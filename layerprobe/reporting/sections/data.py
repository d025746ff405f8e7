"""Section: the data the study was trained on, counted after every step, and the audit of its order."""

from __future__ import annotations

from typing import Any

from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.wording import count, percent

AUDIT_ROWS = (
    ("equal_time", "neighbours that share a time, of all neighbours"),
    ("backward", "neighbours whose second row is the earlier one"),
    ("ascending_equal", "item id ascends, among neighbours of equal time"),
    ("ascending_different", "item id ascends, among neighbours of different time (near 50 % in true order)"),
    ("target_ties", "users whose test target shares the time of the item before it"),
    ("next_raw_id", 'users whose test target has the raw id "last id + 1"'),
    ("next_first_appearance", "the same, if items were numbered by first appearance"),
    ("chance", 'chance of "last id + 1"'),
)


def data_section(study: StudyFiles) -> Section:
    """Shows counts after each step, history lengths and the order audit."""
    facts = study.facts
    title = "The data"
    if facts is None:
        return Section(title, [absent("data facts", "data/facts.json", "Run the data stage.")])
    counts, lengths = facts["counts"], facts["lengths"]
    names = ("users", "items", "interactions")
    rows = [[step["step"], *(count(step[name]) for name in names)] for step in facts["steps"]]
    whole = ", ".join(f"{count(counts[name])} {name}" for name in names)
    size = (
        f"Source: {facts['source']}. Order: {facts['order']}. {whole}; "
        f"{percent(counts['density'], 3)} of all pairs. {count(counts['evaluated_users'])} users are evaluated: "
        f"the last item of each is the test target, the one before it the validation target."
    )
    spread = (
        f"Items per user: {count(lengths['min'])} at least, median {lengths['median']:g}, mean {lengths['mean']:.1f}, "
        f"{count(lengths['max'])} at most. {_titles(facts)}"
    )
    table = markdown.table(["After step", "Users", "Items", "Interactions"], rows)
    return Section(title, [size, table, spread, *_audit(facts["audit"])])


def _titles(facts: dict[str, Any]) -> str:
    titled = facts["items_with_title"]
    if titled is None:
        return "The items have no titles, so there is no TF-IDF floor."
    return f"{count(titled)} of {count(facts['counts']['items'])} items have a title."


def _audit(audit: dict[str, Any]) -> list[str]:
    """Flag first, then the shares, then the notes."""
    verdict = (
        "**Flag: the order looks like a catalogue's, not like time. The item id gives the target away.**"
        if audit["catalogue_order"]
        else "The order does not look like a catalogue's."
    )
    times = "" if audit["has_times"] else " The log has no times."
    lead = f"Order audit over {count(audit['n_pairs'])} pairs of neighbouring rows of one user. {verdict}{times}"
    rows = [[text, _share(audit[name])] for name, text in AUDIT_ROWS]
    notes = [markdown.bullets(audit["notes"])] if audit["notes"] else []
    return [lead, markdown.table(["Share", "Value"], rows), *notes]


def _share(value: float | None) -> str:
    """Small shares keep two significant digits, since chance is small."""
    return percent(value) if value is None or value == 0 or value >= 0.001 else f"{100 * value:.2g} %"

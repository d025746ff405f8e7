"""Section: the data that the models were trained on, counted after every step, and the audit of its order."""

from __future__ import annotations

from typing import Any

from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.wording import count, percent

LEAVE_ONE_OUT = "leave-one-out"
AUDIT_ROWS = (
    ("equal_time", "neighbouring rows that have the same time"),
    ("backward", "neighbouring rows of which the second is older"),
    ("ascending_equal", "item id rises, among neighbouring rows of the same time"),
    ("ascending_different", "item id rises, among neighbouring rows of different times (near 50 % in true order)"),
    ("target_ties", "users whose test target has the same time as the item before it"),
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
        f"Source: {facts['source']}. Order: {facts['order']}. {whole} (density {percent(counts['density'], 3)}). "
        f"{_evaluated(counts, facts.get('split'))}"
    )
    spread = (
        f"Items per user: minimum {count(lengths['min'])}, median {lengths['median']:g}, mean {lengths['mean']:.1f}, "
        f"maximum {count(lengths['max'])}. {_titles(facts)}"
    )
    table = markdown.table(["After step", "Users", "Items", "Interactions"], rows)
    return Section(
        title,
        [size, table, spread, *_repeats(facts.get("repeats")), *_split(facts.get("split")), *_audit(facts["audit"])],
    )


def _evaluated(counts: dict[str, Any], split: dict[str, Any] | None) -> str:
    if split is not None and split["kind"] != LEAVE_ONE_OUT:
        return f"{count(counts['evaluated_users'])} users are evaluated in the test."
    return (
        f"{count(counts['evaluated_users'])} users are evaluated: the last item of a user is the test target, the one "
        "before it the validation target."
    )


def _repeats(repeats: dict[str, Any] | None) -> list[str]:
    """How many targets were met before; older folders did not count them."""
    if repeats is None:
        return []
    text = (
        f"{count(repeats['met_before'])} of {count(repeats['targets'])} test targets were met before by their user, "
        f"{count(repeats['same_as_last'])} of them right before."
    )
    if repeats["identical"] is not None:
        text += f" {count(repeats['identical'])} rows equal an earlier one in user, item and time."
    return [text]


def _split(split: dict[str, Any] | None) -> list[str]:
    """What leave-one-out reads of the future, or the parts of a split by time; older folders stored neither."""
    if split is None:
        return []
    if split["kind"] == LEAVE_ONE_OUT:
        return _future(split) if "later" in split else []
    rule, cold = split["rule"], split["cold"]
    done = "they were left out of the log" if cold["policy"] == "drop" else "they stay candidates and targets"
    rows = [
        [name, count(split[part]["users"]), count(split[part]["targets"]), count(split[part]["without_history"])]
        for part, name in (("valid", "validation"), ("test", "test"))
    ]
    return [
        f"Split by time ({rule}). Every model and baseline is trained on what lies before {split['valid_from']} alone: "
        f"{count(split['training_interactions'])} interactions of {count(split['training_users'])} users.",
        markdown.table(["Part", "Users", "Targets", "Users whose first item lies there"], rows),
        f"{count(cold['items'])} items with {count(cold['interactions'])} interactions first occur later than the "
        f"training part; {done}.",
    ]


def _future(split: dict[str, Any]) -> list[str]:
    return [
        f"**Leave-one-out reads the future:** {percent(split['later'], 0)} of the training rows are later than a test "
        f"target, averaged over {count(split['targets'])} targets. A recommender in use has no such rows, so these "
        "metrics are usually higher than what it will reach, and not equally for all models. The baseline Markov-1 "
        "(past) counts nothing that is later than its target: compare it with Markov-1. A split by time trains on "
        "nothing that is later than a target: `data.split.kind global-time`."
    ]


def _titles(facts: dict[str, Any]) -> str:
    titled = facts["items_with_title"]
    if titled is None:
        return "The items have no titles, so there is no TF-IDF floor."
    return f"{count(titled)} of {count(facts['counts']['items'])} items have a title."


def _audit(audit: dict[str, Any]) -> list[str]:
    """The verdict first, then the shares, then the notes."""
    verdict = (
        "**Warning: the rows seem to be in catalogue order, not in the order of time. The item id reveals the target.**"
        if audit["catalogue_order"]
        else "The rows do not seem to be in catalogue order."
    )
    times = "" if audit["has_times"] else " The log has no times."
    lead = f"Order audit over {count(audit['n_pairs'])} pairs of neighbouring rows of one user. {verdict}{times}"
    rows = [[text, _share(audit[name])] for name, text in AUDIT_ROWS]
    notes = [markdown.bullets(audit["notes"])] if audit["notes"] else []
    return [lead, markdown.table(["Share", "Value"], rows), *notes]


def _share(value: float | None) -> str:
    """Returns a share; a small one keeps two significant digits, since chance is small."""
    return percent(value) if value is None or value == 0 or value >= 0.001 else f"{100 * value:.2g} %"

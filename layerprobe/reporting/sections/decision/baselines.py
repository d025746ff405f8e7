"""Section: every selection against every baseline."""

from __future__ import annotations

from layerprobe.kinds import label_of
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.answer import RUN
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.decisions import FOR_THESE, all_of, an_interval, is_exploratory, noun_of, row_title
from layerprobe.store.decision import KEEP, BaselineRow, DecisionRecord, FloorRow, SelectionRow
from layerprobe.wording import four_digits, listed, metric_label, signed, signed_percent

TITLE = "Against the baselines"


def baselines_section(study: StudyFiles) -> Section:
    """Shows which selections are better than the baselines, and which a baseline beats."""
    decision = study.decision
    if decision is None:
        return Section(TITLE, [absent("a decision", "decision.json", RUN)])
    if not decision.baselines:
        return Section(TITLE, ["Not in this study: baselines (none in `decision.json`)."])
    if not decision.against_baselines:
        return Section(TITLE, [absent("selections against baselines", "against_baselines in decision.json", RUN)])
    return Section(TITLE, [_sentence(decision), _table(decision), _note(decision)])


def _sentence(decision: DecisionRecord) -> str:
    """Names the best baseline, the selections that beat all baselines, and those that a baseline beats."""
    best = max(decision.baselines, key=lambda row: row.value)
    metric = metric_label(decision.metric, decision.k)
    parts = [f"The best baseline is {label_of(best.name)}, with an {metric} of {four_digits(best.value)}."]
    outcomes = {(row.selection, row.baseline): row.verdict for row in decision.against_baselines}
    names = [row.name for row in decision.baselines]
    beating = [row for row in decision.depths if all(outcomes[row.text, name] == "better" for name in names)]
    who = f"{all_of(beating, decision)}." if beating else f"no {noun_of(decision)}."
    parts.append(f"Better than every baseline{_these(decision)}: {who}")
    beaten: dict[str, list[str]] = {}
    for name in names:
        rows = [row for row in decision.depths if outcomes[row.text, name] == "worse"]
        if rows:
            beaten.setdefault(all_of(rows, decision), []).append(label_of(name))
    by_floor = [f"{rows} by {listed(floors)}" for rows, floors in beaten.items()]
    parts.append(f"Beaten by a baseline: {'; '.join(by_floor) or f'no {noun_of(decision)}'}.")
    return " ".join(parts)


def _these(decision: DecisionRecord) -> str:
    return f", {FOR_THESE}" if is_exploratory(decision) else ""


def _table(decision: DecisionRecord) -> str:
    pairs = {(row.selection, row.baseline): row for row in decision.against_baselines}
    headers = [
        f"{label_of(floor.name)}{', to use' if floor.name == decision.baseline else ''}" for floor in decision.baselines
    ]
    rows = [
        [_name(row, decision), *(_cell(pairs[row.text, floor.name], floor) for floor in decision.baselines)]
        for row in decision.depths
    ]
    return markdown.table(["Model", *headers], rows)


def _name(row: SelectionRow, decision: DecisionRecord) -> str:
    is_kept = decision.verdict == KEEP and row == decision.chosen
    return f"**{row_title(row, decision)}, kept**" if is_kept else row_title(row, decision)


def _cell(pair: BaselineRow, floor: FloorRow) -> str:
    if pair.relative is None or not floor.value:
        return f"{signed(pair.difference)} [{signed(pair.ci_low)}, {signed(pair.ci_high)}] {pair.verdict}"
    low, high = (signed_percent(bound / floor.value) for bound in (pair.ci_low, pair.ci_high))
    return f"{signed_percent(pair.relative)} [{low}, {high}] {pair.verdict}"


def _note(decision: DecisionRecord) -> str:
    word = noun_of(decision)
    return (
        f"Each cell: the {metric_label(decision.metric, decision.k)} of the {word} minus the baseline's, as a share of "
        f"the baseline's, user by user. In brackets: the {an_interval(decision)}, for all cells together"
        f"{_these(decision)}. better: it lies above 0; worse: below 0; undecided: it contains 0."
    )

"""Section: the distilled student beside its teacher: metrics, parameters, time."""

from __future__ import annotations

from typing import Any

from layerprobe import columns, wording
from layerprobe.kinds import label_of
from layerprobe.reporting.files.study_files import ModelFiles, StudyFiles
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.tables.teacher_and_student import SIDES, compare
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.formats import confidence, seconds
from layerprobe.store.decision import DecisionRecord
from layerprobe.store.distilled import DistilledRecord
from layerprobe.wording import UNKNOWN, count, four_digits, interval, keeps_first, level, metric_label, percent

TITLE = "The student against its teacher"
PARTS = (
    ("total", "**total**"),
    ("backbone", "backbone"),
    ("layers", "of which layers"),
    ("input_adapter", "input map"),
    ("head", "head"),
    ("item_table", "item table"),
    ("trainable", "trained"),
)
GAIN_HEADERS = ["Selection", "Layers", "Distilled", "Plain", "Difference", "Interval", "Distilled is"]
BASELINE_HEADERS = ["Baseline", "Its value", "Difference", "Relative", "Interval", "The student is"]
AGAIN = "Run the distill stage."
GAIN_HOW = "Probe the student's layers, then run the distill stage."
DEFAULT_ALPHA = 0.05


def student_section(study: StudyFiles) -> Section:
    """Compares every distilled student with the teacher, or says in one line that there is none."""
    if study.teacher is None:
        return Section(TITLE, [absent("the teacher", "teacher/metrics.json", "Run the teach stage.")])
    if not study.students:
        return Section(TITLE, [absent("a distilled student", "distillation/", "Run the distill stage.")])
    paragraphs = []
    for student in study.students:
        paragraphs += [*_one_student(study, study.teacher, student), *_gain(study, student)]
    if study.distilled is None:
        paragraphs.append(absent("the student against plain fine-tuning of its layers", "distilled.json", GAIN_HOW))
    return Section(TITLE, paragraphs)


def _one_student(study: StudyFiles, teacher: ModelFiles, student: ModelFiles) -> list[str]:
    alpha = DEFAULT_ALPHA if study.alpha is None else study.alpha
    comparison = compare(teacher, student, alpha)
    text = student.metrics.selection
    selection = "" if keeps_first(text) else f" ({text})"
    kept = f"{wording.layer_count(student.metrics.depth)}{selection}"
    lead = (
        f"### {student.name}: {kept}, distilled from {teacher.metrics.depth}\n\n"
        f"Test targets of {count(comparison[columns.N_USERS].iloc[0])} users, full ranking, {confidence(alpha)}. "
        f"The difference is student minus teacher, user by user.{_seeds(study, student)}{_not_kept(study, student)}"
    )
    rows = [
        [row[columns.METRIC], *(_with_interval(row, side) for side in SIDES)] for row in comparison.to_dict("records")
    ]
    headers = ["Metric", "Teacher", "Student", "Difference"]
    return [lead, markdown.table(headers, rows), _parameters(teacher, student), _speed(teacher, student)]


def _not_kept(study: StudyFiles, student: ModelFiles) -> str:
    """Says so where the student does not keep the decided layers, or those picked within a budget."""
    decision = study.decision
    if decision is None:
        return ""
    has_pick = decision.budget is not None and decision.budget.selection is not None
    whose, kept = ("the budget's pick", decision.budget) if has_pick else ("the decided selection", decision)
    if kept is None or kept.selection is None or kept.layers == student.metrics.layers:
        return ""
    return (
        f" This student is not {whose}, {kept.selection}: either the study sets other layers for it, or that selection "
        "cannot be distilled."
    )


def _seeds(study: StudyFiles, student: ModelFiles) -> str:
    """Says which seed is shown where the student was trained with several."""
    if student.name != (study.spec or {}).get("distill", {}).get("name", "student"):
        return ""  # the curve holds the students of one name
    is_student = study.curve[columns.KIND] == student.metrics.kind
    is_student &= study.curve[columns.SELECTION] == student.metrics.selection
    n_seeds = study.curve.loc[is_student, columns.SEED].nunique()
    if n_seeds < 2:
        return ""
    return f" Trained with {n_seeds} seeds; shown is seed {student.metrics.seed}, which is exported."


def _gain(study: StudyFiles, student: ModelFiles) -> list[str]:
    """Returns the comparison with plain fine-tuning, where it is this student's."""
    gain = study.distilled
    if gain is None or gain.student != student.name:
        return []
    row = [
        gain.selection,
        wording.layers(gain.layers),
        *(four_digits(value) for value in (gain.value, gain.plain_value, gain.difference)),
        interval(gain.ci_low, gain.ci_high),
        gain.verdict,
    ]
    note = (
        f"{metric_label(gain.metric, gain.k)} of {count(gain.n_users)} test users, ranked among the whole catalogue. "
        f"The difference is distilled minus plain, user by user; interval: {level(1 - gain.alpha)}. "
        f"{' '.join(gain.notes)}"
    )
    lead = f"**Was the distillation worth it?** {gain.sentence}{_other_options(gain, study.decision)}"
    return [lead, markdown.table(GAIN_HEADERS, [row], left=2), note, *_against_baselines(gain)]


def _other_options(gain: DistilledRecord, decision: DecisionRecord | None) -> str:
    """Says so where the comparison is by other options than the decision, as after a decision by another metric."""
    if decision is None or gain.agrees(decision):
        return ""
    ours, theirs = (
        f"{metric_label(one.metric, one.k)} at {level(1 - one.alpha)} confidence" for one in (gain, decision)
    )
    return f" This comparison is older than the decision: it is by {ours}, the decision by {theirs}. {AGAIN}"


def _against_baselines(gain: DistilledRecord) -> list[str]:
    """Returns the student against every baseline, or one line where an older version did not compare them."""
    if not gain.against_baselines:
        return [absent("the student against the baselines", "against_baselines in distilled.json", AGAIN)]
    rows = [
        [
            label_of(row.baseline),
            *(four_digits(value) for value in (gain.value - row.difference, row.difference)),
            percent(row.relative),
            interval(row.ci_low, row.ci_high),
            row.verdict,
        ]
        for row in gain.against_baselines
    ]
    seeds = f" Means over {gain.seeds} seeds." if gain.seeds > 1 else ""
    note = (
        f"The difference is student minus baseline, user by user; interval: {level(1 - gain.alpha)}, for all baselines "
        f"together.{seeds}"
    )
    return [markdown.table(BASELINE_HEADERS, rows), note]


def _with_interval(row: dict[Any, Any], side: str) -> str:
    return f"{four_digits(row[side])} {interval(row[f'{side}_low'], row[f'{side}_high'])}"


def _parameters(teacher: ModelFiles, student: ModelFiles) -> str:
    large, small = teacher.metrics.parameters, student.metrics.parameters
    rows = [
        [text, count(large.get(part)), count(small.get(part)), _share(small.get(part), large.get(part))]
        for part, text in PARTS
    ]
    return markdown.table(["Parameters", "Teacher", "Student", "Student / teacher"], rows)


def _speed(teacher: ModelFiles, student: ModelFiles) -> str:
    large, small = teacher.metrics, student.metrics
    rows = [
        [
            "training, seconds",
            *(seconds(model.train_seconds) for model in (large, small)),
            _share(small.train_seconds, large.train_seconds),
        ],
        ["epochs (best)", *(f"{model.epochs} ({model.best_epoch})" for model in (large, small)), UNKNOWN],
        [
            "ranking, users per second",
            *(count(model.users_per_second) for model in (large, small)),
            _share(small.users_per_second, large.users_per_second),
        ],
    ]
    table = markdown.table(["Time", "Teacher", "Student", "Student / teacher"], rows)
    note = (
        "Times are wall-clock times on the machine named below. The student's training time does not include the "
        "teacher's. Both models ranked the whole catalogue in the same way."
    )
    return f"{table}\n\n{note}"


def _share(small: float | None, large: float | None) -> str:
    return UNKNOWN if not large or small is None else percent(small / large)

"""Section: the distilled student beside its teacher: metrics, parameters, time."""

from __future__ import annotations

from typing import Any

from layerprobe.reporting import markdown
from layerprobe.reporting.comparison import SIDES, compare
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.selections import keeps_first
from layerprobe.reporting.study_files import ModelFiles, StudyFiles
from layerprobe.reporting.words import UNKNOWN, confidence, count, four_digits, interval, percent, seconds

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
DEFAULT_ALPHA = 0.05


def student_section(study: StudyFiles) -> Section:
    """Compares every distilled student with the teacher, or says in one line that there is none."""
    if study.teacher is None:
        return Section(TITLE, [absent("the teacher", "teacher/metrics.json", "Run the teach stage.")])
    if not study.students:
        return Section(TITLE, [absent("a distilled student", "distillation/", "Run the distill stage.")])
    paragraphs = []
    for student in study.students:
        paragraphs += _one_student(study, study.teacher, student)
    return Section(TITLE, paragraphs)


def _one_student(study: StudyFiles, teacher: ModelFiles, student: ModelFiles) -> list[str]:
    alpha = DEFAULT_ALPHA if study.alpha is None else study.alpha
    found = compare(teacher, student, alpha)
    text = str(student.metrics["selection"])
    which = "" if keeps_first(text) else f" ({text})"
    lead = (
        f"### {student.name}: {student.metrics['depth']} layers{which}, taught by {teacher.metrics['depth']}\n\n"
        f"Test targets of {count(found['n_users'].iloc[0])} users, full ranking, {confidence(alpha)}. "
        "The difference is student minus teacher, user by user."
    )
    rows = [[row["metric"], *(_with_interval(row, side) for side in SIDES)] for row in found.to_dict("records")]
    headers = ["Metric", "Teacher", "Student", "Difference"]
    return [lead, markdown.table(headers, rows), _parameters(teacher, student), _speed(teacher, student)]


def _with_interval(row: dict[Any, Any], side: str) -> str:
    return f"{four_digits(row[side])} {interval(row[f'{side}_low'], row[f'{side}_high'])}"


def _parameters(teacher: ModelFiles, student: ModelFiles) -> str:
    large, small = teacher.metrics["parameters"], student.metrics["parameters"]
    rows = [[text, count(large.get(part)), count(small.get(part)), _share(small, large, part)] for part, text in PARTS]
    return markdown.table(["Parameters", "Teacher", "Student", "Student / teacher"], rows)


def _speed(teacher: ModelFiles, student: ModelFiles) -> str:
    large, small = teacher.metrics, student.metrics
    rows = [
        ["training, seconds", *(seconds(one["train_seconds"]) for one in (large, small))],
        ["epochs (best)", *(f"{one['epochs']} ({one['best_epoch']})" for one in (large, small))],
        ["ranking, users per second", *(count(one["users_per_second"]) for one in (large, small))],
    ]
    for row, name in zip(rows, ("train_seconds", None, "users_per_second"), strict=True):
        row.append(UNKNOWN if name is None else _share(small, large, name))
    table = markdown.table(["Time", "Teacher", "Student", "Student / teacher"], rows)
    note = (
        "Times are wall-clock on the machine named below. The student's training does not count its teacher's. "
        "Both models ranked the whole catalogue in the same way."
    )
    return f"{table}\n\n{note}"


def _share(small: dict[str, float], large: dict[str, float], name: str) -> str:
    if not large.get(name) or small.get(name) is None:
        return UNKNOWN
    return percent(small[name] / large[name])

"""Part of the depth section: every variant beside its twin of a control arm."""

from __future__ import annotations

from layerprobe import columns, wording
from layerprobe.kinds import CONTROLS
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import absent
from layerprobe.reporting.words import markdown
from layerprobe.store.controls import ControlArmRow
from layerprobe.wording import count, four_digits, interval, level, metric_label

HEADERS = ["Selection", "Layers", "Pretrained", "Random", "Difference", "Interval", "Pretrained is"]


def control_paragraphs(study: StudyFiles) -> list[str]:
    """Returns the comparison of each control arm; nothing where the study has none."""
    if not set(CONTROLS) & set(study.curve[columns.KIND]):
        return []
    if study.controls is None:
        return [absent("the comparison with random initialisation", "controls.json", "Run the decide stage.")]
    return [paragraph for arm in study.controls.controls for paragraph in _one_arm(study, arm)]


def _covered(study: StudyFiles, arm: ControlArmRow) -> str:
    """Says what the intervals cover: the noise of training needs several seeds."""
    users_alone = study.decision is not None and study.decision.cover == "users"
    if users_alone or any(row.seeds == 1 for row in arm.selections):
        return "they cover the choice of users, not the noise of training"
    return "they cover the choice of users and the noise of training"


def _one_arm(study: StudyFiles, arm: ControlArmRow) -> list[str]:
    metric = metric_label(arm.metric, arm.k)
    lead = f"**Do the pretrained weights matter, or are random ones in the same layers as good?** {arm.sentence}"
    rows = [
        [
            row.selection,
            wording.layers(row.layers),
            *(four_digits(value) for value in (row.value, row.control_value, row.difference)),
            interval(row.ci_low, row.ci_high),
            row.verdict,
        ]
        for row in arm.selections
    ]
    note = (
        f"{metric} of {count(arm.n_users)} test users, ranked among the whole catalogue. The difference is "
        f"pretrained minus random, user by user. Intervals: {level(1 - arm.alpha)}, for all rows at once; "
        f"{_covered(study, arm)}. Undecided: the interval contains 0."
    )
    return [lead, markdown.table(HEADERS, rows, left=2), note]

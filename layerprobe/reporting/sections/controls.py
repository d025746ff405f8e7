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
    return [paragraph for arm in study.controls.controls for paragraph in _one_arm(arm)]


def _one_arm(arm: ControlArmRow) -> list[str]:
    metric = metric_label(arm.metric, arm.k)
    lead = f"**Is it the pretrained weights, or would the same layers with random weights do?** {arm.sentence}"
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
        f"pretrained minus random, user by user. Intervals: {level(1 - arm.alpha)}, holding for all rows at once; "
        "they cover the choice of users, not the noise of training. Undecided: the interval holds 0."
    )
    return [lead, markdown.table(HEADERS, rows, left=2), note]

"""The learning-rate test of one model of a study: `lr/<model>/` with `range.csv`, `range.json`, a figure and hashes.

No stage reads these files. Running the test again replaces them.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from layerprobe import processes
from layerprobe.backbone.selection import FORMS, MEASURED_FORMS, LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.pipeline.run import run_stages
from layerprobe.recommender.losses import next_item_objective_with
from layerprobe.reporting.figures.learning_rates import FACTS, TABLE, draw_rate_test
from layerprobe.store.atomic import replacing_folder, write_csv, write_json
from layerprobe.store.provenance import git_state
from layerprobe.store.run_folder import mark_done
from layerprobe.study.jobs.recommenders import teacher_job, variant_job
from layerprobe.study.jobs.sasrec import sasrec_job
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.model_folder import ModelJob
from layerprobe.training.options import train_batches
from layerprobe.training.range_test import RangeTest, RateRange, range_test
from layerprobe.training.rate_advice import read_range, sentence, verdict_sentence

SASREC, TEACHER = "sasrec", "teacher"


def rate_test(study: Study, model: str, tried: RateRange) -> Path:
    """Tests learning rates on a fresh model with the study's training options and returns the folder it wrote.

    The stages that the model needs run first: always data; for a recommender also items; for a variant that starts from
    the trained teacher also teach.

    Args:
        study: what is asked for.
        model: `teacher`, `sasrec`, or the text of a selection of the teacher's layers.
        tried: the range of rates.

    Raises:
        InputError: `model` is none of these, or as `run_stages`; nothing was computed.
        StudyError: as `run_stages`.
    """
    selection = None if model == SASREC else _selection(study, model)
    run_stages(study, _last_stage(study, selection))
    name, job, key = _job(study, selection)
    network = job.build()
    batches = train_batches(study.data.split, job.max_len, job.training, job.point.seed, network.extra_positions)
    test = range_test(
        network,
        batches,
        next_item_objective_with(job.training.loss),
        job.training,
        tried,
        f"learning-rate test of {name}",
    )
    folder = study.layout.learning_rates(name)
    processes.on_main(lambda: _write(folder, test, _facts(name, job, key, test)))
    return folder


def _selection(study: Study, model: str) -> LayerSelection:
    if model == TEACHER:
        return study.full
    if ":" not in model:
        raise InputError(
            f"--model must be {TEACHER}, {SASREC} or a selection ({FORMS} {MEASURED_FORMS}); got {model!r}"
        )
    return parse_selection(model, study.n_layers, study.measured)


def _last_stage(study: Study, selection: LayerSelection | None) -> str:
    """Names the stage after which the model can be built."""
    if selection is None:
        return "data"
    is_teacher = selection.depth == study.n_layers
    return "teach" if study.spec.probe.start == "teacher" and not is_teacher else "items"


def _job(study: Study, selection: LayerSelection | None) -> tuple[str, ModelJob, str]:
    """Returns the name of the model's folder, how it is built and trained, and the key of its learning rate."""
    if selection is None:
        return SASREC, sasrec_job(study, study.spec.probe.seeds[0]), "items.training.learning_rate"
    if selection.depth == study.n_layers:
        return TEACHER, teacher_job(study), "training.learning_rate"
    return selection.folder, variant_job(study, selection, study.spec.probe.seeds[0]), "training.learning_rate"


def _facts(name: str, job: ModelJob, key: str, test: RangeTest) -> dict[str, Any]:
    """Returns the content of `range.json`."""
    advice = read_range(test)
    rate = job.training.learning_rate
    said = [f"{name}: {sentence(test, advice)}"]
    said += [verdict_sentence(advice, key, rate)] if advice is not None else []
    return {
        "model": name,
        "seed": job.point.seed,
        "tried": asdict(test.tried),
        "training": to_plain(job.training),
        "steps_done": len(test.table),
        "ending": test.ending,
        "diverged_at": test.diverged_at,
        "suggestion": None if advice is None else asdict(advice),
        "own": {"key": key, "rate": rate, "verdict": None if advice is None else advice.verdict(rate)},
        "sentences": said,
        "git": git_state(),
    }


def _write(folder: Path, test: RangeTest, facts: dict[str, Any]) -> None:
    with replacing_folder(folder) as temporary:
        write_csv(temporary / TABLE, test.table)
        write_json(temporary / FACTS, facts)
        draw_rate_test(temporary)
        mark_done(temporary, "", [temporary / TABLE, temporary / FACTS])

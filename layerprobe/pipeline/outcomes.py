"""The derived stages: curve and slices, decision, distilled student, deployable folder, report.

Curve, slices and decision are rebuilt from the stored ranks every time, so they can never disagree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import columns, processes
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.mapping import BlockMap, block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import cache_teacher
from layerprobe.errors import BudgetNotMet, NothingToDistil
from layerprobe.export.student import StudentSource, write_student
from layerprobe.pipeline.arms import sasrec_folders, student_folders
from layerprobe.pipeline.complete import Complete, complete
from layerprobe.pipeline.cost_files import weigh_costs
from layerprobe.pipeline.distilled import write_distilled
from layerprobe.pipeline.layer_stage import compare_student
from layerprobe.pipeline.model_folder import ModelJob, Point, load_trained, read_metrics, read_ranks, train_and_rank
from layerprobe.pipeline.recommender_jobs import build_variant, load_teacher, variant_job
from layerprobe.pipeline.slice_stage import FLOORS, write_slices
from layerprobe.pipeline.spec import to_plain
from layerprobe.pipeline.study import Study
from layerprobe.pipeline.worth import write_worth
from layerprobe.probing.budget import BudgetPick
from layerprobe.probing.controls import compare_control
from layerprobe.probing.curves import CurvePoint, curve_rows
from layerprobe.probing.decide import decide
from layerprobe.probing.exits import EXIT_KINDS
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.reporting.report import write_report
from layerprobe.store.atomic import read_json, write_csv, write_json
from layerprobe.store.run_folder import DONE, file_hash_of
from layerprobe.training.checkpoint import MODEL
from layerprobe.training.log import say


def curve_stage(study: Study) -> None:
    """Writes `curve.csv`, and the slices of the models among its points, from every ranks file that is there."""
    options = study.spec.evaluation
    points = _curve_points(study)
    tables = [curve_rows(ranks, point, options.ks, options.alpha, options.n_boot) for point, ranks in points]
    write_slices(study, points)
    write_csv(study.folder / "curve.csv", pd.concat(tables, ignore_index=True))


def _curve_points(study: Study) -> list[tuple[CurvePoint, pd.DataFrame]]:
    seeds = study.spec.probe.seeds
    folders = [study.variant_folder(selection, seed) for seed in seeds for selection in study.selections]
    for control in study.spec.probe.controls:
        folders += [study.control_folder(control, each, seed) for seed in seeds for each in study.control_selections]
    folders += [*student_folders(study).values(), *sasrec_folders(study).values()]
    points = [(_model_point(folder), read_ranks(folder)) for folder in folders if (folder / DONE).exists()]
    for kind in EXIT_KINDS:
        for k in range(study.n_layers + 1):
            ranks = pd.read_parquet(study.folder / "exits" / f"ranks-{kind}-{k}.parquet")
            points.append((CurvePoint(kind, "", k, seeds[0], None, None, None), ranks))
    return points + [
        (CurvePoint(name, "", None, None, None, None, None), ranks) for name, ranks in _floors(study).items()
    ]


def _model_point(folder: Path) -> CurvePoint:
    found = read_metrics(folder)
    return CurvePoint(
        kind=found["kind"],
        selection=found["selection"],
        depth=found["depth"],
        seed=found["seed"],
        parameters=found["parameters"]["total"],
        train_seconds=found["train_seconds"],
        users_per_second=found["users_per_second"],
    )


def _floors(study: Study) -> dict[str, pd.DataFrame]:
    paths = {name: study.folder / "baselines" / f"ranks-{name}.parquet" for name in FLOORS}
    return {name: pd.read_parquet(path) for name, path in paths.items() if path.exists()}


def decide_stage(study: Study) -> None:
    """Writes `decision.json`, the smallest depth that is provably not worse than the full model by the margin.

    Where the study has control arms, `controls.json` compares every variant with its twin.

    Raises:
        BudgetNotMet: no studied selection keeps the budget, or none was measured; everything is written all the same.
    """
    counted = complete(study)
    variants = {each: _ranks_of(counted, partial(study.variant_folder, each)) for each in counted.selections}
    sasrec = [read_ranks(folder) for folder in _counted_floor(sasrec_folders(study), counted.seeds)]
    decision = decide(variants, {"sasrec": sasrec, **_floors(study)}, study.spec.decision)
    found = {**decision.to_dict(), "merged": [list(pair) for pair in study.family.merged]}
    found["notes"] += counted.notes
    pick = weigh_costs(study, found)
    write_json(study.folder / "decision.json", {**found, "budget": None if pick is None else pick.to_dict()})
    say(f"decision: {decision.sentence}")
    _compare_controls(counted, variants)
    write_worth(study, variants)
    _require_met(study, pick)  # last, so that nothing else is lost


def _require_met(study: Study, pick: BudgetPick | None) -> None:
    """Says what is picked within the budget, where the study has one."""
    if pick is not None:
        pick.require_met()
        say(f"budget: {pick.sentence}")
    elif study.spec.budget.limits:
        raise BudgetNotMet(
            f"a budget needs a measured selection, and memory was too small to measure any: free memory and run the "
            f"same command again for {study.spec.budget.label}"
        )


def _counted_floor(folders: Mapping[int, Path], seeds: tuple[int, ...]) -> list[Path]:
    """Returns a baseline's folders of the seeds that count; one that was trained once stands against all of them."""
    return list(folders.values()) if len(folders) == 1 else [folders[seed] for seed in seeds]


def _ranks_of(found: Complete, folder: Callable[[int], Path]) -> list[pd.DataFrame]:
    """Returns the ranks of one selection, one table per seed that counts."""
    return [read_ranks(folder(seed)) for seed in found.seeds]


def _compare_controls(found: Complete, variants: Mapping[LayerSelection, list[pd.DataFrame]]) -> None:
    """Writes `controls.json`; takes an older one away where the study has no control arm any more."""
    study = found.study
    path, arms = study.folder / "controls.json", []
    for control in study.spec.probe.controls:
        pairs = {
            each: (variants[each], _ranks_of(found, partial(study.control_folder, control, each)))
            for each in found.twins(control)
        }
        if pairs:
            arms.append(compare_control(control, pairs, study.spec.decision))
            say(f"controls: {arms[-1].sentence}")
    if arms:
        write_json(path, {"controls": [arm.to_dict() for arm in arms]})
    else:
        path.unlink(missing_ok=True)


def student_selection(study: Study) -> LayerSelection:
    """Returns the student's layers: those asked for, those picked within the budget, the decided ones, or deeper ones.

    Blocks must divide both depths, multiple supervision needs two of them, and depth 0 has none. Where the depth so
    decided does not fit, the next one that does is taken: with the studied selection of that depth that did best (one
    that is not worse goes before any other, then the metric counts), or `first:k` where none was studied.
    """
    asked = study.student_selection
    if asked is not None:
        return asked
    decision = read_json(study.folder / "decision.json")
    kept = _kept(decision)
    if kept["selection"] is not None and study.can_distil(kept["depth"]):
        return parse_selection(kept["selection"], study.n_layers, study.measured)
    decided = study.n_layers if kept["depth"] is None else max(kept["depth"], 1)
    depth = next(k for k in range(decided, study.n_layers + 1) if study.can_distil(k))
    studied = [row for row in decision["depths"] if row["depth"] == depth]
    best = max(studied, key=lambda row: (row["not_worse"], row["value"]), default={"selection": f"first:{depth}"})
    return parse_selection(best["selection"], study.n_layers, study.measured)


def _kept(decision: dict[str, Any]) -> dict[str, Any]:
    """Returns what names the kept `selection` and `depth`: the pick within the budget before the decision."""
    pick = decision.get("budget")
    return decision if pick is None or pick["selection"] is None else pick


def distill_stage(study: Study) -> None:
    """Trains the student on its teacher's block states, then adds its points to the curve and judges the gain.

    Raises:
        NothingToDistil: student and teacher are the same model before training, since the teacher's never improved.
    """
    selection = student_selection(study)
    _say_other_depth(study, selection)
    same_layers = selection.layers == study.full.layers
    if same_layers and read_metrics(study.folder / "teacher")["best_epoch"] == 0:
        raise NothingToDistil(
            "nothing to distil: the decision keeps all layers, and no epoch of the teacher's training was better on "
            "validation users than its start; train longer or with another learning rate, or choose distill.depth"
        )
    jobs = [distill_job(study, selection, seed) for seed in student_folders(study)]
    for job in jobs:
        train_and_rank(job, study.ranking, study.tracking)
    processes.on_main(lambda: curve_stage(study))
    trained = partial(load_trained, jobs[0].folder, jobs[0].build)
    processes.on_main(lambda: compare_student(study, jobs[0].folder, lambda: _student_of(trained())))
    processes.on_main(lambda: write_distilled(study, selection))


def _say_other_depth(study: Study, selection: LayerSelection) -> None:
    """Says where the student is not the selection to be kept: another was asked for, or it cannot be distilled."""
    decision = read_json(study.folder / "decision.json")
    kept = _kept(decision)
    pick = None if kept is decision else kept
    called = f"the decided {kept['selection']}" if pick is None else f"the budget's pick, {kept['selection']}"
    if kept["selection"] is None or list(selection.layers) == kept["layers"]:
        return
    if study.student_selection is not None:
        if pick is not None:
            say(f"student: {selection}, as distill.depth or distill.selection asks, and not {called}")
        return
    unlike = "; the budget is for its pick, not for this student" if pick is not None else ""
    if kept["depth"] == 0:
        why = "which has no layers and so nothing to distil: the next depth that can be distilled is taken"
    else:
        why = (
            "which shares no inner block with its teacher; distill.weights.multiple 0 and distill.selection "
            f"{kept['selection']} take {'the decided one' if pick is None else 'the pick'}"
        )
    say(f"student: {selection} in place of {called}, {why}{unlike}")


def distill_job(study: Study, selection: LayerSelection, seed: int) -> ModelJob:
    """Describes the distilled student that keeps `selection`; whatever its seed, the one teacher teaches it."""
    spec = study.spec.distill
    blocks = block_map(study.n_layers, selection.depth, spec.blocks)
    plain = variant_job(study, selection, seed)
    depends = {
        **plain.spec,
        **to_plain(study.student_recipe),
        # Without its selection and seed, which stand above with every other model's.
        "distill": {name: value for name, value in to_plain(spec).items() if name not in ("selection", "every_seed")},
        "teacher": file_hash_of(study.folder / "teacher", f"checkpoint/{MODEL}"),
    }

    def build() -> SequenceModel:
        student = build_variant(study, selection, seed, spec.start == "teacher", study.student_recipe)
        return StudentInTraining(student, blocks.blocks, seed)

    return ModelJob(
        point=Point.of("distilled", selection, seed),
        folder=student_folders(study)[seed],
        spec=depends,
        build=build,
        training=spec.training or study.spec.training,
        max_len=plain.max_len,
        parameters=plain.parameters,
        objective=lambda batches: _objective(study, blocks, batches),
        ranked=_student_of,
    )


def _objective(study: Study, blocks: BlockMap, batches: TrainBatches) -> BlockDistillation:
    cache = cache_teacher(load_teacher(study), batches, blocks.teacher)
    training = study.spec.distill.training or study.spec.training
    return BlockDistillation(study.spec.distill.weights, blocks, cache, training.loss)


def _student_of(model: SequenceModel) -> Recommender:
    assert isinstance(model, StudentInTraining)
    return model.student


def export_stage(study: Study) -> None:
    """Writes the deployable folder `student/` from the distilled student."""
    selection = student_selection(study)
    job = distill_job(study, selection, study.spec.probe.seeds[0])
    model = load_trained(job.folder, job.build)
    assert isinstance(model, StudentInTraining)
    source = StudentSource(
        name=study.spec.name,
        selection=selection.resolved,
        teacher_depth=study.n_layers,
        teacher_sha256=file_hash_of(study.folder / "teacher", f"checkpoint/{MODEL}"),
        student_sha256=file_hash_of(job.folder, f"checkpoint/{MODEL}"),
        data_sha256=study.data_hash,
        backbone={
            "checkpoint": study.spec.backbone.checkpoint,
            "revision": study.spec.backbone.revision,
            "keep": study.spec.backbone.keep,
            "content": study.content,
        },
        remove_history=study.spec.evaluation.remove_history,
        curve=_student_rows(study, job.point),
    )
    write_student(model.student, study.data.catalogue, source, study.folder / "student")


def _student_rows(study: Study, point: Point) -> pd.DataFrame:
    """Returns rows as the curve's of the teacher, and the curve's own of the student that is exported."""
    curve, folder = pd.read_csv(study.folder / "curve.csv"), study.folder / "teacher"
    options = study.spec.evaluation
    teacher = curve_rows(read_ranks(folder), _model_point(folder), options.ks, options.alpha, options.n_boot)
    is_student = (curve[columns.KIND] == point.kind) & (curve[columns.SELECTION] == point.selection)
    student = is_student & (curve[columns.SEED] == point.seed)
    return pd.concat([teacher, curve.loc[student]], ignore_index=True)


def report_stage(study: Study) -> Path:
    """Draws the report from the files of the study and returns its path.

    Raises:
        InputError: the study has no curve yet.
    """
    return write_report(study.folder)

"""The similarity stage as a user runs it: what it writes, where its numbers come from, and selections made of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from study_folders import Killed
from tiny_study import write_study

from layerprobe import columns
from layerprobe.backbone.selection import parse_selection
from layerprobe.cli.main import main
from layerprobe.data.batches import query_batch
from layerprobe.distillation.run import StudentInTraining
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.ranking import Ranking
from layerprobe.probing.removal import cuts as cuts_module
from layerprobe.probing.removal.importance import predicted_rise
from layerprobe.recommender.model import Recommender
from layerprobe.similarity.importance import LAYER_MEASURES
from layerprobe.similarity.measures import MEASURES
from layerprobe.similarity.sampling import SampledStates, sampled_states, sampled_users
from layerprobe.similarity.table import student_table
from layerprobe.similarity.vectors import angular_distance, block_influence
from layerprobe.stages.similarity import sample_options, share_lost
from layerprobe.stages.teacher.cuts import cut_store, study_cuts
from layerprobe.store.atomic import read_json, write_json
from layerprobe.store.seals.seal import read_seal, write_seal
from layerprobe.study.jobs.recommenders import build_variant, load_teacher
from layerprobe.study.jobs.students import distill_job, student_selection
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training.model_folder import load_trained

SELECTIONS = ["first:1", "first:2", "bi:2", "cka:1", "angular:3", "greedy:2"]
SIMILARITY = {"rows": 40, "n_boot": 100, "n_permutations": 20, "measures": list(MEASURES)}
CHANGES = {
    "probe": {"selections": SELECTIONS},
    "similarity": SIMILARITY,
    "distill": {"selection": "greedy:2", "weights": {"multiple": 0.0}},
}
TABLES = {"similarity.parquet", "null.csv", "states.csv", "importance.csv", "blocks.csv", "selections.json"}


def sample(study: Study, model: Recommender) -> SampledStates:
    return sampled_states(model, study.data.split, sample_options(study))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished study of measured selections. Read only."""
    folder = tmp_path_factory.mktemp("measured")
    assert main(["run", str(write_study(folder, **CHANGES)), "--out", str(folder / "study")]) == 0
    return folder / "study"


@pytest.fixture
def study(measured: Path, tmp_path: Path) -> Study:
    return Study(load_spec(write_study(tmp_path, **CHANGES), []), measured)


@pytest.fixture
def own(measured: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may change."""
    return Path(shutil.copytree(measured, tmp_path / "study"))


def run(folder: Path, stage: str = "run", **changes: object) -> int:
    return main([stage, str(write_study(folder, **{**CHANGES, **changes})), "--out", str(folder / "study")])


def importance_of(folder: Path, measure: str) -> np.ndarray:
    table = pd.read_csv(folder / "similarity" / "importance.csv")
    return table.loc[table[columns.MEASURE] == measure, columns.VALUE].to_numpy()


def test_the_stage_writes_exactly_its_files_with_their_columns(measured: Path) -> None:
    folder = measured / "similarity"
    names = {path.name for path in folder.iterdir()}
    assert names == TABLES | {"done.json", "cuts-40-0.parquet", "greedy.csv", "student.parquet", "student.json"}
    for name, expected in (
        ("null.csv", columns.NULL),
        ("states.csv", columns.STATES),
        ("importance.csv", columns.IMPORTANCE),
        ("blocks.csv", columns.BLOCKS),
    ):
        assert tuple(pd.read_csv(folder / name).columns) == expected
    table = pd.read_parquet(folder / "similarity.parquet")
    assert tuple(table.columns) == columns.SIMILARITY
    assert table.groupby(columns.MEASURE).size().to_dict() == dict.fromkeys(MEASURES, 5 * 5)
    assert set(table[columns.ROWS]) == {"last item of 40 validation histories"}
    assert len(pd.read_csv(folder / "null.csv")) == len(MEASURES) * 4
    assert len(pd.read_csv(folder / "blocks.csv")) == 4 * 5 / 2


def test_states_are_the_readouts_of_validation_histories(study: Study) -> None:
    """No state has seen a validation or a test target."""
    split = study.data.split
    users = sampled_users(split, 40, 0)
    assert (np.diff(users) > 0).all()
    assert set(users) <= set(split.evaluated)
    teacher = load_teacher(study)
    queries = split.queries("valid")
    rows = np.flatnonzero(np.isin(queries.users, users))
    expected = teacher.hidden(query_batch(split, queries, rows, teacher.max_len))
    found = sample(study, teacher).hidden
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_importance_of_the_states_is_that_of_the_library(study: Study, measured: Path) -> None:
    hidden = sample(study, load_teacher(study)).hidden
    np.testing.assert_allclose(importance_of(measured, "block-influence"), block_influence(hidden), atol=1e-6)
    blocks = pd.read_csv(measured / "similarity" / "blocks.csv").set_index([columns.START, columns.LENGTH])
    for start, length in blocks.index:
        expected = angular_distance(hidden[start], hidden[start + length])
        assert blocks.loc[(start, length), columns.VALUE] == pytest.approx(expected, abs=1e-6)


def test_what_is_lost_without_a_layer_is_what_the_cut_teacher_loses(study: Study, measured: Path) -> None:
    """Against models built anew from the teacher's weights with the layer dropped."""
    ranking = study.ranking_on(replace(study.data.split, asked=sampled_users(study.data.split, 40, 0)))
    seed = study.spec.probe.seeds[0]
    values = [
        ranking.each_valid(build_variant(study, parse_selection(f"drop:{layer}", 4), seed, from_teacher=True)).mean()
        for layer in range(4)
    ]
    full = ranking.each_valid(load_teacher(study)).mean()
    np.testing.assert_allclose(importance_of(measured, columns.DROP_ONE), 1 - np.array(values) / full, atol=1e-9)


def test_the_full_model_among_the_cuts_has_the_teachers_own_ranks(study: Study, measured: Path) -> None:
    ranks = pd.read_parquet(measured / "teacher" / "ranks.parquet").query("split == 'valid' and protocol == 'full'")
    ranks = ranks.set_index(columns.USER).loc[sampled_users(study.data.split, 40, 0)].reset_index()
    np.testing.assert_array_equal(cut_store(study).read_layers()[(0, 1, 2, 3)], metric_values(ranks, "ndcg", 10))


def test_the_prediction_in_the_table_is_the_size_of_the_mean_over_users(study: Study, measured: Path) -> None:
    split, teacher = study.data.split, load_teacher(study)
    queries = split.queries("valid")
    rows = np.flatnonzero(np.isin(queries.users, sampled_users(split, 40, 0)))
    rises = predicted_rise(teacher, query_batch(split, queries, rows, teacher.max_len))
    np.testing.assert_allclose(importance_of(measured, "taylor"), np.abs(rises.mean(axis=0)), rtol=1e-3, atol=1e-7)
    table = pd.read_csv(measured / "similarity" / "importance.csv").query("measure == 'taylor'")
    assert (table[columns.CI_LOW] >= 0).all()
    assert (table[columns.CI_LOW] <= table[columns.VALUE]).all()
    assert (table[columns.VALUE] <= table[columns.CI_HIGH]).all()


def test_measured_selections_keep_what_the_stage_wrote_down(study: Study, measured: Path) -> None:
    kept = {form: found["kept"] for form, found in read_json(measured / "similarity" / "selections.json").items()}
    assert set(kept) == {"bi", "cka", "angular", "greedy"}
    order = np.lexsort((-np.arange(4), importance_of(measured, "block-influence")))
    assert kept["bi"][2] == sorted(order[2:].tolist())
    curve = pd.read_csv(measured / "curve.csv").query("kind == 'variant'")
    merged = dict(study.family.merged)
    for text in SELECTIONS:
        form, depth = text.split(":")
        if form == "first":
            continue
        name = merged.get(text, text)
        folder = study.variant_folder(next(each for each in study.selections if each.text == name), 0)
        assert read_json(folder / "metrics.json")["layers"] == kept[form][int(depth)]
        assert name in set(curve["selection"])
    assert study.family.pending == ()


def test_greedy_takes_at_each_step_the_layer_that_costs_least(study: Study, measured: Path) -> None:
    cuts, kept = (
        cut_store(study).read_layers(),
        read_json(measured / "similarity" / "selections.json")["greedy"]["kept"],
    )
    for depth in (4, 3, 2):
        now = tuple(kept[depth])
        rests = {layer: cuts[tuple(other for other in now if other != layer)].mean() for layer in now}
        best = max(rests.values())
        gone = max(layer for layer, value in rests.items() if value == best)
        assert tuple(kept[depth - 1]) == tuple(other for other in now if other != gone)
    steps = pd.read_csv(measured / "similarity" / "greedy.csv")
    assert [list(row) for row in steps[["step", "value"]].to_numpy()] == [
        [step, pytest.approx(cuts[tuple(kept[4 - step])].mean())] for step in range(4)
    ]
    assert steps["layer"].tolist()[1:] == [(set(kept[5 - step]) - set(kept[4 - step])).pop() for step in range(1, 4)]


def test_cheap_scores_are_judged_against_the_fine_tuned_variants(study: Study, measured: Path) -> None:
    worth = pd.read_csv(measured / "predictiveness.csv").set_index(columns.SCORE)
    points = pd.read_csv(measured / "predicted.csv")
    expected = {*LAYER_MEASURES, columns.DROP_ONE, "taylor", "cut-ndcg", "cka-to-full", "depth"}
    assert expected <= set(worth.index)
    n_seeds = len(study.spec.probe.seeds)
    assert worth.index[-1] == ("perfect" if n_seeds > 1 else "perfect-same-models")
    assert (worth[columns.SEEDS] == n_seeds).all()
    selections = [each for each in study.selections if each.depth]
    assert worth.loc["depth", columns.N_SELECTIONS] == len(selections)
    assert worth.loc["exit-norm", columns.N_SELECTIONS] == 3  # first:1, first:2, first:4
    cut = points.loc[points[columns.SCORE] == "cut-ndcg"].set_index(columns.SELECTION)
    curve = pd.read_csv(measured / "curve.csv").query(
        "kind == 'variant' and split == 'test' and protocol == 'full' and metric == 'ndcg' and k == 10"
    )
    for each in selections:
        assert cut.loc[each.text, columns.VALUE] == pytest.approx(cut_store(study).read_layers()[each.layers].mean())
        value = curve.loc[curve["selection"] == each.text, "value"].iloc[0]
        assert cut.loc[each.text, columns.MEASURED] == pytest.approx(value)


def test_the_student_is_compared_with_its_teacher_on_the_same_users(study: Study, measured: Path) -> None:
    table = pd.read_parquet(measured / "similarity" / "student.parquet")
    assert tuple(table.columns) == columns.SIMILARITY
    assert table.groupby(columns.MEASURE).size().to_dict() == dict.fromkeys(MEASURES, 5 * 3)
    job = distill_job(study, student_selection(study), 0)
    student = load_trained(job.folder, job.build)
    assert isinstance(student, StudentInTraining)
    states = [sample(study, model).hidden for model in (load_teacher(study), student.student)]
    expected = student_table(*states, "any", ["cka"])
    rows = table.loc[table[columns.MEASURE] == "cka"]
    np.testing.assert_allclose(rows[columns.VALUE], expected[columns.VALUE], atol=1e-6)


def test_the_student_says_which_layers_it_keeps(measured: Path) -> None:
    kept = read_json(measured / "similarity" / "selections.json")["greedy"]["kept"][2]
    said = read_json(measured / "student" / "student.json")["kept_layers"]
    assert said == f"keep:{','.join(map(str, kept))}"


def test_a_second_run_ranks_nothing_and_changes_no_byte(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in (own / "similarity").iterdir()}
    monkeypatch.setattr(Ranking, "each_valid", lambda *_: pytest.fail("ranked again"))
    assert run(own.parent, "similarity") == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_stopped_greedy_removal_goes_on_where_it_was(
    tmp_path: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at its sixth ranking; the next run ranks the rest alone and writes the same bytes."""
    ranked: list[tuple[int, ...]] = []
    real = cuts_module.only_layers

    def counted(model: object, kept: tuple[int, ...]):
        ranked.append(kept)
        if len(ranked) == 6:
            raise Killed
        return real(model, kept)  # pyright: ignore[reportArgumentType]

    for name in ("data", "items", "teacher", "study.yaml", "provenance.json", "baselines"):
        source = measured / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (tmp_path / "study").mkdir(exist_ok=True)
        copy(source, tmp_path / "study" / name)
    monkeypatch.setattr(cuts_module, "only_layers", counted)
    with pytest.raises(Killed):
        run(tmp_path, "similarity")
    assert run(tmp_path, "similarity") == 0
    assert len(ranked) == len(set(ranked)) + 1  # the one that was cut off
    for name in TABLES:
        assert (tmp_path / "study" / "similarity" / name).read_bytes() == (measured / "similarity" / name).read_bytes()


def test_greedy_is_measured_when_it_is_first_asked_for_and_reuses_what_was_ranked(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "study")
    assert "greedy" not in read_json(tmp_path / "study" / "similarity" / "selections.json")
    asked: list[tuple[int, ...]] = []
    real = cuts_module.only_layers
    monkeypatch.setattr(cuts_module, "only_layers", lambda model, kept: asked.append(kept) or real(model, kept))
    study = write_study(tmp_path, probe={"depths": [0, 2], "selections": ["greedy:1"]})
    assert main(["decide", str(study), "--out", str(tmp_path / "study")]) == 0
    assert "greedy" in read_json(tmp_path / "study" / "similarity" / "selections.json")
    assert not {(0, 1, 2, 3), (1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2), (0, 1)} & set(asked)
    assert all(len(kept) < 3 for kept in asked)


def test_other_layers_under_the_name_of_a_trained_variant_are_refused(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when other users are sampled and greedy removal takes another way: the trained variant is not that one."""
    folder = own / "similarity"
    found, seal = read_json(folder / "selections.json"), read_seal(folder / "done.json")
    assert (own / "variants" / "greedy-2").exists()
    assert found["greedy"]["kept"][2] != [1, 2]
    found["greedy"]["kept"][2] = [1, 2]
    write_json(folder / "selections.json", found)
    write_seal(folder / "done.json", seal.key, [folder / name for name in seal.files])
    before = (own / "variants" / "greedy-2" / "seed-0" / "ranks.parquet").read_bytes()
    assert run(own.parent, "decide") == 2
    assert "these keys differ: layers" in capsys.readouterr().err
    assert (own / "variants" / "greedy-2" / "seed-0" / "ranks.parquet").read_bytes() == before


def test_the_plan_names_selections_whose_layers_are_still_to_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, **CHANGES)
    assert main(["run", str(path), "--out", str(tmp_path / "study"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    for text in SELECTIONS[2:]:
        assert f"variant: {text} (layers measured first), seed 0" in said
    assert "distilled: greedy:2" in said


@pytest.mark.parametrize("positions", ["items", "all"])
def test_states_may_be_read_at_any_item_or_with_the_prompt(positions: str, tmp_path: Path) -> None:
    similarity = {**SIMILARITY, "measures": ["cosine", "mutual-knn"], "positions": positions}
    changes = {"similarity": similarity, "prompt": {"kind": "learned", "vectors": 3}}
    path = write_study(tmp_path, **changes)
    assert main(["teach", str(path), "--out", str(tmp_path / "study")]) == 0
    study = Study(load_spec(path, []), tmp_path / "study")
    teacher = load_teacher(study)
    found = sample(study, teacher)
    hidden = found.hidden
    assert ("prompt included" in found.label) == (positions == "all")
    # hidden[0] tells what stands where: an item's mapped vector, or one of the three learned ones, not one per user.
    learned = teacher.prefix_vectors
    assert learned is not None
    is_prompt = (hidden[0][:, None] - learned.weight.detach()).norm(dim=2).amin(dim=1) < 1e-5
    assert bool(is_prompt.any()) == (positions == "all")
    assert not bool(is_prompt.all())
    assert torch.equal(hidden, sample(study, teacher).hidden)


def test_share_lost_is_the_ratio_of_means_with_the_delta_methods_parts() -> None:
    generator = np.random.default_rng(0)
    full, without = generator.random(300), generator.random((300, 2)) * [0.5, 1.2]
    found = share_lost(full, without)
    np.testing.assert_allclose(found.estimates, 1 - without.mean(axis=0) / full.mean())
    np.testing.assert_allclose(found.row_parts.mean(axis=0), found.estimates)
    keep = ~np.eye(300, dtype=bool)
    left = np.array([1 - without[row].mean(axis=0) / full[row].mean() for row in keep])
    jackknife = ((left - left.mean(axis=0)) ** 2).sum(axis=0) * 299 / 300
    np.testing.assert_allclose(found.row_parts.var(axis=0, ddof=1) / 300, jackknife, rtol=0.02)
    nothing = share_lost(np.zeros(5), np.zeros((5, 2)))
    assert (nothing.estimates == 0).all()


def test_cut_values_of_another_teacher_are_not_taken(own: Path) -> None:
    study = Study(load_spec(write_study(own.parent, **CHANGES), []), own)
    rows = Study(load_spec(write_study(own.parent, **{**CHANGES, "similarity": {**SIMILARITY, "rows": 30}}), []), own)
    assert cut_store(study).read_layers()
    assert cut_store(rows).read_layers() == {}
    study_cuts(rows).of((0, 1, 2, 3))
    assert list(cut_store(rows).read_layers()) == [(0, 1, 2, 3)]
    assert len(cut_store(study).read_layers()) > 5  # what was ranked once stays

"""Bad input through Python: each mistake is one line that names the argument, never an error from deeper down."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_study import write_study

import layerprobe as lp


@dataclass(frozen=True, eq=False)
class Place:
    """What the calls below start from; nothing is trained."""

    data: lp.PreparedData
    sasrec: lp.SASRec
    model: lp.Recommender
    ranks: pd.DataFrame
    study: lp.Study
    begun: lp.Study
    tmp: Path


@pytest.fixture(scope="module")
def place(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    tmp = tmp_path_factory.mktemp("bad")
    data = lp.prepare(lp.synthetic_log(lp.SyntheticOptions(n_users=40)))
    sasrec = lp.SASRec(data.catalogue.n_items, lp.SASRecOptions(dim=8, blocks=1, max_len=16), seed=0)
    recipe = lp.RecipeOptions(lp.BackboneOptions(layers=2, hidden_size=8, intermediate_size=12, heads=2))
    model = lp.build_recommender(recipe, sasrec.item_vectors())
    ranks = lp.rank(sasrec, data.split)
    (tmp / "text.txt").write_text("not a log")
    shutil.copytree(finished / "data", tmp / "begun" / "data")
    begun = lp.Study.open(write_study(tmp), tmp / "begun")
    return Place(data, sasrec, model, ranks, lp.Study.load(finished), begun, tmp)


RECIPE = lp.RecipeOptions(lp.BackboneOptions(layers=2, hidden_size=8, intermediate_size=12, heads=2))
CALLS: list[tuple[str, Callable[[Place], object], str]] = [
    ("log missing", lambda p: lp.load_log(p.tmp / "none.csv"), "path must be the log's file or folder"),
    ("log no path", lambda _: lp.load_log(3), "path must be a path, as text or pathlib.Path; got 3"),
    ("log format", lambda p: lp.load_log(p.tmp / "text.txt", "csv"), "source must be one of"),
    ("log options", lambda p: lp.load_log(p.tmp / "text.txt", options={}), "options must be SourceOptions"),
    ("prepare a path", lambda _: lp.prepare("ratings.csv"), "log must be RawLog; got 'ratings.csv': read one with"),
    ("prepare twice", lambda p: lp.prepare(lp.synthetic_log(), out=p.tmp), "out must be a new or empty folder"),
    ("data folder", lambda p: lp.load_prepared(p.tmp / "none"), "is not a data folder"),
    ("no items", lambda _: lp.SASRec(0), "n_items must be a whole number of at least 1; got 0"),
    ("sasrec options", lambda _: lp.SASRec(5, {"dim": 8}), "options must be SASRecOptions; got a dict"),
    ("option type", lambda _: lp.TrainingOptions(epochs="3"), "TrainingOptions.epochs must be a whole number"),
    ("option choice", lambda _: lp.TrainingOptions(schedule="steps"), "must be one of 'cosine', 'constant'"),
    ("option range", lambda _: lp.TrainingOptions(epochs=0), "epochs must be at least 1; got 0"),
    ("option section", lambda _: lp.RecipeOptions(backbone="llama"), "RecipeOptions.backbone must be BackboneOptions"),
    ("item table", lambda p: lp.build_recommender(RECIPE, p.sasrec), "item_table must be Tensor; got a SASRec"),
    ("table shape", lambda _: lp.build_recommender(RECIPE, torch.zeros(3)), "item_table must have the shape"),
    ("recipe", lambda _: lp.build_recommender("llama", torch.zeros(3, 2)), "recipe must be RecipeOptions"),
    ("selection", lambda _: lp.build_recommender(RECIPE, torch.zeros(3, 2), "frist:1"), "'frist:1' is not understood"),
    ("too deep", lambda _: lp.build_recommender(RECIPE, torch.zeros(3, 2), "first:3"), "depth must lie in 0 to 2"),
    ("parse", lambda _: lp.parse_selection(2, 4), "selection must be str; got 2: such as first:4"),
    ("fit no model", lambda p: lp.fit("sasrec", p.data.split), "model must be SequenceModel; got 'sasrec'"),
    ("fit the data", lambda p: lp.fit(p.sasrec, p.data), "split must be Split; got a PreparedData: take the .split"),
    ("fit options", lambda p: lp.fit(p.sasrec, p.data.split, {"epochs": 1}), "options must be TrainingOptions"),
    ("fit seed", lambda p: lp.fit(p.sasrec, p.data.split, seed=-1), "seed must be a whole number of at least 0"),
    ("rank no model", lambda p: lp.rank(None, p.data.split), "model must be a Recommender, a SASRec or a floor"),
    ("rank part", lambda p: lp.rank(p.sasrec, p.data.split, parts=["train"]), "parts must be one of valid, test"),
    ("negatives", lambda p: lp.rank(p.sasrec, p.data.split, lp.Protocols(sampled=10**6)), "1000000"),
    ("metrics of a list", lambda _: lp.metrics([1, 2]), "ranks must be a pandas DataFrame; got a list"),
    ("metrics columns", lambda _: lp.metrics(pd.DataFrame({"user": []})), "ranks must have the columns"),
    ("metrics cut-off", lambda p: lp.metrics(p.ranks, ks=[0]), "ks must be a whole number of at least 1; got 0"),
    ("curve kind", lambda p: lp.curve({"sasrek": p.ranks}), "the kind of a curve point must be one of"),
    ("curve of a table", lambda p: lp.curve(p.ranks), "ranks must be a mapping of names and ranks tables"),
    ("curve columns", lambda p: lp.curve({"sasrec": p.ranks[["user"]]}), "ranks of sasrec must have the columns"),
    ("exits of sasrec", lambda p: lp.exits(p.sasrec, p.data.split), "model must be Recommender; got a SASRec"),
    ("heads", lambda p: lp.exits(p.model, p.data.split, heads=3), "heads must be ProbeHeads; got 3"),
    ("states rows", lambda p: lp.states(p.model, p.data.split, lp.SampleOptions(rows=2)), "rows must be at least 5"),
    ("states", lambda _: lp.layer_similarity(torch.zeros(3)), "states must have the shape [layers + 1, rows, dim]"),
    ("measure", lambda _: lp.layer_similarity(torch.rand(3, 9, 4), ["kca"]), "measures must be a list of names"),
    ("importance", lambda _: lp.layer_importance("teacher"), "states must be SampledStates or Tensor or ndarray"),
    ("decide one", lambda p: lp.decide({"first:2": p.ranks}), "a decision needs the full model and a smaller depth"),
    ("decide a table", lambda p: lp.decide(p.ranks), "by_selection must be a mapping"),
    ("decide text", lambda _: lp.decide({"first:1": "a", "first:2": "b"}), "the ranks of depth 2 must be a table"),
    ("decide key", lambda p: lp.decide({None: p.ranks, 2: p.ranks}), "a selection must be int or str or LayerSel"),
    ("decide margin", lambda _: lp.DecisionOptions(margin=2), "margin must lie between 0 and 1"),
    ("decide noise", lambda _: lp.DecisionOptions(prior_noise=2), "prior_noise must lie in [0, 1); got 2"),
    ("decide noise kind", lambda _: lp.DecisionOptions(prior_noise="1 %"), "DecisionOptions.prior_noise must be"),
    ("decide users", lambda _: lp.DecisionOptions(prior_noise=0.1, cover="users"), "which cover users leaves out"),
    ("decide seeds", lambda _: lp.DecisionOptions(planned_seeds=1), "planned_seeds must be at least 2, or null; got 1"),
    ("decide look", lambda p: lp.decide({1: p.ranks, 2: p.ranks}, look=0.01), "look must be Look; got 0.01"),
    ("decide options", lambda p: lp.decide({1: p.ranks, 2: p.ranks}, options=0.02), "options must be DecisionOptions"),
    ("distil itself", lambda p: lp.distil(p.model, p.model, p.data.split), "student and teacher must be two models"),
    ("distil sasrec", lambda p: lp.distil(p.model, p.sasrec, p.data.split), "teacher must be Recommender; got"),
    ("distil options", lambda p: lp.distil(p.model, p.model, p.data.split, lp.TrainingOptions()), "DistilOptions"),
    ("export sasrec", lambda p: lp.export_student(p.sasrec, p.data, p.tmp / "s"), "a SASRec has no layers to deploy"),
    ("export split", lambda p: lp.export_student(p.model, p.data.split, p.tmp / "s"), "data must be PreparedData"),
    ("export over", lambda p: lp.export_student(p.model, p.data, p.tmp), "does not hold this student"),
    ("export card", lambda p: lp.export_student(p.model, p.data, p.tmp / "s", lp.CardOptions(ranks={"full": p.ranks})),
     "ranks must be those of teacher and student; got 'full'"),
    ("no student", lambda p: lp.load_student(p.tmp / "none"), "student must be a folder; there is none at"),
    ("student elsewhere", lambda p: lp.load_student(p.tmp), "a student is a folder that `layerprobe export` wrote"),
    ("student kind", lambda _: lp.load_student(None), "student must be a path"),
    ("recommend k", lambda p: lp.load_student(p.study.folder / "student").recommend(["a"], 0), "k must lie in 1.."),
    ("recommend text", lambda p: lp.load_student(p.study.folder / "student").recommend("a"), "must be a list of item"),
    ("recommend id", lambda p: lp.load_student(p.study.folder / "student").recommend(["nobody"]), "unknown: nobody"),
    ("spec missing", lambda _: lp.load_spec("none.yaml"), "a study is a YAML file; there is none at none.yaml"),
    ("spec kind", lambda _: lp.load_spec(None), "path must be a path"),
    ("study missing", lambda p: lp.Study.load(p.tmp / "none"), "folder must be a folder; there is none at"),
    ("study elsewhere", lambda p: lp.Study.load(p.tmp), "folder must be one that `layerprobe run` wrote"),
    ("study kind", lambda _: lp.Study.load(7), "folder must be a path"),
    ("study key", lambda p: lp.Study.open(p.tmp / "tiny.yaml", overrides=["--training.epoch", "1"]), "training.epoch"),
    ("one table", lambda p: lp.Study.open(p.tmp / "tiny.yaml", overrides=[
        "--items.table_per_seed", "true", "--items.every_seed", "false"]), "needs a SASRec of every seed"),
    ("drawn", lambda _: lp.BackboneOptions(layers=2, init_seed=-1), "init_seed must be at least 0, or null; got -1"),
    ("drawn kind", lambda _: lp.BackboneOptions(layers=2, init_seed="a"), "BackboneOptions.init_seed must be"),
    ("no curve", lambda p: p.begun.curve, "curve.csv is not there yet; run the study, or its stage: run('curve')"),
    ("no decision", lambda p: p.begun.decision, "run('decide')"),
    ("no similarity", lambda p: p.begun.similarity, "run('similarity')"),
    ("no ranks", lambda p: p.begun.ranks("popularity"), "run('items')"),
    ("no teacher", lambda p: p.begun.teacher(), "teacher of seed 0 is not trained yet; run the study"),
    ("no variant", lambda p: p.begun.variant("first:2"), "run('probe')"),
    ("no student yet", lambda p: p.begun.student(), "run('distill')"),
    ("not studied", lambda p: p.study.variant("last:1"), "the study has no selection last:1; it has first:0"),
    ("no such model", lambda p: p.study.ranks("bert4rec"), "a model of a study is teacher, student, a selection"),
    ("no such exit", lambda p: p.study.ranks("exit-norm-9"), "the depth of an exit must be one of 0, 1, 2, 3, 4"),
    ("no such seed", lambda p: p.study.variant("first:2", seed=5), "seed must be one of 0; got 5"),
    ("stage", lambda p: p.study.run("probing"), "a stage must be one of data, items"),
    ("stage kind", lambda p: p.study.run(3), "last must be str; got 3"),
    ("executor", lambda p: p.study.run("data", executor="slurm"), "executor must be one of local, ray"),
    ("report", lambda p: lp.write_report(p.tmp / "none"), "study must be a folder; there is none at"),
    ("report kind", lambda _: lp.write_report(None), "study must be a path"),
    ("data kind", lambda _: lp.load_prepared(None), "folder must be a path"),
    ("one part as text", lambda p: lp.exits(p.model, p.data.split, parts="test"), "parts must be a list of valid and"),
    ("exits batch", lambda p: lp.exits(p.model, p.data.split, batch_size=0), "batch_size must be a whole number"),
    ("other catalogue", lambda p: lp.rank(lp.SASRec(5), p.data.split), "model and split must be of one catalogue"),
    ("curve form", lambda p: lp.curve({"foo:2": p.ranks}), "selection 'foo:2' is not understood"),
    ("curve key", lambda p: lp.curve({None: p.ranks}), "a name of ranks must be str or int; got None"),
    ("curve cut-offs", lambda p: lp.curve({"sasrec": p.ranks}, ks=10), "ks must be a list of cut-offs"),
    ("metrics cut-offs", lambda p: lp.metrics(p.ranks, ks="10"), "ks must be a list of cut-offs, at least one"),
    ("no full model", lambda p: lp.decide({"keep:1": p.ranks}), "by_selection must hold the full model, as first:L"),
    ("history of numbers", lambda p: lp.load_student(p.study.folder / "student").recommend([1]), "ids are text"),
    ("no history", lambda p: lp.load_student(p.study.folder / "student").recommend(None), "history must be a list"),
    ("a table of NaN", lambda _: lp.build_recommender(RECIPE, torch.full((3, 2), float("nan"))), "must be finite"),
    ("selection kind", lambda _: lp.build_recommender(RECIPE, torch.zeros(3, 2), [1]), "selection must be str or int"),
    ("truncate a recommender", lambda p: lp.truncate(p.model, "first:1"), "take its .backbone"),
    ("seed of sasrec", lambda _: lp.SASRec(5, seed=1.5), "seed must be a whole number of at least 0; got 1.5"),
    ("width", lambda _: lp.SASRecOptions(dim=0), "dim must be at least 1; got 0"),
    ("fit into a file", lambda p: lp.fit(p.sasrec, p.data.split, folder=p.tmp / "text.txt"), "text.txt is a file"),
    ("help as a key", lambda p: lp.Study.open(p.tmp / "tiny.yaml", overrides=["--help"]), "must be keys and values"),
    ("text as keys", lambda p: lp.Study.open(p.tmp / "tiny.yaml", overrides="--name a"), "must be a list of keys"),
    ("a folder as YAML", lambda p: lp.Study.open(p.study.folder), "open the study in it with Study.load"),
    ("out is a file", lambda p: lp.Study.open(p.tmp / "tiny.yaml", p.tmp / "text.txt"), "out must be a folder"),
    ("study of no spec", lambda p: lp.Study(None, p.tmp), "spec must be StudySpec; got None"),
    ("seed of a floor", lambda p: p.study.ranks("popularity", seed=0), "popularity has no training seed of its own"),
    ("variant teacher", lambda p: p.study.variant("teacher"), "a model of a study is teacher, student, a selection"),
    ("plot metric", lambda p: lp.plot_depth(p.study.curve, metric=["ndcg"]), "metric must be str; got a list"),
    ("plot nothing", lambda p: lp.plot_depth(p.study.curve.head(0)), "curve"),
    ("plot axes", lambda p: lp.plot_depth(p.study.curve, ax=3), "ax"),
    ("plot a table", lambda p: lp.plot_decision(p.study.curve), "decision must be what decide(...) returns"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_a_bad_call_is_one_line(call: Callable[[Place], object], message: str, place: Place) -> None:
    before = {path for path in place.tmp.rglob("*") if path.is_file()}
    with pytest.raises(lp.InputError) as raised:
        call(place)
    text = str(raised.value)
    assert message in text
    assert "\n" not in text
    assert {path for path in place.tmp.rglob("*") if path.is_file()} == before  # nothing half-written, nothing lost


def test_a_curve_without_the_student_is_no_error(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "study")
    for name in ("student", "distillation"):
        shutil.rmtree(tmp_path / "study" / name)
    study = lp.Study.load(tmp_path / "study")
    assert len(study.curve)
    assert study.decision.full_depth == 4
    with pytest.raises(lp.InputError, match="student of seed 0 is not trained yet"):
        study.student()


@pytest.mark.parametrize(
    ("name", "spoil", "call", "message"),
    [
        ("teacher/checkpoint/model.safetensors", b"spoilt", lambda study: study.teacher(), "was changed after"),
        ("variants/first-2/seed-0/ranks.parquet", b"spoilt", lambda study: study.ranks("first:2"), "was changed after"),
        ("similarity/selections.json", b"[1]", lambda study: study.selections, "was changed after"),
        ("decision.json", b"{}", lambda study: study.decision, "decision.json is damaged"),
        ("curve.csv", b"a,b\n1,2\n", lambda study: study.curve, "curve.csv lacks the column"),
    ],
)
def test_a_damaged_file_of_a_study_is_one_line(
    name: str, spoil: bytes, call: Callable[[lp.Study], object], message: str, copied: Path
) -> None:
    (copied / name).write_bytes(spoil)
    (copied / "files.json").unlink()  # as of an older version, without hashes of the tables
    study = lp.Study.load(copied)
    with pytest.raises(lp.InputError) as raised:
        call(study)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "<table" in study._repr_html_()  # a study shows itself all the same


def test_a_decision_that_was_just_made_can_be_drawn_and_tabulated(place: Place) -> None:
    decision = lp.decide({"first:1": place.ranks, "first:2": place.ranks}, {"sasrec": place.ranks})
    assert decision.to_frame()["selection"].to_list() == ["first:1", "first:2"]
    assert lp.plot_decision(decision).get_ylabel()
    curve = lp.curve({"last:1": place.ranks, "first:2": place.ranks})
    assert curve.groupby("selection")["depth"].first().to_dict() == {"first:2": 2, "last:1": 1}


def test_a_teacher_can_be_trained_again_after_it_has_taught(place: Place) -> None:
    student = lp.build_recommender(RECIPE, place.sasrec.item_vectors(), "first:2", seed=1)
    training = lp.TrainingOptions(epochs=1, batch_size=32)
    wanted = [value.requires_grad for value in place.model.parameters()]
    lp.distil(student, place.model, place.data.split, lp.DistilOptions(training))
    assert [value.requires_grad for value in place.model.parameters()] == wanted
    lp.fit(place.model, place.data.split, training)

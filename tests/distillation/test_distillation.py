"""Distillation: every requested term works or the run stops; without terms it is plain fine-tuning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.losses import TERMS, DistillationWeights, cosine_term, norm_term
from layerprobe.distillation.mapping import block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import cache_teacher
from layerprobe.errors import DistillationTermError, InputError
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.model import Recommender
from layerprobe.training.loop import Trainer
from layerprobe.training.options import TrainingOptions

NONE = DistillationWeights(0.0, 0.0, 0.0)


@pytest.fixture
def teacher(item_table: torch.Tensor, recipe: RecipeOptions) -> Recommender:
    return build_recommender(recipe, item_table, None, 0).eval().requires_grad_(False)


@pytest.fixture
def batches(split: Split) -> TrainBatches:
    return TrainBatches(split, 8, 16, "all", 0)


def objective(teacher: Recommender, batches: TrainBatches, weights: DistillationWeights) -> BlockDistillation:
    blocks = block_map(4, 2)
    return BlockDistillation(weights, blocks, cache_teacher(teacher, batches, blocks.teacher))


def student(item_table: torch.Tensor, recipe: RecipeOptions, seed: int = 1) -> StudentInTraining:
    return StudentInTraining(build_recommender(recipe, item_table, "first:2", seed), 2, seed)


def test_blocks_end_where_the_paper_says() -> None:
    assert block_map(8, 4, 4).teacher == (2, 4, 6, 8)
    assert block_map(8, 4, 4).student == (1, 2, 3, 4)
    assert block_map(12, 8).blocks == 4  # the largest number that divides both


@pytest.mark.parametrize(
    ("teacher_depth", "student_depth", "blocks", "message"),
    [(6, 4, 4, "divide both"), (8, 3, 2, "divide both"), (4, 6, 2, "1..4"), (4, 0, None, "1..4"), (4, 2, 0, "divide")],
)
def test_depths_that_do_not_divide_are_refused(
    teacher_depth: int, student_depth: int, blocks: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        block_map(teacher_depth, student_depth, blocks)


def test_terms_equal_their_definitions_in_both_reductions() -> None:
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    cosines = torch.tensor(
        [[1 - float(a @ b / a.norm() / b.norm()) for a, b in zip(x, y, strict=True)] for x, y in zip(s, t, strict=True)]
    )
    squared = torch.tensor(
        [[float(((a - b) ** 2).sum()) for a, b in zip(x, y, strict=True)] for x, y in zip(s, t, strict=True)]
    )
    assert cosine_term(s, t, "paper").item() == pytest.approx(cosines.mean().item(), abs=1e-6)
    assert cosine_term(s, t, "code").item() == pytest.approx(cosines.mean(dim=1).sum().item(), abs=1e-6)
    assert norm_term(s, t, "paper").item() == pytest.approx(squared.mean().item(), rel=1e-6)
    assert norm_term(s, t, "code").item() == pytest.approx(squared.sqrt().mean(dim=1).sum().item(), rel=1e-6)


def test_student_equal_to_its_teacher_has_no_alignment_loss(
    teacher: Recommender, batches: TrainBatches, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    blocks = block_map(4, 4, 2)
    cache = cache_teacher(teacher, batches, blocks.teacher)
    batch = next(batches.epoch(0))
    states = build_recommender(recipe, item_table, None, 0).eval().hidden(batch)[list(blocks.student)]
    assert cosine_term(states, cache.at(batch.flat), "paper").item() < 1e-6
    assert norm_term(states, cache.at(batch.flat), "paper").item() < 1e-6


@pytest.mark.parametrize(
    "cuts", [{}, {"max_tokens": 12}, {"stride": 2}, {"stride": 1, "max_tokens": 4}], ids=lambda cuts: " ".join(cuts)
)
def test_the_cache_holds_the_teachers_states_of_each_position(
    cuts: dict[str, int], teacher: Recommender, split: Split
) -> None:
    batches = TrainBatches(split, 4, 16, "all", 0, **cuts)
    cache = cache_teacher(teacher, batches, (2, 4))
    for batch in batches.epoch(5):
        expected = teacher.hidden(batch)[[2, 4]]
        torch.testing.assert_close(cache.at(batch.flat), expected, atol=1e-5, rtol=0)


def test_the_teacher_runs_in_passes_that_fit_too(teacher: Recommender, split: Split) -> None:
    sizes: list[int] = []
    teacher.backbone.register_forward_pre_hook(
        lambda _module, _arguments, named: sizes.append(named["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    cache_teacher(teacher, TrainBatches(split, 8, 16, "all", 0), (2, 4))
    assert max(sizes) > 24
    sizes.clear()
    cache_teacher(teacher, TrainBatches(split, 8, 16, "all", 0, max_tokens=24), (2, 4))
    assert max(sizes) <= 24


def test_all_terms_are_there_positive_and_weighted(
    teacher: Recommender, batches: TrainBatches, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    weights = DistillationWeights(0.5, 0.25, 2.0)
    model = student(item_table, recipe).eval()
    terms = objective(teacher, batches, weights)(model, next(batches.epoch(0)))
    assert set(terms) == {"loss", "cross_entropy", *TERMS}
    expected = terms["cross_entropy"] + 0.5 * terms["cosine"] + 0.25 * terms["norm"] + 2.0 * terms["multiple"]
    assert terms["loss"].item() == pytest.approx(expected.item())
    assert min(value.item() for value in terms.values()) > 0


@pytest.mark.parametrize("name", TERMS)
def test_each_term_alone_changes_the_students_gradient(
    name: str, teacher: Recommender, batches: TrainBatches, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    batch = next(batches.epoch(0))

    def gradient(weights: DistillationWeights) -> torch.Tensor:
        model = student(item_table, recipe).eval()
        objective(teacher, batches, weights)(model, batch)["loss"].backward()
        return torch.cat(
            [value.grad.flatten() for value in model.student.network.parameters() if value.grad is not None]
        )

    assert not torch.equal(gradient(dataclasses.replace(NONE, **{name: 1.0})), gradient(NONE))


def test_zero_weights_are_plain_fine_tuning_to_the_last_bit(
    teacher: Recommender, batches: TrainBatches, item_table: torch.Tensor, recipe: RecipeOptions, tmp_path: Path
) -> None:
    options = TrainingOptions(epochs=2, batch_size=16, warmup_steps=1, patience=None)
    dropped = dataclasses.replace(recipe, recommender=dataclasses.replace(recipe.recommender, input_dropout=0.2))
    plain = build_recommender(dropped, item_table, "first:2", 1)
    Trainer(plain, batches, options, lambda _model: 0.0, tmp_path / "plain").run()
    model = student(item_table, dropped)
    distilling = objective(teacher, batches, NONE)
    Trainer(model, batches, options, lambda _model: 0.0, tmp_path / "kd", objective=distilling).run()
    for a, b in zip(plain.parameters(), model.student.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_teacher_is_not_changed(
    teacher: Recommender, batches: TrainBatches, item_table: torch.Tensor, recipe: RecipeOptions, tmp_path: Path
) -> None:
    before = [value.clone() for value in teacher.parameters()]
    options = TrainingOptions(epochs=1, batch_size=16, warmup_steps=0)
    distilling = objective(teacher, batches, DistillationWeights())
    Trainer(student(item_table, recipe), batches, options, lambda _model: 0.0, tmp_path, objective=distilling).run()
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_a_term_without_gradient_stops_the_run(
    teacher: Recommender, batches: TrainBatches, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    model = student(item_table, recipe)
    model.student.network.requires_grad_(False)
    model.student.network.norm.weight.requires_grad_(True)  # trained, but behind every aligned state
    with pytest.raises(DistillationTermError, match="cosine has no gradient"):
        objective(teacher, batches, DistillationWeights())(model, next(batches.epoch(0)))


@pytest.mark.parametrize(("scale", "message"), [(0.0, "above 0; it is 0"), (float("nan"), "it is nan")])
def test_a_zero_or_broken_term_stops_the_run(
    scale: float,
    message: str,
    teacher: Recommender,
    batches: TrainBatches,
    item_table: torch.Tensor,
    recipe: RecipeOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distilling = objective(teacher, batches, DistillationWeights(norm=0.0, multiple=0.0))
    distilling.proven = True
    monkeypatch.setattr(
        "layerprobe.distillation.run.cosine_term", lambda s, t, reduction: cosine_term(s, t, reduction) * scale
    )
    with pytest.raises(DistillationTermError, match=message):
        distilling(student(item_table, recipe), next(batches.epoch(0)))


def test_multiple_supervision_needs_an_inner_block(teacher: Recommender, batches: TrainBatches) -> None:
    blocks = block_map(4, 2, 1)
    with pytest.raises(InputError, match="only one block"):
        BlockDistillation(DistillationWeights(), blocks, cache_teacher(teacher, batches, blocks.teacher))


def test_negative_weights_are_refused() -> None:
    with pytest.raises(InputError, match="at least 0"):
        DistillationWeights(cosine=-1.0)

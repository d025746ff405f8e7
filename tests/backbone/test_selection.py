"""`parse_selection`: what each form keeps, and what it refuses."""

from __future__ import annotations

import pytest

from layerprobe.backbone.selection import LayerSelection, measured_form, parse_selection
from layerprobe.errors import InputError

KEPT = [
    ("first:0", 8, ()),
    ("first:3", 8, (0, 1, 2)),
    ("first:8", 8, tuple(range(8))),
    ("last:0", 8, ()),
    ("last:3", 8, (5, 6, 7)),
    ("every:2", 8, (0, 2, 4, 6)),
    ("every:3", 8, (0, 1, 3, 4, 6, 7)),
    ("every:8", 8, (0, 1, 2, 3, 4, 5, 6)),
    ("uniform:0", 8, ()),
    ("uniform:1", 8, (0,)),
    ("uniform:2", 8, (0, 7)),
    ("uniform:3", 8, (0, 4, 7)),  # 3.5 rounds up
    ("uniform:4", 8, (0, 2, 5, 7)),  # 7/3 = 2.33, 14/3 = 4.67
    ("uniform:8", 8, tuple(range(8))),
    ("uniform:1", 1, (0,)),
    ("ends:0", 8, ()),
    ("ends:1", 8, (0,)),
    ("ends:4", 8, (0, 1, 6, 7)),
    ("ends:5", 8, (0, 1, 2, 6, 7)),
    ("ends:8", 8, tuple(range(8))),
    ("random:0@7", 8, ()),
    ("random:8@7", 8, tuple(range(8))),
    ("keep:0,1,6,7", 8, (0, 1, 6, 7)),
    ("keep:0-2,7", 8, (0, 1, 2, 7)),
    ("drop:4-6", 8, (0, 1, 2, 3, 7)),
    ("drop:4,6", 8, (0, 1, 2, 3, 5, 7)),
    ("drop:0", 2, (1,)),
]


@pytest.mark.parametrize(("text", "n_layers", "layers"), KEPT)
def test_form_keeps_its_layers_and_prints_back(text: str, n_layers: int, layers: tuple[int, ...]) -> None:
    selection = parse_selection(text, n_layers)
    assert selection.layers == layers
    assert selection.depth == len(layers)
    assert str(selection) == text
    assert parse_selection(str(selection), n_layers) == selection


@pytest.mark.parametrize("form", ["first", "last", "uniform", "ends"])
@pytest.mark.parametrize("n_layers", [1, 2, 7, 28])
def test_counted_forms_keep_exactly_k_layers_for_every_k(form: str, n_layers: int) -> None:
    assert [parse_selection(f"{form}:{k}", n_layers).depth for k in range(n_layers + 1)] == list(range(n_layers + 1))


def test_random_is_pinned_by_its_seed_and_nested_in_k() -> None:
    # Smallest keys of random.Random(7): .3238 .1508 .6509 .0724 .5359 .3657 .0580 .5074
    assert parse_selection("random:4@7", 8).layers == (0, 1, 3, 6)
    assert set(parse_selection("random:3@7", 8).layers) < set(parse_selection("random:4@7", 8).layers)
    assert len({parse_selection(f"random:4@{seed}", 8).layers for seed in range(20)}) > 10


def test_random_draws_every_layer_equally_often() -> None:
    n_seeds, depth, n_layers = 2000, 3, 6
    drawn = [layer for seed in range(n_seeds) for layer in parse_selection(f"random:{depth}@{seed}", n_layers).layers]
    expected = n_seeds * depth / n_layers
    assert all(abs(drawn.count(layer) - expected) < 0.1 * expected for layer in range(n_layers))


def test_folder_names_are_safe_and_differ_between_range_and_list() -> None:
    texts = ["first:4", "keep:0,1,6,7", "drop:4-6", "drop:4,6", "random:4@7"]
    folders = [parse_selection(text, 8).folder for text in texts]
    assert folders == ["first-4", "keep-0_1_6_7", "drop-4-6", "drop-4_6", "random-4_7"]


REFUSED = [
    ("first:9", "depth must lie in 0 to 8"),
    ("first:-1", "depth must lie in 0 to 8"),
    ("uniform:9", "got 9"),
    ("random:9@7", "depth must lie in 0 to 8"),
    ("every:1", "N from 2 to 8; got 1"),
    ("every:9", "N from 2 to 8; got 9"),
    ("keep:0,8", "layers 0 to 7; got 8"),
    ("drop:6-8", "layers 0 to 7; got 8"),
    ("keep:0-999999999999", "layers 0 to 7; got 999999999999"),
    ("keep:1,1", "each named once; got 1,1"),
    ("keep:1,0", "strictly ascending"),
    ("keep:0-3,2", "strictly ascending"),
    ("drop:6-4", "strictly ascending"),
    ("keep:", "keeps no layer; use first:0"),
    ("drop:0-7", "keeps no layer; use first:0"),
    ("drop:", "drops no layer; use first:8"),
    ("", "the forms are: first:K last:K"),
    ("first", "is not understood"),
    ("frist:4", "'frist:4' is not understood; the forms are: first:K"),
    ("first:4.0", "is not understood"),
    ("first:04", "is not understood"),
    (" first:4", "is not understood"),
    ("first:4\n", "is not understood"),
    ("first:٤", "is not understood"),
    ("random:4", "random:K@SEED"),
    ("random:4@-1", "random:K@SEED"),
    ("keep:0, 1", "is not understood"),
    ("keep:-1", "is not understood"),
    ("bi:4", "needs the measured importance of a teacher's layers; measured here: nothing"),
    ("angular:4", "needs the measured importance"),
    ("cka:9", "depth must lie in 0 to 8"),
    ("greedy:4", "use one of: first:K"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refuses_with_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_selection(text, 8)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers", [(0, 0), (1, 0), (8,), (-1, 0)])
def test_a_selection_built_by_hand_is_checked_too(layers: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        LayerSelection(layers, "bi:2", 8)


KEPT = [[], [1], [1, 3], [0, 1, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("form", ["bi", "angular", "cka", "greedy"])
def test_measured_forms_keep_what_was_measured_at_that_depth(form: str) -> None:
    kept = [parse_selection(f"{form}:{k}", 4, {form: KEPT}).layers for k in range(5)]
    assert kept == [tuple(layers) for layers in KEPT]
    assert str(parse_selection(f"{form}:2", 4, {form: KEPT})) == f"{form}:2"
    assert measured_form(f"{form}:2", 4) == (form, 2)


def test_only_measured_texts_are_measured_forms_and_their_depth_is_checked() -> None:
    assert measured_form("first:2", 4) is None
    assert measured_form("bi:", 4) is None
    with pytest.raises(InputError, match="depth must lie in 0 to 4"):
        measured_form("bi:5", 4)


WRONG = [
    (4, {"cka": KEPT}, "measured here: cka"),
    (5, {"bi": KEPT}, "bi was measured on 4 layers; 'bi:2' is used for 5"),
    (4, {"bi": [[], [1], [1], [0, 1, 3], [0, 1, 2, 3]]}, "bi was measured on 4 layers"),
]


@pytest.mark.parametrize(("n_layers", "measured", "message"), WRONG)
def test_what_was_not_measured_on_this_backbone_is_refused(n_layers: int, measured: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_selection("bi:2", n_layers, measured)

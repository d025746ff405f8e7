"""The rules of looking more than once: levels by hand for sequences of looks, through the file and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from layerprobe.errors import InputError
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.looks import NO_PLAN, Look, check_looks, look_sentence, next_look
from layerprobe.store.atomic import write_json
from layerprobe.store.ledger import append_look, append_plan, read_ledger
from layerprobe.store.ledger_lines import Asked, Found
from layerprobe.store.seals.hashes import hash_text

OPTIONS = asdict(DecisionOptions())
SELECTIONS = ("first:1", "first:2", "first:4")
FOUND = Found(943, "undecided", None, None, "Undecided.")
A = 0.05


def ask(
    n_seeds: int | tuple[int, ...] = 3, ranks: str = "a", selections: tuple[str, ...] = SELECTIONS, **options
) -> Asked:
    """What is asked for; a number means the first seeds. Ranks are those of the seeds, unless they are named."""
    seeds = tuple(range(n_seeds)) if isinstance(n_seeds, int) else n_seeds
    return Asked({**OPTIONS, **options}, seeds, selections, hash_text(f"{ranks} {sorted(seeds)} {selections}"))


def look(folder: Path, asked: Asked) -> Look:
    """One decision as the decide stage takes it: read, judge, record."""
    found = next_look(read_ledger(folder), asked)
    assert append_look(folder, asked, found.level, FOUND) == found.number
    if found.number == found.of:
        assert read_ledger(folder).looks[-1].spent == pytest.approx(found.spent)
    return found


@dataclass(frozen=True)
class Case:
    """A plan and a sequence of looks: what is asked, and the expected (number, level) of each.

    Attributes:
        planned: seeds planned at first, and the largest number; None where nothing was planned.
    """

    planned: tuple[int, int | None] | None
    looks: tuple[tuple[Asked, int, float], ...]
    spent: float


CASES = {
    "one planned look": Case((3, None), ((ask(3), 1, A),), A),
    "the same look again": Case((3, None), ((ask(3), 1, A), (ask(3), 1, A), (ask((2, 1, 0)), 1, A)), A),
    "growth as planned": Case(
        (2, 6), ((ask(2), 1, A * 2 / 6), (ask(3), 2, A * 1 / 6), (ask(6), 3, A * 3 / 6)), A * (2 + 1 + 3) / 6
    ),
    "growth that stops early": Case((3, 6), ((ask(3), 1, A * 3 / 6),), A * 3 / 6),
    "a training that failed comes later": Case((3, None), ((ask((0, 2)), 1, A * 2 / 3), (ask(3), 2, A * 1 / 3)), A),
    "seeds beyond the plan": Case(
        (3, None), ((ask(3), 1, A), (ask(4), 2, A / 2), (ask(5), 3, A / 4), (ask(6), 4, A / 8)), A * (1 + 7 / 8)
    ),
    "growth, then beyond": Case(
        (3, 6), ((ask(3), 1, A / 2), (ask(8), 2, A / 2), (ask(6), 3, A / 2), (ask(9), 4, A / 4)), A * (1 + 3 / 4)
    ),
    "a part of the seeds": Case((3, None), ((ask(3), 1, A), (ask(2), 2, A / 2), (ask(1), 3, A / 4)), A * (1 + 3 / 4)),
    "seeds chosen after the plan": Case((3, None), ((ask((3, 4, 5)), 1, A / 2), (ask(3), 2, A)), A * 3 / 2),
    "other ranks of the same seeds": Case((3, None), ((ask(3), 1, A), (ask(3, ranks="b"), 2, A / 2)), A * 3 / 2),
    "other options": Case(
        (3, None),
        ((ask(3), 1, A), (ask(3, margin=0.01), 2, A), (ask(3, metric="hr"), 3, A), (ask(3, alpha=0.1), 4, 0.1)),
        3 * A + 0.1,
    ),
    "other options grow": Case(
        (3, None),
        ((ask(3), 1, A), (ask(3, k=5), 2, A), (ask(4, k=5), 3, A / 2), (ask(5, k=5), 4, A / 4)),
        2 * A + A * 3 / 4,
    ),
    "other selections": Case((3, None), ((ask(3), 1, A), (ask(3, selections=SELECTIONS[1:]), 2, A)), 2 * A),
    "other options first, then the plan": Case((3, None), ((ask(3, rule="simultaneous"), 1, A), (ask(3), 2, A)), 2 * A),
    "nothing planned": Case(None, ((ask(3), 1, A), (ask(4), 2, A / 2), (ask(5), 3, A / 4)), A * (1 + 3 / 4)),
    "an earlier look again": Case((3, None), ((ask(3), 1, A), (ask(4), 2, A / 2), (ask(3), 1, A)), A * 3 / 2),
}


@pytest.mark.parametrize("name", CASES)
def test_levels_are_those_of_the_rule(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    if case.planned is not None:
        n_seeds, growth = case.planned
        append_plan(tmp_path, {**OPTIONS, "planned_seeds": growth}, tuple(range(n_seeds)), SELECTIONS)
    found = [look(tmp_path, asked) for asked, _, _ in case.looks]
    assert [one.number for one in found] == [number for _, number, _ in case.looks]
    assert [one.level for one in found] == pytest.approx([level for _, _, level in case.looks])
    assert found[-1].spent == pytest.approx(case.spent)
    assert len(read_ledger(tmp_path).looks) == max(one.number for one in found) == found[-1].of


def test_the_cases_are_many() -> None:
    assert len(CASES) >= 12


def test_planned_looks_never_spend_more_than_alpha_and_all_of_one_way_never_twice_that(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for trial in range(20):
        folder = tmp_path / str(trial)
        growth = int(generator.integers(2, 9))
        append_plan(folder, {**OPTIONS, "planned_seeds": growth}, (0, 1), SELECTIONS)
        asked = [ask(int(n), str(r)) for n, r in generator.integers([1, 0], [12, 2], size=(10, 2))]
        found = {one.number: one for one in (look(folder, one) for one in asked)}
        planned = sum(one.level for one in found.values() if one.planned)
        extra = sum(one.level for one in found.values() if not one.planned)
        assert planned <= A + 1e-12
        assert extra < A
        assert max(one.spent for one in found.values()) == pytest.approx(planned + extra)


def test_the_whole_level_of_one_planned_look_is_exactly_alpha(tmp_path: Path) -> None:
    append_plan(tmp_path, OPTIONS, (0, 1, 2), SELECTIONS)
    found = look(tmp_path, ask(3))
    assert (found.level, found.planned, found.notes, look_sentence(found)) == (A, True, (), "")


def test_a_planned_part_says_its_level(tmp_path: Path) -> None:
    append_plan(tmp_path, {**OPTIONS, "planned_seeds": 6}, (0, 1, 2), SELECTIONS)
    assert look_sentence(look(tmp_path, ask(3))) == (
        "This look is tested at an error level of 2.5 % instead of 5 %: 3 of 6 planned seeds."
    )
    assert look_sentence(look(tmp_path, ask(6))) == (
        'This is the second look at these test users (decisions.jsonl): over both, the probability of a false "not '
        'worse" is at most 5 %. This look is tested at an error level of 2.5 % instead of 5 %: 6 of 6 planned seeds, '
        "after a look at 3."
    )


def test_later_looks_are_numbered_and_say_what_was_not_planned(tmp_path: Path) -> None:
    append_plan(tmp_path, OPTIONS, (0, 1, 2), SELECTIONS)
    look(tmp_path, ask(3))
    look(tmp_path, ask(5))
    third = look(tmp_path, ask(3, margin=0.01))
    assert look_sentence(third) == (
        "This is the third look at these test users (decisions.jsonl): over all three, the probability of a false "
        '"not worse" is at most 12.5 %. Not as planned before training: margin 1 %, planned 2 %.'
    )
    again = look_sentence(look(tmp_path, ask(5)))
    assert again.startswith("This is look 2 of 3 at these test users (decisions.jsonl): over all three, the prob")
    assert again.endswith(
        "Not as planned before training: 5 seeds, planned 3. This look is tested at an error level of 2.5 % instead of "
        "5 %: more seeds than planned."
    )


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        (ask(3, metric="hr", k=5), "metric hr, planned ndcg; k 5, planned 10"),
        (ask(3, prior_noise=0.01), "prior_noise 1 %, planned 0 %"),
        (ask((0, 1, 7)), "seeds 0, 1 and 7, planned 0, 1 and 2"),
        (
            ask(3, selections=("first:1", "first:4")),
            "selections first:1 and first:4, planned first:1, first:2 and first:4",
        ),
        (ask(3, n_boot=500, seed=3), "n_boot 500, planned 2000; seed 3, planned 0"),
    ],
)
def test_what_is_not_as_planned_is_said_beside_the_plan(tmp_path: Path, asked: Asked, note: str) -> None:
    append_plan(tmp_path, OPTIONS, (0, 1, 2), SELECTIONS)
    found = look(tmp_path, asked)
    assert not found.planned
    assert found.notes[0] == f"Not as planned before training: {note}."


def test_ranks_that_were_read_without_a_plan_are_said_to_be(tmp_path: Path) -> None:
    found = look(tmp_path, ask(3))
    assert (found.level, found.planned, found.notes) == (A, False, (NO_PLAN,))
    assert look_sentence(found) == "No plan was recorded before the test ranks were read."


def test_the_decision_of_an_older_version_counts(tmp_path: Path) -> None:
    kept = ("metric", "k", "margin", "alpha", "rule", "cover", "n_boot", "seed")
    rows = [{"depth": int(text[-1]), "selection": text, "seeds": 1} for text in SELECTIONS]
    old = {"depth": None, "sentence": "Keep all layers.", "depths": rows, "power": {"n_users": 943}}
    write_json(tmp_path / "decision.json", {**{name: OPTIONS[name] for name in kept}, **old})
    write_json(tmp_path / "study.yaml", {"probe": {"seeds": [0]}})  # JSON is YAML
    again, more = look(tmp_path, ask(1)), look(tmp_path, ask(3))
    assert (again.number, again.of, again.level, again.spent) == (1, 1, A, A)
    assert (more.number, more.of, more.level, more.spent) == (2, 2, A / 2, pytest.approx(A * 3 / 2))
    assert more.notes[0] == NO_PLAN


@pytest.mark.parametrize(
    ("number", "of", "start"),
    [
        (2, 2, "This is the second look at these test users (decisions.jsonl): over both, the"),
        (10, 10, "This is the tenth look at these test users (decisions.jsonl): over all ten, the"),
        (11, 11, "This is look 11 at these test users (decisions.jsonl): over all 11, the"),
        (1, 2, "This is look 1 of 2 at these test users (decisions.jsonl): over both, the"),
    ],
)
def test_looks_are_counted_in_words(number: int, of: int, start: str) -> None:
    assert look_sentence(Look(number, of, 0.05, 0.3, False, ())).startswith(start)


@pytest.mark.parametrize(
    ("spent", "text"), [(0.12, "12 %"), (0.05 + 0.05 / 3, "6.67 %"), (0.0512341, "5.13 %"), (1.0, "100 %")]
)
def test_what_is_spent_is_rounded_up(spent: float, text: str) -> None:
    assert f"is at most {text}." in look_sentence(Look(2, 2, 0.05, spent, False, ()))


@pytest.mark.parametrize(("planned", "n_seeds"), [(None, 1), (None, 9), (3, 3), (6, 2), (2, 1)])
def test_a_plan_that_holds_the_seeds_is_fine(planned: int | None, n_seeds: int) -> None:
    check_looks(DecisionOptions(planned_seeds=planned), tuple(range(n_seeds)))


@pytest.mark.parametrize(("planned", "n_seeds"), [(2, 3), (3, 10)])
def test_a_plan_that_is_smaller_than_the_seeds_is_refused(planned: int, n_seeds: int) -> None:
    message = (
        f"decision.planned_seeds must be at least the number of probe.seeds, which is {n_seeds}; got {planned}: it is"
    )
    with pytest.raises(InputError, match=message):
        check_looks(DecisionOptions(planned_seeds=planned), tuple(range(n_seeds)))

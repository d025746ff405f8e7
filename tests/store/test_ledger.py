"""The ledger of looks: what was decided stays known, and what was edited, removed or moved is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from layerprobe.errors import InputError
from layerprobe.store.atomic import write_json, write_text, write_yaml
from layerprobe.store.layout import StudyLayout
from layerprobe.store.ledger import append_look, append_plan, read_ledger
from layerprobe.store.ledger_lines import Asked, Found

OPTIONS = {
    "metric": "ndcg",
    "k": 10,
    "margin": 0.02,
    "alpha": 0.05,
    "rule": "sequence",
    "cover": "auto",
    "prior_noise": 0.0,
    "planned_seeds": None,
    "n_boot": 2000,
    "seed": 0,
}
SELECTIONS = ("first:1", "first:2", "first:4")
FOUND = Found(943, "keep 2 layers", "first:2", 2, "Keep 2 of 4 layers “as ever”.")
OLD = {
    **{name: OPTIONS[name] for name in ("metric", "k", "margin", "alpha", "rule", "cover", "n_boot", "seed")},
    "depth": None,
    "sentence": "Keep all layers.",
    "depths": [{"depth": 1, "selection": "first:1", "seeds": 2}, {"depth": 4, "selection": "", "seeds": 2}],
    "power": {"n_users": 943},
}


def asked(margin: float = 0.02, seeds: tuple[int, ...] = (0, 1, 2), ranks: str = "a") -> Asked:
    return Asked({**OPTIONS, "margin": margin}, seeds, SELECTIONS, hashlib.sha256(ranks.encode()).hexdigest())


def filled(folder: Path) -> list[str]:
    """A plan and three looks, as lines."""
    append_plan(folder, OPTIONS, (0, 1, 2), SELECTIONS)
    for margin, level in ((0.02, 0.05), (0.01, 0.05), (0.03, 0.0125)):
        append_look(folder, asked(margin), level, FOUND)
    return StudyLayout(folder).ledger.read_text(encoding="utf-8").splitlines()


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    assert append_plan(tmp_path, {**OPTIONS, "planned_seeds": 6}, (2, 0, 1), SELECTIONS)
    assert append_look(tmp_path, asked(), 0.025, FOUND) == 1
    ledger = read_ledger(tmp_path)
    assert ledger.plan is not None
    plain = {name: value for name, value in OPTIONS.items() if name != "planned_seeds"}
    assert (ledger.plan.options, ledger.plan.seeds, ledger.plan.planned_seeds) == (plain, (0, 1, 2), 6)
    assert ledger.plan.selections == SELECTIONS
    (look,) = ledger.looks
    assert (look.number, look.level, look.spent, look.n_users) == (1, 0.025, 0.025, 943)
    assert (look.verdict, look.selection, look.depth, look.sentence) == tuple(vars(FOUND).values())[1:]
    assert (look.options, look.seeds, look.selections) == (plain, (0, 1, 2), SELECTIONS)
    assert look.ranks == hashlib.sha256(b"a").hexdigest()
    assert datetime.fromisoformat(str(look.time)).utcoffset() is not None


def test_every_line_has_the_hash_of_the_line_before_it(tmp_path: Path) -> None:
    lines = filled(tmp_path)
    assert [json.loads(line)["kind"] for line in lines] == ["plan", "look", "look", "look"]
    before = ["", *(hashlib.sha256(line.encode()).hexdigest() for line in lines[:-1])]
    assert [json.loads(line)["previous"] for line in lines] == before
    assert [json.loads(line)["number"] for line in lines[1:]] == [1, 2, 3]
    assert [json.loads(line)["spent"] for line in lines[1:]] == pytest.approx([0.05, 0.1, 0.1125])


def test_a_line_is_added_and_no_earlier_one_is_written_anew(tmp_path: Path) -> None:
    lines = filled(tmp_path)
    append_look(tmp_path, asked(0.04), 0.01, FOUND)
    after = StudyLayout(tmp_path).ledger.read_text(encoding="utf-8").splitlines()
    assert (after[:-1], len(after)) == (lines, 5)


@pytest.mark.parametrize(
    "again",
    [
        asked(0.01),
        asked(0.01, (2, 1, 0)),
        Asked({**OPTIONS, "margin": 0.01, "planned_seeds": 9}, (0, 1, 2), SELECTIONS[::-1], asked().ranks_hash),
    ],
)
def test_a_look_that_is_repeated_adds_no_line_and_keeps_its_number(tmp_path: Path, again: Asked) -> None:
    lines = filled(tmp_path)
    assert append_look(tmp_path, again, 0.04, FOUND) == 2
    assert StudyLayout(tmp_path).ledger.read_text(encoding="utf-8").splitlines() == lines


@pytest.mark.parametrize(
    "other",
    [
        asked(0.015),
        asked(0.01, (0, 1)),
        asked(0.01, ranks="b"),
        Asked({**OPTIONS, "margin": 0.01}, (0, 1, 2), SELECTIONS[1:], asked().ranks_hash),
        Asked({**OPTIONS, "margin": 0.01, "prior_noise": 0.005}, (0, 1, 2), SELECTIONS, asked().ranks_hash),
    ],
)
def test_another_look_gets_the_next_number(tmp_path: Path, other: Asked) -> None:
    filled(tmp_path)
    assert append_look(tmp_path, other, 0.04, FOUND) == 4


def test_the_sum_of_levels_is_never_more_than_certain(tmp_path: Path) -> None:
    for look in range(3):
        append_look(tmp_path, asked(0.02 + look / 100), 0.4, FOUND)
    assert [look.spent for look in read_ledger(tmp_path).looks] == [0.4, 0.8, 1.0]


def edit(lines: list[str], place: int, old: str, new: str) -> list[str]:
    assert old in lines[place]
    return [*lines[:place], lines[place].replace(old, new), *lines[place + 1 :]]


CHANGES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "plan edited": (
        lambda lines: edit(lines, 0, '"margin": 0.02', '"margin": 0.01'),
        "line 1 does not fit, it was edited",
    ),
    "look edited": (lambda lines: edit(lines, 2, "0.05", "0.01"), "line 3 does not fit, it was edited"),
    "last look edited": (lambda lines: edit(lines, 3, "first:2", "first:1"), "line 4 does not fit, it was edited"),
    "first removed": (lambda lines: lines[1:], "line 1 does not fit, the line before it was edited, removed or moved"),
    "middle removed": (lambda lines: [*lines[:2], lines[3]], "line 3 does not fit, the line before it was"),
    "last removed": (lambda lines: lines[:3], "decision.json knows 3, and the file holds 2"),
    "two moved": (
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        "line 2 does not fit, the line before it was",
    ),
    "one doubled": (lambda lines: [*lines, lines[3]], "line 5 does not fit, the line before it was"),
    "cut off": (lambda lines: [*lines[:3], lines[3][:80]], "line 4 does not fit, it is not JSON"),
    "emptied": (lambda _: [], "line 1 does not fit, it is not JSON"),
    "a key more": (lambda lines: edit(lines, 1, '"kind"', '"a": 1, "kind"'), "the key a is not known"),
    "a key less": (lambda lines: edit(lines, 1, '"n_users": 943, ', ""), "the key n_users is missing"),
    "no object": (lambda lines: [*lines[:1], "[]"], "LookLine must be a mapping"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_ledger_is_one_line_and_stays_as_it_is(tmp_path: Path, change: str) -> None:
    path = StudyLayout(tmp_path).ledger
    alter, message = CHANGES[change]
    lines = filled(tmp_path)
    write_json(tmp_path / "decision.json", {"look": {"number": 1, "of": 3}})
    read_ledger(tmp_path)
    changed = "".join(f"{line}\n" for line in alter(lines))
    write_text(path, changed)
    for call in (read_ledger, lambda folder: append_look(folder, asked(0.04), 0.01, FOUND)):
        with pytest.raises(InputError) as caught:
            call(tmp_path)
        assert message in str(caught.value)
        assert str(caught.value).endswith("restore the file from a copy; nothing was overwritten")
        assert "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8") == changed


def test_a_ledger_that_is_missing_is_found_by_the_decision(tmp_path: Path) -> None:
    write_json(tmp_path / "decision.json", {**OLD, "look": {"number": 2, "of": 2}})
    with pytest.raises(InputError, match="decision.json knows 2, and the file is missing: restore"):
        read_ledger(tmp_path)


def test_a_ledger_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    StudyLayout(tmp_path).ledger.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="decisions.jsonl is damaged, it is not text: restore"):
        read_ledger(tmp_path)


def test_a_kill_between_look_and_decision_leaves_a_ledger_that_reads(tmp_path: Path) -> None:
    filled(tmp_path)
    write_json(tmp_path / "decision.json", {"look": {"number": 2, "of": 2}})
    assert len(read_ledger(tmp_path).looks) == 3


def test_a_plan_is_written_once(tmp_path: Path) -> None:
    assert append_plan(tmp_path, OPTIONS, (0, 1, 2), SELECTIONS)
    before = StudyLayout(tmp_path).ledger.read_bytes()
    assert not append_plan(tmp_path, {**OPTIONS, "margin": 0.5}, (0,), SELECTIONS)
    assert StudyLayout(tmp_path).ledger.read_bytes() == before


@pytest.mark.parametrize(
    "file", ["curve.csv", "decision.json", "teacher/metrics.json", "variants/first-1/seed-0/metrics.json"]
)
def test_what_is_written_after_ranks_is_no_plan(tmp_path: Path, file: str) -> None:
    write_json(tmp_path / file, OLD)
    assert not append_plan(tmp_path, OPTIONS, (0, 1, 2), SELECTIONS)
    assert not StudyLayout(tmp_path).ledger.exists()


@pytest.mark.parametrize(("seeds", "read"), [([1, 0], (0, 1)), ([0, 1, 2], ()), (None, ())])
def test_the_decision_of_an_older_version_is_the_first_look(
    tmp_path: Path, seeds: list[int] | None, read: tuple
) -> None:
    write_json(tmp_path / "decision.json", OLD)
    if seeds is not None:
        write_yaml(tmp_path / "study.yaml", {"probe": {"seeds": seeds}})
    (look,) = read_ledger(tmp_path).looks
    assert (look.time, look.number, look.ranks, look.seeds) == (None, 1, None, read)
    assert (look.selections, look.level, look.spent) == (("first:1", "first:4"), 0.05, 0.05)
    assert append_look(tmp_path, asked(0.01), 0.05, FOUND) == 2
    ledger = read_ledger(tmp_path)
    assert (ledger.plan, [line.number for line in ledger.looks]) == (None, [1, 2])
    assert json.loads(ledger.texts[1])["previous"] == hashlib.sha256(ledger.texts[0].encode()).hexdigest()


def test_an_older_decision_taken_again_is_its_only_line(tmp_path: Path) -> None:
    write_json(tmp_path / "decision.json", OLD)
    write_yaml(tmp_path / "study.yaml", {"probe": {"seeds": [0, 1]}})
    again = Asked(OPTIONS, (0, 1), ("first:4", "first:1"), asked().ranks_hash)
    assert append_look(tmp_path, again, 0.05, FOUND) == 1
    assert len(StudyLayout(tmp_path).ledger.read_text().splitlines()) == 1


def test_selections_that_an_older_version_merged_were_asked_for(tmp_path: Path) -> None:
    write_json(tmp_path / "decision.json", {**OLD, "merged": [["keep:0", "first:1"]]})
    (look,) = read_ledger(tmp_path).looks
    assert look.selections == ("first:1", "first:4", "keep:0")


def test_an_older_decision_without_a_rule_had_the_rule_of_its_version(tmp_path: Path) -> None:
    write_json(
        tmp_path / "decision.json", {name: value for name, value in OLD.items() if name not in ("rule", "cover")}
    )
    (look,) = read_ledger(tmp_path).looks
    assert (look.options["rule"], look.options["cover"]) == ("simultaneous", "users")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"metric": "ndcg"}'])
def test_a_damaged_decision_counts_as_none_since_deciding_again_repairs_it(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "decision.json", text)
    assert read_ledger(tmp_path).looks == ()
    assert append_look(tmp_path, asked(), 0.05, FOUND) == 1

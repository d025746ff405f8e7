"""Values of a log: dates as numbers, and ids that are written in more than one way."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tiny_study import write_study

from layerprobe.cli.main import main
from layerprobe.data.audit import OrderAudit
from layerprobe.data.prepare import DataOptions, prepare
from layerprobe.data.sources.dates import ticks
from layerprobe.data.sources.ids import coded
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.sources.registry import SourceOptions, read_source
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json


def written(folder: Path, times: list[str]) -> Path:
    path = folder / "log.csv"
    path.write_text("user,item,timestamp\n" + "".join(f'u,i{n},"{time}"\n' for n, time in enumerate(times)))
    return path


def times_of(path: Path) -> list[int]:
    log = read_source("table", path, SourceOptions()).interactions
    assert log.timestamp is not None
    return log.timestamp.tolist()


def seconds(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=timezone.utc).timestamp())  # type: ignore[misc]


NOON = seconds(2020, 2, 1, 12)
DATES = [
    (["2020-02-01", "2020-02-02"], [NOON - 43_200, NOON + 43_200]),
    (["2020-02-01 12:00:00", " 2020-02-01T12:00:01 "], [NOON, NOON + 1]),
    (["2020-02-01 12:00", "2020-02-01"], [NOON, NOON - 43_200]),
    (["2020-02-01T12:00:00Z", "2020-02-01 12:00:01 UTC", "2020-02-01 12:00:02 GMT"], [NOON, NOON + 1, NOON + 2]),
    (["2020-02-01T12:00:00+01:00", "2020-02-01 12:00:00-0530"], [NOON - 3600, NOON + 19_800]),
    (["2020-02-01 12:00:00 +00:00", "2020-02-01 12:00:00+02"], [NOON, NOON - 7200]),
    (["2020-02-01T12:00:00+01:00", "2020-02-01 12:00:00", "2020-02-01"], [NOON - 3600, NOON, NOON - 43_200]),
    (["2020-02-01 12:00:00.25", "2020-02-01 12:00:01"], [NOON * 10**6 + 250_000, (NOON + 1) * 10**6]),
    (["2020-02-01T12:00:00.000", "2020-02-01T12:00:01.000Z"], [NOON, NOON + 1]),
    (["2020-02-01T12:00:00.1234567Z", "2020-02-01"], [NOON * 10**9 + 123_456_700, (NOON - 43_200) * 10**9]),
    (["1969-12-31 23:59:59", "1970-01-01"], [-1, 0]),
    (["1969-12-31 23:59:59.5", "1970-01-01"], [-500_000, 0]),
]


@pytest.mark.parametrize(("texts", "expected"), DATES)
def test_iso_dates_are_seconds_or_finer_where_they_must(tmp_path: Path, texts: list[str], expected: list[int]) -> None:
    assert times_of(written(tmp_path, texts)) == expected


def test_random_moments_equal_those_of_the_standard_library() -> None:
    generator = np.random.default_rng(5)
    moments = [datetime.fromtimestamp(int(time), tz=timezone.utc) for time in generator.integers(0, 2**32, 500)]
    texts = pa.chunked_array([[moment.isoformat() for moment in moments[:200]], [f"{m:%F %T}" for m in moments[200:]]])
    assert ticks(texts).to_pylist() == [int(moment.timestamp()) for moment in moments]


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["01/02/2020", "02/02/2020"], 2),
        (["2020-02-01", "01/02/2020"], 3),
        (["1.2.2020", "2020-02-01"], 2),
        (["1580558400", "2020-02-01"], 3),
        (["2020-02-01", "1580558400"], 3),
        (["2020-02-01", "2020-02-30"], 3),
        (["2020-13-01", "2020-02-01"], 2),
        (["2020-02-01", ""], 3),
        (["2020-02-01", "2020-02-01 25:00"], 3),
        (["2020-02-01T12:00:00+01:00", "2020-02-01 12:00:00 CET"], 3),
    ],
)
def test_other_dates_are_refused_with_the_accepted_ones_named(tmp_path: Path, texts: list[str], line: int) -> None:
    path = written(tmp_path, texts)
    with pytest.raises(InputError) as raised:
        times_of(path)
    assert str(raised.value) == (
        f"{path} line {line}: 'timestamp' must be a finite number, or a date such as 2020-02-01, 2020-02-01 10:00:00 "
        f"or 2020-02-01T10:00:00+01:00; got {texts[line - 2]!r}"
    )


def test_dates_and_seconds_of_the_same_moments_are_the_same_log(tmp_path: Path) -> None:
    spelt = times_of(written(tmp_path, ["2020-02-01 12:00:00", "2020-02-03"]))
    assert spelt == times_of(written(tmp_path, [str(NOON), str(NOON + 129_600)]))


# Five spellings of one number. Spaces are cut off, so three ids are left, and a note names them.
DIRTY = [" 1", "1 ", "1", "1.0", "01"]
CLEAN = list("klmnopqrst")
ALIKE = (
    "3 {0} ids are the same as another but for '.0' or leading zeros, such as '1', '1.0', '01'; they count as "
    "different {0}s: write every id in one way"
)


def dirty_log(folder: Path) -> Path:
    rows = [(user, f"i{place}", place) for user in [*DIRTY, *CLEAN] for place in range(4)]
    (folder / "log.csv").write_text("user,item,timestamp\n" + "".join(f'"{u}",{i},{t}\n' for u, i, t in rows))
    return folder / "log.csv"


def test_ids_are_trimmed_and_spellings_of_one_number_are_noted(tmp_path: Path) -> None:
    raw = read_source("table", dirty_log(tmp_path), SourceOptions())
    assert raw.interactions.user_ids.tolist() == ["1", "1.0", "01", *CLEAN]
    assert np.bincount(raw.interactions.user).tolist() == [12, 4, 4, *[4] * len(CLEAN)]
    assert raw.notes == ("2 user ids had spaces around them, which were cut off", ALIKE.format("user"))


def test_notes_reach_the_facts_and_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = dirty_log(tmp_path)
    with log.open("a") as opened:  # a study needs more items than its largest cut-off
        opened.writelines(f"collector,x{place},{place}\n" for place in range(20))
    notes = ["2 user ids had spaces around them, which were cut off", ALIKE.format("user")]
    facts = prepare(DataOptions("table", log), tmp_path / "python").facts
    assert facts["audit"]["notes"][:2] == notes
    assert read_json(tmp_path / "python" / "facts.json")["audit"]["notes"] == facts["audit"]["notes"]
    assert main(["prepare", "--source", "table", "--path", str(log), "--out", str(tmp_path / "data")]) == 0
    printed = capsys.readouterr().out
    study = write_study(tmp_path, data={"source": "table"}, evaluation={"sampled": None, "remove_history": False})
    assert main(["data", str(study), "--path", str(log), "--out", str(tmp_path / "run")]) == 0
    ran = capsys.readouterr()
    assert all(f"note: {note}" in text for note in notes for text in (printed, ran.out + ran.err))
    assert all(f"note: {note}" in "\n".join(OrderAudit(**facts["audit"]).lines()) for note in notes)


def test_titles_join_trimmed_ids(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text('user,item,timestamp\nu, 1,1\nu,"2 ",2\nu,\u00a03,3\n')
    (tmp_path / "items.csv").write_text("item,title\n1 , One\n 2,Two \n3,Three\n")
    raw = read_source("table", tmp_path, SourceOptions())
    assert raw.titles == {"1": "One", "2": "Two", "3": "Three"}


@pytest.mark.parametrize(
    ("ids", "n_alike"),
    [
        (["1", "2", "10", "100", "0"], 0),
        (["01", "02", "10"], 0),
        (["1.0", "2.0"], 0),
        (["1.5", "1.50", "a01", "a1"], 0),
        (["0", "00", "0.0"], 3),
        (["7", "007", "8", "8.0", "9"], 4),
        (["10", "010", "1"], 2),
    ],
)
def test_only_spellings_of_the_same_number_are_noted(ids: list[str], n_alike: int) -> None:
    found = coded(pa.chunked_array([ids]), "item")
    assert found.ids.tolist() == ids
    assert [note.partition(" ")[0] for note in found.notes] == [str(n_alike)] * (n_alike > 0)


def test_an_id_of_spaces_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user,item,timestamp\nu,a,1\n"  ",b,2\n')
    with pytest.raises(InputError, match="line 3: an id must not be empty; column 'user' is"):
        read_source("table", path, SourceOptions())


LISTS = [
    ("sequences", "u, 1,1,01\n", ","),
    ("recbole", "user_id:token\titem_id_list:token_seq\titem_id:token\nu\t1 01\t 1\n", None),
]


@pytest.mark.parametrize(("source", "text", "delimiter"), LISTS)
def test_lists_of_items_are_trimmed_too(tmp_path: Path, source: str, text: str, delimiter: str | None) -> None:
    path = tmp_path / "x.inter"
    path.write_text(text)
    raw: RawLog = read_source(source, path, SourceOptions(delimiter=delimiter))
    assert sorted(raw.interactions.item_ids) == ["01", "1"]
    assert len(raw.interactions) == 3
    assert len(raw.notes) == 2

"""`verify` finds whatever was changed, also where the forger wrote the hashes anew, and names the place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.publishing.comparing import Checked
from layerprobe.publishing.publish import publish
from layerprobe.publishing.verify import verify
from layerprobe.store.atomic import read_json, write_json
from layerprobe.store.manifest import write_manifest
from layerprobe.store.packed_ranks import COUNTED, digest


def differing(folder: Path, until: str | None = None) -> dict[str, str]:
    """The first difference of each file that differs; no further than the file `until`, since the last take longest."""
    found = {}
    for checked in verify(folder):
        if checked.differences:
            found[checked.name] = checked.differences[0].text
        if until is not None and checked.name == until:
            break
    return found


def is_named(folder: Path, name: str) -> bool:
    """Whether a file is found to differ, by itself or by its seal; looks no further than that."""
    return any(
        difference.text.startswith(name) or checked.name == name
        for checked in verify(folder)
        for difference in checked.differences
    )


def forge(folder: Path) -> None:
    """Writes the hashes of the changed files anew, as a forger would."""
    write_manifest(folder, "tiny")


def test_a_published_study_is_verified_without_torch(published: Path) -> None:
    command = "import sys; from layerprobe.cli.main import main; code = main(['verify', sys.argv[1]])"
    done = subprocess.run(
        [sys.executable, "-c", f"{command}; sys.exit(code or 'torch' in sys.modules)", str(published)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "DIFFER" not in done.stdout
    assert re.fullmatch(r"verified: [\d,]+ numbers in \d+ checks, all equal", lines[-1])
    named = {line.split(":")[0] for line in lines}
    results = {path.name for path in published.iterdir() if path.suffix in (".csv", ".json", ".jsonl")}
    assert results - {"provenance.json", "convergence.csv"} <= named  # these two are sealed
    assert {"report.md", "ranks/test-full.parquet", "costs/front.csv", "teacher/metrics.json"} <= named


def test_every_number_of_the_curve_is_computed_again(published: Path) -> None:
    curve = pd.read_csv(published / "curve.csv")
    keys = [*columns.CURVE[:4], "protocol", "split", "metric", "k"]
    checked = next(one for one in verify(published) if one.name == "curve.csv")
    assert checked.numbers == int(curve.drop(columns=keys).notna().sum().sum())
    assert checked.skipped == 0


def test_a_study_of_ones_own_is_verified_too(finished: Path) -> None:
    assert differing(finished) == {}


def flip(path: Path, column: str, row: int) -> None:
    """Gives one user another rank."""
    table = parquet.read_table(path)
    values = table[column].to_numpy().copy()
    values[row] += 1
    place = table.column_names.index(column)
    parquet.write_table(table.set_column(place, column, pa.array(values)), path)


@pytest.mark.parametrize("part", ["test-full", "valid-full", "test-sampled-20", "valid-sampled-20"])
@pytest.mark.parametrize("column", ["teacher:n_higher", "items:n_ties", "exits/ranks-exit-raw-1:n_higher"])
def test_one_flipped_rank_is_found_and_its_model_named(moved: Path, part: str, column: str) -> None:
    flip(moved / "ranks" / f"{part}.parquet", column, 3)
    assert f"ranks/{part}.parquet" in next(iter(verify(moved))).differences[0].text
    forge(moved)
    found = differing(moved, "curve.csv")
    assert column.split(":")[0] in found[f"ranks/{part}.parquet"]
    assert "curve.csv" in found


def test_one_flipped_rank_is_found_in_the_numbers_where_its_digest_was_forged_as_well(moved: Path) -> None:
    path = moved / "ranks/test-full.parquet"
    flip(path, "teacher:n_higher", 3)
    checked = next(one for one in verify(moved) if one.name == "ranks/test-full.parquet")
    assert len(checked.differences) == 1
    record = read_json(moved / "ranks/packed.json")
    table = pd.read_parquet(path)
    part = next(part for part in record["parts"] if (part["split"], part["protocol"]) == ("test", "full"))
    part["models"]["teacher"] = digest([table[f"teacher:{name}"].to_numpy() for name in COUNTED])
    write_json(moved / "ranks/packed.json", record)
    forge(moved)
    found = differing(moved, "decisions.jsonl")
    assert "ranks/test-full.parquet" not in found
    assert re.match(
        r"row variant first:4 4 0 full test \w+ \d+, column \w+: stored [\d.]+, computed", found["curve.csv"]
    )
    assert {"curve.csv", "teacher/metrics.json", "decisions.jsonl"} <= set(found)


def leaves(value: object, place: tuple = ()) -> list[tuple]:
    """The places of all numbers in JSON."""
    if isinstance(value, dict):
        return [leaf for name, entry in value.items() for leaf in leaves(entry, (*place, name))]
    if isinstance(value, list):
        return [leaf for position, entry in enumerate(value) for leaf in leaves(entry, (*place, position))]
    return [place] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def edit_json(path: Path, pick: Callable[[list], tuple]) -> None:
    content = read_json(path)
    *way, last = pick(leaves(content))
    holder = content
    for step in way:
        holder = holder[step]
    holder[last] = holder[last] * 1.01 + (1 if isinstance(holder[last], int) else 1e-4)
    path.write_text(json.dumps(content))


def edit_csv(path: Path, pick: Callable[[list], tuple]) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    cells = [
        (row, column)
        for row in range(len(table))
        for column in table.columns
        if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", table[column][row])
    ]
    row, column = pick(cells)
    cells_of = table[column].tolist()
    table[column] = [repr(float(cell) * 1.01 + 1e-4) if place == row else cell for place, cell in enumerate(cells_of)]
    table.to_csv(path, index=False)


JSON = ["decision.json", "distilled.json", "teacher/metrics.json", "data/facts.json", "data/split.json",
        "provenance.json", "similarity/selections.json", "costs/costs.json", "ranks/packed.json"]  # fmt: skip
CSV = ["curve.csv", "convergence.csv", "predictiveness.csv", "predicted.csv", "slices.csv", "slice_differences.csv",
       "robustness.csv", "costs/costs.csv", "costs/front.csv", "similarity/importance.csv", "similarity/states.csv",
       "figures/depth-variants.csv"]  # fmt: skip


@pytest.mark.parametrize("pick", [lambda cells: cells[len(cells) // 2], lambda cells: cells[-1]], ids=["half", "last"])
@pytest.mark.parametrize("name", JSON + CSV)
def test_one_edited_number_is_found_in_any_file(moved: Path, name: str, pick) -> None:
    (edit_csv if name.endswith(".csv") else edit_json)(moved / name, pick)
    assert name in next(iter(verify(moved))).differences[0].text
    forge(moved)
    assert is_named(moved, name)


def test_one_edited_number_in_the_report_is_found_by_its_line(moved: Path) -> None:
    path = moved / "report.md"
    lines = path.read_text().split("\n")
    number = max(place for place, line in enumerate(lines) if line.startswith("|") and re.search(r"0\.\d{4}", line))
    lines[number] = re.sub(r"0\.(\d{3})\d", r"0.\g<1>x", lines[number], count=1)
    path.write_text("\n".join(lines))
    forge(moved)
    found = differing(moved)
    assert set(found) == {"report.md"}
    assert found["report.md"].startswith(f"line {number + 1}: stored")


def test_files_that_were_removed_or_added_are_named(moved: Path) -> None:
    (moved / "figures/depth-variants.svg").unlink()
    (moved / "figures/mine.csv").write_text("a,b\n1,2\n")
    checked = next(iter(verify(moved)))
    assert {difference.where: difference.computed for difference in checked.differences} == {
        "figures/depth-variants.svg": "no file",
        "figures/mine.csv": "a file",
    }


def without_user(path: Path, row: int) -> None:
    table = parquet.read_table(path)
    parquet.write_table(pa.concat_tables([table.slice(0, row), table.slice(row + 1)]), path)


@pytest.mark.parametrize("row", [0, 7, 79])
@pytest.mark.parametrize("parts", [["test-full"], ["valid-sampled-20"], ["test-full", "test-sampled-20"]])
def test_a_missing_user_is_named_in_one_line(moved: Path, parts: list[str], row: int, capsys) -> None:
    user = parquet.read_table(moved / f"ranks/{parts[0]}.parquet")["user"].to_pylist()[row]
    for part in parts:
        without_user(moved / f"ranks/{part}.parquet", row)
    forge(moved)
    assert main(["verify", str(moved)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"user {user} is" in error
    assert "missing" in error
    assert parts[0] in error


def test_a_user_who_is_missing_everywhere_is_counted(moved: Path, capsys) -> None:
    for path in (moved / "ranks").glob("*.parquet"):
        without_user(path, 5)
    forge(moved)
    assert main(["verify", str(moved)]) == 2
    assert "must hold 80 users; it holds 79" in capsys.readouterr().err


def other_users(folder: Path) -> None:
    path = folder / "ranks/test-full.parquet"
    table = parquet.read_table(path)
    users = pa.array([user + 1 for user in table["user"].to_pylist()])
    parquet.write_table(table.set_column(0, "user", users), path)


def other_targets(folder: Path) -> None:
    path = folder / "ranks/test-full.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(1, "target", pa.array(table["target"].to_pylist()[::-1])), path)


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_users, "must be of the same users and targets; one of user 0 is"),
        (other_targets, "has another target"),
        (write("ranks/test-full.parquet", "spoilt"), "must hold packed ranks"),
        (remove("ranks/test-full.parquet"), "it is missing"),
        (remove("ranks/packed.json"), "packed.json is missing"),
        (remove("manifest.json"), "manifest.json is missing"),
        (write("manifest.json", "{"), "manifest.json cannot be read"),
        (write("study.yaml", "name: tiny"), "must hold every option"),
        (remove("study.yaml"), "study.yaml is missing: give a whole folder"),
        (remove("curve.csv"), "curve.csv"),
        (write("decision.json", "[]"), "decision.json"),
        (remove("teacher/metrics.json"), "metrics.json is missing"),
    ],
)
def test_what_is_no_report_is_one_line(moved: Path, spoil, said: str, capsys) -> None:
    spoil(moved)
    assert main(["verify", str(moved)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["absent", "moved/report.md"])
@pytest.mark.usefixtures("moved")
def test_a_place_that_is_no_folder_is_one_line(tmp_path: Path, name: str, capsys) -> None:
    assert main(["verify", str(tmp_path / name)]) == 2
    assert "report must be a folder" in capsys.readouterr().err


def test_what_did_not_travel_is_counted_and_nothing_else_is_missed(finished: Path, tmp_path: Path, capsys) -> None:
    folder = publish(finished, tmp_path / "small", limit=1).folder
    checks: list[Checked] = list(verify(folder))
    assert [checked.name for checked in checks if checked.differences] == []
    curve = next(checked for checked in checks if checked.name == "curve.csv")
    rows = pd.read_csv(folder / "curve.csv")
    travelled = rows[(rows["split"] == "test") & (rows["protocol"] == "full")]
    assert curve.skipped > 2 * curve.numbers > 0
    assert curve.numbers == int(travelled[list(columns.CURVE[8:])].notna().sum().sum())
    assert main(["verify", str(folder)]) == 0
    assert "could not be computed, since their ranks did not travel" in capsys.readouterr().out


def test_the_command_names_what_differs_and_fails(moved: Path, capsys) -> None:
    curve = pd.read_csv(moved / "curve.csv", dtype=str, keep_default_na=False)
    wanted = "kind == 'variant' and selection == 'first:2' and split == 'test' and protocol == 'full'"
    (row,) = curve.query(f"{wanted} and metric == 'ndcg' and k == '10'").index
    value = curve.loc[row, "value"]
    curve.loc[row, "value"] = "0.987"
    curve.to_csv(moved / "curve.csv", index=False)
    forge(moved)
    assert main(["verify", str(moved)]) == 1
    out = capsys.readouterr().out
    assert f"row variant first:2 2 0 full test ndcg 10, column value: stored 0.987, computed {value}" in out
    assert out.splitlines()[-1].startswith("NOT verified: ")

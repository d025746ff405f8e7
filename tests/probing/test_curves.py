from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import hit_rate
from layerprobe.evaluation.uncertainty import mean_intervals
from layerprobe.probing.curves import CurvePoint, curve_rows, read_curve
from layerprobe.store.atomic import write_csv

VARIANT = CurvePoint("variant", "first:2", depth=2, seed=1, parameters=1000, train_seconds=1.5, users_per_second=300.0)
FLOOR = CurvePoint("popularity")


def ranks_table(n_users: int = 40, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    parts = [
        pd.DataFrame(
            {
                columns.USER: np.arange(n_users),
                columns.SPLIT: split,
                columns.PROTOCOL: protocol,
                columns.N_HIGHER: generator.integers(0, 20, n_users),
                columns.N_TIES: generator.integers(0, 2, n_users),
            }
        )
        for split in ("valid", "test")
        for protocol in ("full", "sampled-9")
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_point_has_one_row_per_protocol_split_metric_and_cutoff() -> None:
    rows = curve_rows(ranks_table(), VARIANT, ks=[1, 10], alpha=0.05, n_boot=200)
    assert tuple(rows.columns) == columns.CURVE
    keys = rows[[columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.K]]
    assert len(keys.drop_duplicates()) == len(rows) == 2 * 2 * 5
    assert set(keys[columns.METRIC]) == {"hr", "ndcg", "mrr"}
    assert (rows[columns.N_USERS] == 40).all()


def test_values_and_bands_are_those_of_the_group() -> None:
    ranks = ranks_table()
    rows = curve_rows(ranks, VARIANT, ks=[1, 10], alpha=0.1, n_boot=200)
    group = ranks[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == "sampled-9")]
    hits = hit_rate(group[columns.N_HIGHER].to_numpy(), group[columns.N_TIES].to_numpy(), 10)
    low, high = mean_intervals(hits[:, None], 0.1, 200, seed=0)
    row = rows.query("split == 'test' and protocol == 'sampled-9' and metric == 'hr' and k == 10").iloc[0]
    assert row[columns.VALUE] == pytest.approx(hits.mean())
    assert (row[columns.CI_LOW], row[columns.CI_HIGH]) == pytest.approx((low[0], high[0]), rel=1e-6)
    assert low[0] < hits.mean() < high[0]


def test_rows_say_what_was_ranked() -> None:
    row = curve_rows(ranks_table(), VARIANT, [10], 0.05, 100).iloc[0]
    expected = ["variant", "first:2", 2, 1, 1000, 1.5, 300.0]
    names = [columns.KIND, columns.SELECTION, columns.DEPTH, columns.SEED, columns.PARAMETERS, *columns.CLOCK]
    assert row[names].tolist() == expected


def test_a_written_curve_reads_back_to_the_last_digit(tmp_path: Path) -> None:
    points = [curve_rows(ranks_table(seed=i), point, [1, 10], 0.05, 100) for i, point in enumerate((VARIANT, FLOOR))]
    table = pd.concat(points, ignore_index=True)
    write_csv(tmp_path / "curve.csv", table)
    pd.testing.assert_frame_equal(read_curve(tmp_path / "curve.csv"), table, check_exact=True)


def test_a_floor_has_no_depth(tmp_path: Path) -> None:
    write_csv(tmp_path / "curve.csv", curve_rows(ranks_table(), FLOOR, [10], 0.05, 100))
    table = read_curve(tmp_path / "curve.csv")
    assert table[columns.DEPTH].isna().all()
    assert table[columns.DEPTH].dtype == "Int64"
    assert (table[columns.SELECTION] == "").all()


def test_points_have_a_known_kind() -> None:
    with pytest.raises(InputError, match="must be one of variant, random-init.*got 'exit'"):
        CurvePoint("exit")


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 150)])
def test_ranks_that_are_empty_or_cut_off_are_refused(rows: slice) -> None:
    with pytest.raises(InputError, match="same users and targets in every protocol of a split"):
        curve_rows(ranks_table()[rows], VARIANT, [10], 0.05, 100)


HEADER = ",".join(columns.CURVE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be a curve table; .*No such file"),
        ("", "must be a curve table; No columns to parse"),
        (f"{HEADER}\n1,2\n1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\n", "must be a curve table; Error tokenizing"),
        (HEADER.replace("depth,", "") + "\n", "lacks the column depth; found kind, selection, seed"),
        (f"{HEADER}\nvariant,first:2,two,0,full,test,hr,10,.1,.1,.1,5,1,1,1\n", "a value of the wrong type: .*two"),
        (f"{HEADER}\nvariant,first:2,2.5,0,full,test,hr,1,.1,.1,.1,5,1,1,1\n", "a value of the wrong type"),
        (f"{HEADER}\nvariant,first:2,2,0,full,test,hr,,.1,.1,.1,5,1,1,1\n", "a value of the wrong type"),
    ],
)
def test_a_broken_curve_file_is_named_in_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "curve.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_curve(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)

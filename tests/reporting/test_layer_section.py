"""The section on layers: warnings with their numbers, what chance gives, who disagrees, and what each score keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.findings.layers import agreement_sentence, null_sentences, state_warnings
from layerprobe.reporting.sections.layers import NO_WARNING, layers_section
from layerprobe.reporting.tables.layers import agreement, as_similarity, best_starts, pair_matrix, to_final
from layerprobe.store.atomic import write_json


def states(**cells: list[float]) -> pd.DataFrame:
    quiet = {"outlier_rows": 0.0, "outlier_spread": 0.05, "rogue_dims": 0, "rogue_share": 0.3, "mean_cosine": 0.2}
    return pd.DataFrame({"layer": [0, 1, 2], "n_rows": 400, "dim": 64, **quiet} | cells)


def test_quiet_states_give_no_warning(fake_study: Path) -> None:
    assert state_warnings(states()) == []
    assert NO_WARNING in layers_section(read_study(fake_study)).paragraphs


@pytest.mark.parametrize(
    ("cells", "phrases"),
    [
        (
            {"outlier_spread": [0.11, 0.34, 0.10], "outlier_rows": [0.0, 0.012, 0.0]},
            ["in 2 of 3 states outlier rows hold more than 10 %", "after 1 layer 1.2 % of the rows hold 34.0 %."],
        ),
        (
            {"rogue_share": [0.5, 0.6, 0.71], "rogue_dims": [0, 1, 3], "mean_cosine": 0.3},
            [
                "in 2 of 3 states the largest dimension holds more than 50 %",
                "after 2 layers it holds 71.0 %, and 3 of 64",
            ],
        ),
        (
            {"mean_cosine": [0.1, 0.93, 0.6]},
            ["after 1 layer the states of two random users have a mean cosine of 0.93"],
        ),
    ],
)
def test_each_trap_is_one_sentence_with_the_worst_state(cells: dict[str, list[float]], phrases: list[str]) -> None:
    (sentence,) = state_warnings(states(**cells))
    for phrase in phrases:
        assert phrase in sentence


def test_a_rogue_dimension_of_a_mean_cosine_near_zero_is_none() -> None:
    assert state_warnings(states(rogue_share=[0.9, 0.9, 0.9], mean_cosine=[0.05, 0.1, -0.05])) == []
    assert len(state_warnings(states(rogue_share=[0.9, 0.9, 0.9], mean_cosine=[0.05, 0.11, -0.05]))) == 1


def test_warnings_of_the_states_are_in_the_section(own_study: Path) -> None:
    states(mean_cosine=[0.1, 0.93, 0.6]).to_csv(own_study / "similarity" / "states.csv", index=False)
    text = layers_section(read_study(own_study)).markdown
    assert "**Keep in mind:**\n\n- All users have a common direction" in text
    assert NO_WARNING not in text


def curves(nulls: list[float] | None = None, **measures: list[float]) -> pd.DataFrame:
    tables = []
    for name, values in measures.items():
        null = np.array([np.nan] * len(values) if nulls is None else nulls)
        table = pd.DataFrame({"measure": name.replace("_", "-"), "layer": range(len(values)), "value": values})
        tables.append(table.assign(null_value=null, null_low=null - 0.05, null_high=null + 0.05))
    return pd.concat(tables, ignore_index=True)


def test_chance_is_said_where_it_is_far_from_zero_and_where_a_state_is_no_nearer() -> None:
    assert null_sentences(curves(cka=[0.1, 0.5, 1.0])) == []
    calm = ["By every measure, every state is more similar to the final one than shuffled rows are."]
    assert null_sentences(curves([0.0, 0.1, 0.9], cka=[0.1, 0.5, 1.0])) == calm
    assert null_sentences(curves([0.0, 0.3, 0.9], cka_biased=[0.05, 0.5, 1.0], svcca=[0.4, 0.5, 1.0])) == [
        "Shuffled rows alone reach up to: linear CKA, biased 0.30, SVCCA 0.30. Compare these with the grey band, not "
        "with 0.",
        "Linear CKA, biased to the final state is no higher than chance after k = 0 layers.",
    ]


def test_the_angular_distance_of_chance_is_not_called_high() -> None:
    assert len(null_sentences(curves([0.5, 0.5, 0.5], angular=[0.6, 0.7, 1.0]))) == 1
    sentences = null_sentences(curves([0.5, 0.5, 0.5, 0.5], angular=[0.5, 0.51, 0.52, 1.0]))
    assert sentences == ["1 - angular distance to the final state is no higher than chance after k = 0-2 layers."]
    high = null_sentences(curves([0.84, 0.84, 0.84], angular=[0.9, 0.93, 1.0]))
    assert high == [
        "Shuffled rows alone reach up to: 1 - angular distance 0.84. Compare these with the grey band, not with 0."
    ]


def test_measures_that_order_the_states_otherwise_are_named() -> None:
    rising, falling = [0.1, 0.2, 0.3, 0.9, 1.0], [0.4, 0.3, 0.2, 0.1, 1.0]
    pairs = agreement(curves(cka=rising, rsa=falling, cknna=[0.2, 0.1, 0.3, 0.4, 1.0]))
    # Ranks 1 2 3 4 against 2 1 3 4: 1 - 6 * 2 / (4 * 15); against 4 3 2 1: -1; 2 1 3 4 against 4 3 2 1: the negative.
    assert pairs["correlation"].to_list() == pytest.approx([-1, -0.8, 0.8])
    assert pairs[["first", "second"]].to_numpy().tolist() == [["cka", "rsa"], ["rsa", "cknna"], ["cka", "cknna"]]
    assert agreement_sentence(curves(cka=rising, rsa=falling, cknna=[0.2, 0.1, 0.3, 0.4, 1.0])) == (
        "**The measures do not agree** on which states are similar to the final one: 2 of 3 pairs of measures have a "
        "rank correlation below 0.7 over the states 0 to 3. The lowest: -1.00 (linear CKA, debiased and RSA); -0.80 "
        "(RSA and CKNNA). What only one measure shows is a property of that measure."
    )


def test_measures_that_agree_or_cannot_be_compared_are_said() -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 1.0]
    assert agreement_sentence(curves(cka=rising)) == ""
    assert "order the states similarly: the lowest rank correlation of two is 1.00" in agreement_sentence(
        curves(cka=rising, rsa=rising)
    )
    few = agreement_sentence(curves(cka=[0.1, 0.2, 0.3, 1.0], rsa=[0.3, 0.2, 0.1, 1.0]))
    assert few.startswith("It is not known whether the measures agree")
    flat = agreement_sentence(curves(cka=rising, rsa=[1.0] * 5))
    assert flat.startswith("It is not known whether the measures agree")


def test_finalto_the_final_state_turn_distances_and_bring_chance() -> None:
    rows = [("cka", 0, 2, 0.2), ("cka", 1, 2, 0.6), ("cka", 2, 2, 1.0), ("cka", 0, 1, 0.9), ("angular", 0, 2, 0.4)]
    table = pd.DataFrame(rows, columns=["measure", "layer_a", "layer_b", "value"]).assign(rows="all")
    table = table.assign(ci_low=table["value"] - 0.1, ci_high=table["value"] + 0.2)
    null = table[table["layer_a"] == 0].assign(value=0.45, ci_low=0.4, ci_high=0.6)
    final = to_final(pd.concat([table, table.assign(rows="others", value=9.0)]), null).set_index(["measure", "layer"])
    assert final["value"].to_dict() == {
        ("cka", 0): 0.2,
        ("cka", 1): 0.6,
        ("cka", 2): 1.0,
        ("angular", 0): pytest.approx(1 - 0.4),
    }
    names = ["ci_low", "ci_high", "null_value", "null_low", "null_high"]
    assert final.loc[("cka", 0), names].to_list() == pytest.approx([0.1, 0.4, 0.45, 0.4, 0.6])
    turned = [1 - 0.6, 1 - 0.3, 1 - 0.45, 1 - 0.6, 1 - 0.4]
    assert final.loc[("angular", 0), names].to_list() == pytest.approx(turned)
    assert final.loc[("cka", 1), names[2:]].isna().all()
    assert to_final(table, None)[names[2:]].isna().all(axis=None)
    assert table["value"].to_list() == [0.2, 0.6, 1.0, 0.9, 0.4]
    assert as_similarity(table)["value"].to_list() == pytest.approx([0.2, 0.6, 1.0, 0.9, 0.6])


def test_a_matrix_of_two_models_need_not_be_square() -> None:
    table = pd.DataFrame({"layer_a": [0, 2, 1], "layer_b": [1, 0, 1], "value": [0.1, 0.2, 0.3]})
    nan = np.nan
    np.testing.assert_equal(pair_matrix(table), [[nan, 0.1], [nan, 0.3], [0.2, nan]])


def test_the_last_of_equal_runs_is_the_best_as_for_the_selections() -> None:
    table = pd.DataFrame({"start": [1, 0, 2, 0], "length": [1, 1, 1, 2], "value": [0.1, 0.1, 0.2, 0.3]})
    assert best_starts(table)[["start", "length"]].to_numpy().tolist() == [[1, 1], [0, 2]]


def rows_of(text: str, start: str) -> list[list[str]]:
    lines = text[text.index(start) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_orders_says_what_each_form_keeps(own_study: Path) -> None:
    folder = own_study / "similarity"
    orders = {
        "bi": {"kept": [[], [1], [0, 1], [0, 1, 2]]},
        "angular": {"kept": [[], [2], [0, 2], [0, 1, 2]]},
    }
    write_json(folder / "selections.json", orders)
    (folder / "greedy.csv").unlink()
    text = layers_section(read_study(own_study)).markdown
    assert rows_of(text, "| k ")[0] == ["k", "`bi:k`", "`angular:k`"]
    assert rows_of(text, "| k ")[2:] == [
        ["0", "none", "none"],
        ["1", "1", "2"],
        ["2", "0, 1", "0, 2"],
        ["3", "0-2", "0-2"],
    ]
    assert "Removed first: 2 by block influence; 1 by angular distance of blocks." in text
    assert "NDCG@10, greedy" not in text


@pytest.mark.parametrize(("has_start", "last"), [(False, "-"), (True, "0.1100")])
def test_greedy_values_stand_at_the_layers_left(has_start: bool, last: str, own_study: Path) -> None:
    table = pd.DataFrame({"step": [2, 1], "layer": [0.0, 3.0], "value": [0.08, 0.1]})
    if has_start:
        table = pd.concat([table, pd.DataFrame({"step": [0], "layer": [np.nan], "value": [0.11]})])
    table.to_csv(own_study / "similarity" / "greedy.csv", index=False)
    rows = rows_of(layers_section(read_study(own_study)).markdown, "| k ")
    assert rows[0][-1] == "NDCG@10, greedy"
    assert [row[-1] for row in rows[2:]] == ["-", "-", "0.0800", "0.1000", last]


def test_the_orders_of_a_deep_model_are_folded(rich_study: Path, fake_study: Path) -> None:
    fold = "<details><summary>Layers kept at each depth</summary>"
    assert fold in layers_section(read_study(rich_study)).markdown
    assert fold not in layers_section(read_study(fake_study)).markdown


def test_only_the_bars_there_are_get_explained(own_study: Path) -> None:
    path = own_study / "similarity" / "importance.csv"
    table = pd.read_csv(path)
    assert "Taylor is the size of the change of the loss" in layers_section(read_study(own_study)).markdown
    table[table["measure"] == "block-influence"].to_csv(path, index=False)
    text = layers_section(read_study(own_study)).markdown
    assert "Taylor is the size of the change of the loss" not in text
    assert "- Block influence is 1 minus the mean cosine" in text


def test_the_best_run_is_said_and_so_is_what_a_map_does_not_prove(fake_study: Path) -> None:
    study = read_study(fake_study)
    assert study.scores.blocks is not None
    twos = study.scores.blocks[study.scores.blocks["length"] == 2]
    best = twos.loc[twos["value"].idxmin()]
    text = layers_section(study).markdown
    start = int(best["start"])
    assert (
        f"Of the runs of 2 layers, layers {start} to {start + 1} change the state least, by {best['value']:.3f} of pi"
        in text
    )
    assert "**What such a map does not prove.**" in text


def test_the_grey_band_is_spoken_of_where_there_is_one(own_study: Path) -> None:
    assert "The grey band is what" in layers_section(read_study(own_study)).markdown
    (own_study / "similarity" / "null.csv").unlink()
    section = layers_section(read_study(own_study))
    assert "The grey band is what" not in section.markdown
    named = next(one for one in section.figures if one.name == "to-final")
    assert "Grey:" not in " ".join(text.get_text() for text in named.figure.texts)


def test_a_model_without_layers_has_a_section_too(own_study: Path) -> None:
    folder = own_study / "similarity"
    for name in ("similarity.parquet", "student.parquet"):
        table = pd.read_parquet(folder / name)
        table[(table["layer_a"] == 0) & (table["layer_b"] == 0)].to_parquet(folder / name)
    for name in ("importance.csv", "blocks.csv", "null.csv", "greedy.csv"):
        pd.read_csv(folder / name).head(0).to_csv(folder / name, index=False)
    write_json(folder / "selections.json", {"bi": {"kept": [[]]}})
    section = layers_section(read_study(own_study))
    assert {named.name for named in section.figures} == {"similarity", "to-final", "similarity-student"}
    assert rows_of(section.markdown, "| k ")[2:] == [["0", "none"]]
    assert "there are 0 such states" in section.markdown

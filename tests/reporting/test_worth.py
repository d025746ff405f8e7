"""The sentence on cheap scores: what it says for every kind of finding, and that it claims no more than was shown."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.findings.predictiveness import finding, ranked, with_interval
from layerprobe.reporting.sections.predictiveness import worth_section
from layerprobe.store.atomic import read_yaml, write_yaml

NAN = float("nan")
CEILING = ("perfect", 0.96, 0.92, 0.98, 0.001, 9)
DEPTH = ("depth", 0.60, 0.50, 0.70, 0.04, 9)
BEST = ("cka-drop", 0.90, 0.80, 0.95, 0.002, 9)
OTHER = ("taylor", 0.40, 0.20, 0.60, 0.3, 9)


def worth(*rows: tuple[str, float, float, float, float, int]) -> pd.DataFrame:
    names = ["score", "correlation", "ci_low", "ci_high", "p_value", "n_selections"]
    return pd.DataFrame(rows, columns=names).assign(n_users=400, seeds=3)


def with_values(row: tuple[str, float, float, float, float, int], *values: float) -> tuple:
    return (row[0], *values, *row[1 + len(values) :])


def test_a_clear_winner_is_named_with_all_numbers() -> None:
    assert finding(worth(OTHER, CEILING, DEPTH, BEST)) == (
        "A cheap score predicts the fine-tuned curve better than counting layers: the best of 2 scores, CKA drop, has "
        "a rank correlation of 0.90 [0.80, 0.95] over 9 selections (p = 0.004 after correction for 2 scores); depth "
        "alone has 0.60 [0.50, 0.70]; the ceiling, a perfect score, is 0.96 [0.92, 0.98], which the score "
        "reaches within the intervals."
    )


def test_a_winner_by_less_than_the_intervals_beats_nothing() -> None:
    depth = with_values(DEPTH, 0.82, 0.70, 0.88)
    assert finding(worth(BEST, OTHER, depth, CEILING)) == (
        "No cheap score is shown to do better than counting layers: the best of 2 scores, CKA drop, has a rank "
        "correlation of 0.90 [0.80, 0.95] over 9 selections (p = 0.004 after correction for 2 scores); depth alone has "
        "0.82 [0.70, 0.88], and the two intervals overlap; the ceiling, a perfect score, is 0.96 "
        "[0.92, 0.98], which the score reaches within the intervals."
    )


@pytest.mark.parametrize("value", [0.90, 0.97])
def test_depth_that_does_as_well_comes_first(value: float) -> None:
    text = finding(worth(BEST, with_values(DEPTH, value, value - 0.05, 0.99), CEILING))
    assert text.startswith(f"No cheap score does better than counting layers: depth alone has {value:.2f} [")
    assert "and the only score, CKA drop, has a rank correlation of 0.90" in text


def test_too_few_selections_say_nothing_however_high() -> None:
    rows = [(name, 1.0, 1.0, 1.0, 0.08, 4) for name in ("cka-drop", "taylor", "depth", "perfect")]
    assert finding(worth(*rows)) == (
        "Too few selections to tell: at most 4 were both scored and fine-tuned. A rank correlation over fewer than 5 "
        "says little, even a high one (the best of 2 scores, CKA drop and 1 with the same value, has 1.00)."
    )
    enough = [(*row[:-2], 0.001, 5) for row in rows]
    assert not finding(worth(*enough)).startswith("Too few")


@pytest.mark.parametrize(("n", "phrase"), [(1, "1 selection was"), (6, "6 selections were")])
def test_undefined_correlations_say_nothing(n: int, phrase: str) -> None:
    rows = [(name, NAN, NAN, NAN, NAN, n) for name in ("cka-drop", "taylor", "depth", "perfect")]
    assert finding(worth(*rows)) == (
        f"No cheap score has a rank correlation with the fine-tuned curve: {phrase} both scored and fine-tuned, which "
        "is too few, or all have the same score or the same value."
    )


def test_one_training_each_is_said_to_be_the_ceiling_of_these_very_models(own_study: Path) -> None:
    same = ("perfect-same-models", *CEILING[1:])
    table = worth(BEST, DEPTH, same).assign(seeds=1)
    assert "the ceiling, a perfect score for these very models, is 0.96 [0.92, 0.98], which" in finding(table)
    assert ranked(worth(same, DEPTH, BEST))["score"].to_list() == ["cka-drop", "depth", "perfect-same-models"]
    table.to_csv(own_study / "predictiveness.csv", index=False)
    section = worth_section(read_study(own_study))
    assert "luck in training counts as truth" in section.markdown
    assert "hold for these selections and for these very models" in section.markdown
    assert "| a perfect score for these very models (ceiling) | 0.96 [0.92, 0.98] |" in section.markdown
    (named,) = section.figures
    shown = " ".join(text.get_text().replace("\n", " ") for text in named.figure.texts)
    assert "with its interval over users. Ceiling, a perfect score for these very models: 0.96" in shown


def test_several_trainings_are_said_to_be_apart(own_study: Path) -> None:
    worth(BEST, DEPTH, CEILING).to_csv(own_study / "predictiveness.csv", index=False)
    text = worth_section(read_study(own_study)).markdown
    assert "half of the training seeds on half of the users" in text
    assert "Intervals are over users and training seeds" in text
    assert "very models" not in text


def test_the_ceiling_of_an_older_table_is_that_of_the_very_models(own_study: Path) -> None:
    """Before there was a column `seeds`, `perfect` came from halves of the users, however many seeds there were."""
    worth(BEST, DEPTH, CEILING).drop(columns="seeds").to_csv(own_study / "predictiveness.csv", index=False)
    study = read_study(own_study)
    assert study.scores.predictiveness is not None
    assert study.scores.predictiveness["score"].to_list() == ["cka-drop", "depth", "perfect-same-models"]
    assert "luck in training counts as truth" in worth_section(study).markdown


@pytest.mark.parametrize("n", [3, 6, 8])
def test_scores_of_fewer_selections_do_not_win(n: int) -> None:
    """Depth may have it easier among them: an exit that only counts layers would seem to beat depth."""
    few = ("exit-probe", 1.0, 1.0, 1.0, 0.001, n)
    assert "the only score, CKA drop," in finding(worth(few, BEST, DEPTH, CEILING))
    assert ranked(worth(few, OTHER, BEST, DEPTH))["score"].to_list() == ["cka-drop", "taylor", "exit-probe", "depth"]


def test_a_correlation_of_few_selections_is_not_dressed_up_with_an_interval() -> None:
    assert with_interval(worth(("exit-probe", 1.0, 1.0, 1.0, 0.2, 4)).iloc[0]) == "1.00, too few to tell"
    assert with_interval(worth(("exit-probe", 1.0, 0.9, 1.0, 0.2, 5)).iloc[0]) == "1.00 [0.90, 1.00]"


@pytest.mark.parametrize(
    "row",
    [
        with_values(BEST, 0.90, -0.10, 0.95),
        with_values(BEST, 0.90, 0.80, 0.95, 0.026),
        with_values(BEST, 0.90, 0.80, 0.95, NAN),
        with_values(BEST, 0.90, NAN, NAN),
        with_values(BEST, -0.90, -0.95, -0.80),
    ],
    ids=["interval", "p of two scores", "no p", "no interval", "reverse order"],
)
def test_what_may_be_chance_is_called_so(row: tuple) -> None:
    text = finding(worth(row, with_values(OTHER, -0.95, -0.99, -0.9), DEPTH, CEILING))
    assert text.startswith("No cheap score is shown to predict the fine-tuned curve: the best of 2 scores, CKA drop,")
    assert "which may be chance; depth alone has 0.60 [0.50, 0.70]; the ceiling" in text


def test_a_p_value_is_corrected_up_to_one() -> None:
    rows = [(name, 0.1, -0.5, 0.6, 0.7, 9) for name in ("cka-drop", "taylor")]
    assert "(p = 1 after correction for 2 scores), which may be chance" in finding(worth(*rows))
    assert "(p = 0.7), which may be chance" in finding(worth(rows[0]))


@pytest.mark.parametrize(
    ("depth", "phrase"),
    [
        (None, "A cheap score predicts the fine-tuned curve: the only score, CKA drop,"),
        (with_values(DEPTH, NAN, NAN, NAN), "A cheap score predicts the fine-tuned curve where depth cannot: the only"),
        (with_values(DEPTH, 0.6, NAN, NAN), "depth alone has 0.60, with an interval that is not known"),
    ],
)
def test_depth_that_is_not_known_is_not_beaten(depth: tuple | None, phrase: str) -> None:
    rows = [BEST, CEILING] if depth is None else [BEST, depth, CEILING]
    text = finding(worth(*rows))
    assert phrase in text
    assert "better than counting layers" not in text or text.startswith("No cheap score is shown")


@pytest.mark.parametrize(
    ("ceiling", "phrase"),
    [
        (None, "; the ceiling is not known."),
        (with_values(CEILING, NAN, NAN, NAN), "; the ceiling is not known."),
        (with_values(CEILING, 0.99, 0.96, 1.0), "is 0.99 [0.96, 1.00], well above the score."),
        (with_values(CEILING, 0.3, -0.1, 0.6), "is 0.30 [-0.10, 0.60], so the measured curve itself may be noise."),
    ],
)
def test_the_ceiling_is_said(ceiling: tuple | None, phrase: str) -> None:
    rows = [BEST, DEPTH] if ceiling is None else [BEST, DEPTH, ceiling]
    assert finding(worth(*rows)).endswith(phrase)


def test_scores_are_ranked_with_depth_and_ceiling_last() -> None:
    undefined = ("exit-raw", NAN, NAN, NAN, NAN, 9)
    order = ranked(worth(CEILING, undefined, DEPTH, OTHER, BEST))["score"]
    assert order.to_list() == ["cka-drop", "taylor", "exit-raw", "depth", "perfect"]


def test_the_section_states_the_finding_first_and_lists_every_score(own_study: Path) -> None:
    table = worth(BEST, OTHER, ("exit-raw", NAN, NAN, NAN, NAN, 9), DEPTH, CEILING)
    table.to_csv(own_study / "predictiveness.csv", index=False)
    section = worth_section(read_study(own_study))
    assert section.paragraphs[0] == f"**{finding(table)}**"
    rows = [line for line in section.markdown.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
    assert cells == [
        ["CKA drop", "0.90 [0.80, 0.95]", "0.002", "9", "400"],
        ["Taylor, first order", "0.40 [0.20, 0.60]", "0.3", "9", "400"],
        ["exit, raw", "not defined", "-", "9", "400"],
        ["depth (trivial: more layers)", "0.60 [0.50, 0.70]", "0.04", "9", "400"],
        ["a perfect score (ceiling)", "0.96 [0.92, 0.98]", "0.001", "9", "400"],
    ]
    (named,) = section.figures
    shown = " ".join(text.get_text().replace("\n", " ") for text in named.figure.texts)
    assert "Ceiling, a perfect score: 0.96 [0.92, 0.98]." in shown


STARTS = [
    ({"checkpoint": None, "init": "pretrained"}, "backbone", True),
    ({"checkpoint": "any", "init": "random"}, "backbone", True),
    ({"checkpoint": "any", "init": "pretrained"}, "backbone", False),
    ({"checkpoint": None, "init": "pretrained"}, "teacher", False),
]


@pytest.mark.parametrize(("backbone", "start", "said"), STARTS)
def test_variants_that_start_from_random_layers_are_said_to_differ_by_chance(
    backbone: dict, start: str, said: bool, own_study: Path
) -> None:
    spec = read_yaml(own_study / "study.yaml")
    write_yaml(own_study / "study.yaml", {**spec, "backbone": backbone, "probe": {**spec["probe"], "start": start}})
    text = worth_section(read_study(own_study)).markdown
    assert ("start from random layers" in text) == said

"""A study of one seed never speaks like a test; one of several seeds does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.report import make_report
from layerprobe.store.decision import read_decision

WORDS = re.compile(r"confidence|significan|at most \d+(\.\d+)? ?% of such", re.IGNORECASE)


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


def said(study: Path) -> dict[str, str]:
    """Everything that a study says: report, figures, stored files and what a notebook shows."""
    report = make_report(read_study(study))
    texts = {"report": report.text, "notebook": read_decision(study)._repr_html_()}
    texts |= {named.name: words(named.figure) for named in report.figures}
    stored = [path for path in study.rglob("*") if path.suffix in (".json", ".csv", ".yaml")]
    assert len(stored) > 20
    return texts | {path.name: path.read_text(encoding="utf-8") for path in stored}


@pytest.mark.parametrize("kind", ["fake_study", "mixed_study"])
def test_one_seed_speaks_of_no_confidence_anywhere(kind: str, request: pytest.FixtureRequest) -> None:
    texts = said(request.getfixturevalue(kind))
    assert {name: WORDS.findall(text) for name, text in texts.items() if WORDS.search(text)} == {}
    assert texts["report"].split("\n\n")[2].startswith("**Exploratory, one training seed: ")
    assert "With one training seed no error rate is promised" in texts["report"]
    assert texts["proven-margin"].startswith("Exploratory, one training seed.") or (
        "Exploratory, one training seed." in texts["proven-margin"]
    )
    assert "for these trained models" in texts["proven-margin"]


def test_three_seeds_say_how_sure_they_are(seeded_study: Path) -> None:
    texts = said(seeded_study)
    assert "at most 5 % of such studies falsely call a selection not worse" in texts["report"]
    for part in ("report", "decision.json", "controls.json", "distilled.json"):
        assert re.search("significantly", texts[part]), part
    for part in ("report", "decision.json", "controls.json", "decision-margin", "proven-margin"):
        assert re.search("95 % confidence", texts[part]) or "of 95 % confidence" in texts[part], part
    assert "xploratory, one" not in " ".join(texts.values())

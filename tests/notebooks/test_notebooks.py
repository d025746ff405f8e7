"""Notebooks: each runs on a study folder from its first cell to its last and draws what it promises."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
FIGURES = {"01_depth_ablation.ipynb": 2}


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_tested_here() -> None:
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    cells = code_cells(nbformat.read(FOLDER / name, as_version=4))
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.parametrize("study", ["notebook_study", "finished"], ids=["made-up study", "study that was run"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_notebook_draws_its_figures_from_a_study_folder(
    name: str, study: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERPROBE_STUDY", str(request.getfixturevalue(study)))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(drawn) == FIGURES[name]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]

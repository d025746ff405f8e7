"""A study trained in a notebook: progress as plain output and widgets, nothing in red."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tiny_study import write_study
from transformers import LlamaConfig, LlamaModel

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = """
import layerprobe
study = layerprobe.Study.open("tiny.yaml", "study").run("export")
student = layerprobe.load_student(study.folder / "student")
"""
WAIT = """
import time
from layerprobe.training.log import say, shown
for step in shown(range(3), 3, "slow steps"):
    time.sleep(0.6)
    say(f"step {step}")
"""


def test_a_study_trained_in_a_notebook_prints_no_standard_error_and_shows_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaModel(LlamaConfig(vocab_size=8, max_position_embeddings=64, **shape)).save_pretrained(tmp_path / "llama")
    tuning = {"method": "lora", "rank": 2}
    probe, distill = {"depths": [1]}, {"depth": 1, "weights": {"multiple": 0}}
    backbone = {"checkpoint": "llama"}
    write_study(tmp_path, backbone=backbone, tuning=tuning, probe=probe, distill=distill)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (TRAIN, WAIT)])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    trained, waited = (cell.outputs for cell in notebook.cells)
    assert {output.get("name", output.output_type) for output in trained} == {"stdout"}
    lines = "".join(output.text for output in trained).splitlines()
    assert "stage export" in lines
    assert "variant first:1 seed 0: done" in "".join(lines)
    widgets = [output.data for output in waited if output.output_type == "display_data"]
    assert ["application/vnd.jupyter.widget-view+json" in data for data in widgets] == [True]
    assert "".join(output.text for output in waited if output.output_type == "stream").split("\n")[:1] == ["step 0"]

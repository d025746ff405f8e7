"""The libraries are quiet while we load and save models, and as loud as before afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import huggingface_hub.utils as hub
import pytest
from transformers import LlamaConfig, LlamaModel
from transformers.utils import logging

from layerprobe.backbone.quiet import quiet

LOAD = """
import json, sys
from pathlib import Path
import huggingface_hub.utils as hub
from transformers.utils import logging

def settings():
    return [logging.get_verbosity(), logging.is_progress_bar_enabled(), hub.logging.get_verbosity(),
            hub.are_progress_bars_disabled()]

before = settings()
import torch
from layerprobe import build_recommender
from layerprobe.backbone.load import BackboneOptions, count_layers
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.probing.variant import RecipeOptions
from layerprobe.recommender.model import RecommenderOptions
from layerprobe.training.adapters import TuningOptions, merged

options = BackboneOptions(checkpoint=sys.argv[1])
assert count_layers(options) == 3
recipe = RecipeOptions(options, TuningOptions("lora", rank=2), PromptOptions(), RecommenderOptions(max_len=4))
model = build_recommender(recipe, torch.zeros(5, 6), "first:2", 0)
merged(model.network)
print(json.dumps([before, settings()]))
"""
STOCK = "import sys; from transformers import AutoModel; AutoModel.from_pretrained(sys.argv[1])"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    LlamaModel(
        LlamaConfig(
            vocab_size=8, hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2,
            max_position_embeddings=32,
        )
    ).save_pretrained(tmp_path)  # fmt: skip
    return tmp_path


def run(code: str, checkpoint: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, str(checkpoint)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def test_loading_a_checkpoint_from_python_prints_nothing_and_restores_the_settings(checkpoint: Path) -> None:
    done = run(LOAD, checkpoint)
    assert done.stderr == ""
    before, after = json.loads(done.stdout)
    assert after == before
    assert before[1]  # bars are on by default, so there was something to keep quiet
    assert "Loading weights" in run(STOCK, checkpoint).stderr


@quiet()
def fail_quietly() -> None:
    assert logging.get_verbosity() == hub.logging.get_verbosity() == logging.ERROR
    assert not logging.is_progress_bar_enabled()
    assert hub.are_progress_bars_disabled()
    raise KeyError


@pytest.mark.parametrize("verbosity", [logging.INFO, logging.ERROR])
@pytest.mark.parametrize("has_bars", [True, False])
def test_settings_of_the_user_come_back_also_after_an_error(verbosity: int, has_bars: bool) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), hub.logging.get_verbosity()
    try:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(verbosity)
        logging.enable_progress_bar() if has_bars else logging.disable_progress_bar()
        with pytest.raises(KeyError):
            fail_quietly()
        assert logging.get_verbosity() == hub.logging.get_verbosity() == verbosity
        assert logging.is_progress_bar_enabled() == has_bars
        assert hub.are_progress_bars_disabled() != has_bars
    finally:
        logging.set_verbosity(before[0])
        logging.enable_progress_bar() if before[1] else logging.disable_progress_bar()
        hub.logging.set_verbosity(before[2])


def test_other_warnings_still_reach_the_user() -> None:
    with pytest.warns(UserWarning, match="mine"), quiet():
        warnings.warn("mine", UserWarning, stacklevel=1)

"""Studies on local checkpoints of other families, run as a user runs them: prompt, LoRA, an encoder, a student."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_study import TRAINING, write_study
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from layerprobe.backbone.prompt import PAPER_PREFIX, PAPER_SUFFIX
from layerprobe.cli.main import main
from layerprobe.stages import distil
from layerprobe.store.atomic import read_json

LAST = {**TRAINING, "supervision": "last"}


def tokenizer(folder: Path) -> int:
    """Saves a tokenizer with one token per word of the paper's prompt and returns its number of tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    splitter = pre_tokenizers.Whitespace()
    words = sorted({word for word, _ in splitter.pre_tokenize_str(PAPER_PREFIX + PAPER_SUFFIX)})
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["?", *words])}, unk_token="?"))
    made.pre_tokenizer = splitter
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?").save_pretrained(folder)
    return len(words) + 1


def qwen3(folder: Path) -> Path:
    n_tokens = tokenizer(folder)
    config = Qwen3Config(
        vocab_size=n_tokens, hidden_size=8, intermediate_size=12, num_hidden_layers=5, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4, max_position_embeddings=128, use_sliding_window=True, sliding_window=6,
        layer_types=["full_attention", "sliding_attention"] * 2 + ["full_attention"], tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def spoilt(folder: Path, name: str) -> Path:
    """A qwen3 without one of its weights."""
    weights = load_file(qwen3(folder) / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def reconfigured(folder: Path, **changes: object) -> Path:
    """A qwen3 whose config says something else."""
    path = qwen3(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def bert(folder: Path) -> Path:
    config = BertConfig(
        vocab_size=7, hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_a_prompted_lora_study_of_any_layers_of_a_qwen3_runs_to_report_and_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(
        tmp_path,
        backbone={"checkpoint": str(qwen3(tmp_path / "qwen3")), "keep": "drop:3"},
        prompt={"kind": "text"},
        tuning={"method": "lora", "rank": 2, "targets": "all"},
        training=LAST,
        probe={"selections": ["first:1", "every:2", "keep:0,3"]},
        distill={"selection": "keep:0,3", "weights": {"cosine": 0.1, "norm": 0.1, "multiple": 0.1}},
    )
    out = tmp_path / "study"
    assert main(["run", str(study), "--out", str(out)]) == 0
    assert "the prompt is repeated" not in capsys.readouterr().err
    curve = pd.read_csv(out / "curve.csv").query("kind == 'variant'")
    assert set(curve["selection"]) == {"first:1", "every:2", "keep:0,3", "first:4"}
    assert "keep:0,3" in (out / "report" / "report.md").read_text()
    saved = read_json(out / "student" / "backbone" / "config.json")
    # drop:3 leaves the stored layers 0, 1, 2 and 4; of these keep:0,3 takes 0 and 4
    assert (saved["num_hidden_layers"], saved["layer_types"]) == (2, ["full_attention", "full_attention"])
    assert len(read_json(out / "student" / "config.json")["suffix_ids"]) == len(["###", "Response", ":"])
    assert "its layers `drop:3` of the checkpoint" in (out / "student" / "README.md").read_text()
    item = pd.read_parquet(out / "student" / "items.parquet")["item"].iloc[0]
    assert main(["recommend", str(out / "student"), "--history", str(item), "--k", "3"]) == 0


def test_a_student_of_half_precision_is_written_in_float32_and_answers(tmp_path: Path) -> None:
    study = write_study(
        tmp_path,
        backbone={"checkpoint": str(qwen3(tmp_path / "qwen3")), "keep": "first:2", "dtype": "bfloat16"},
        tuning={"method": "lora", "rank": 2},
        probe={"depths": [1]},
        distill={"depth": 1, "weights": {"multiple": 0}},
    )
    out = tmp_path / "study"
    assert main(["run", str(study), "--out", str(out)]) == 0
    saved = AutoModel.from_pretrained(out / "student" / "backbone")
    assert {value.dtype for value in saved.parameters()} == {torch.float32}
    item = pd.read_parquet(out / "student" / "items.parquet")["item"].iloc[0]
    assert main(["recommend", str(out / "student"), "--history", str(item), "--k", "3"]) == 0


def test_a_study_does_not_go_on_with_other_weights_under_the_same_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = qwen3(tmp_path / "qwen3")
    changes = {"backbone": {"checkpoint": str(folder)}, "tuning": {"method": "frozen"}, "distill": {"depth": 1}}
    changes["distill"]["weights"] = {"multiple": 0}
    first = write_study(tmp_path, probe={"depths": [1]}, **changes)
    out = tmp_path / "study"
    assert main(["probe", str(first), "--out", str(out)]) == 0
    content = read_json(out / "provenance.json")["backbone"]
    assert set(content) == {"config.json", "model.safetensors"}
    original = (folder / "model.safetensors").read_bytes()
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "model.safetensors")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    second = write_study(tmp_path, probe={"depths": [1, 2]}, **changes)
    assert main(["probe", str(second), "--out", str(out)]) == 2
    assert "holds other weights than at the start of" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    (folder / "model.safetensors").write_bytes(original)
    assert main(["probe", str(second), "--out", str(out)]) == 0


def test_a_gpt2_that_scales_by_layer_index_is_studied_at_first_layers_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = GPT2Config(
        vocab_size=7, n_embd=8, n_layer=3, n_head=2, n_positions=32, scale_attn_by_inverse_layer_idx=True,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    changes = {"backbone": {"checkpoint": str(tmp_path / "gpt2")}, "distill": {"depth": 1, "weights": {"multiple": 0}}}
    moved = write_study(tmp_path, probe={"selections": ["last:1"]}, **changes)
    assert main(["run", str(moved), "--out", str(tmp_path / "study")]) == 2
    assert "only first:k keeps what the layers compute; got last:1" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
    assert (
        main(["run", str(write_study(tmp_path, probe={"depths": [1]}, **changes)), "--out", str(tmp_path / "study")])
        == 0
    )
    importance = pd.read_csv(tmp_path / "study" / "similarity" / "importance.csv").query("measure == 'drop-one-ndcg'")
    assert list(importance["layer"]) == [0, 1, 2]


def test_learned_prefix_vectors_are_trained_and_travel_with_the_student(tmp_path: Path) -> None:
    study = write_study(
        tmp_path,
        backbone={"checkpoint": str(qwen3(tmp_path / "qwen3")), "keep": "first:2"},
        prompt={"kind": "learned", "vectors": 3},
        tuning={"method": "frozen"},
        probe={"depths": [1]},
        distill={"depth": 1, "weights": {"multiple": 0}},
    )
    out = tmp_path / "study"
    assert main(["run", str(study), "--out", str(out)]) == 0
    from layerprobe.store.atomic import read_tensors

    exported, _ = read_tensors(out / "student" / "recommender.safetensors")
    trained, _ = read_tensors(out / "distillation" / "student" / "checkpoint" / "model.safetensors")
    assert exported["prefix_vectors.weight"].shape == (3, 8)
    assert torch.equal(exported["prefix_vectors.weight"], trained["student.prefix_vectors.weight"])
    item = pd.read_parquet(out / "student" / "items.parquet")["item"].iloc[0]
    assert main(["recommend", str(out / "student"), "--history", str(item), "--k", "3"]) == 0
    (out / "student" / "config.json").write_text(
        json.dumps(read_json(out / "student" / "config.json") | {"prefix_vectors": 0})
    )
    assert main(["recommend", str(out / "student"), "--history", str(item)]) == 2


def test_an_encoder_with_random_twins_runs_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(
        tmp_path,
        backbone={"checkpoint": str(bert(tmp_path / "bert"))},
        prompt={"kind": "learned", "vectors": 2},
        training=LAST,
        probe={"depths": [0, 1], "controls": ["random-init"]},
        distill={"depth": 1, "weights": {"multiple": 0}},
    )
    out = tmp_path / "study"
    assert main(["run", str(study), "--out", str(out)]) == 0
    assert "the prompt is repeated for every user: in this family" in capsys.readouterr().err
    twins = pd.read_csv(out / "curve.csv").query("kind == 'random-init'")
    assert set(twins["depth"]) == {1, 3}
    exits = pd.read_parquet(out / "exits" / "ranks-exit-norm-3.parquet")
    pd.testing.assert_frame_equal(exits, pd.read_parquet(out / "teacher" / "ranks.parquet"))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (bert, {}, "training.supervision must be last; got all"),
        (bert, {"training": LAST, "distill": {"depth": 1, "training": TRAINING}}, "distill.training.supervision"),
        (bert, {"training": LAST, "recommender": {"max_len": 33}}, "32 positions; they need 33"),
        (bert, {"training": LAST, "prompt": {"kind": "text"}}, "none that can be read"),
        (qwen3, {"prompt": {"kind": "text"}}, "prompt.suffix stands after the whole history"),
        (qwen3, {"prompt": {"kind": "text"}, "training": LAST, "recommender": {"max_len": 120}}, "128 positions"),
        (qwen3, {"prompt": {"kind": "text", "prefix": "Films seen", "suffix": ""}}, "all are unknown to it"),
        (qwen3, {"prompt": {"prefix": "Films:"}}, "prompt.prefix needs prompt.kind text; the kind is none"),
        (
            qwen3,
            {"prompt": {"kind": "text", "prefix": "Films", "suffix": "Response"}},
            "prompt.prefix must hold a word",
        ),
        (qwen3, {"probe": {"selections": ["keep:3,1"]}}, "strictly ascending"),
        (lambda folder: spoilt(folder, "model.norm.weight"), {}, "1 missing: norm.weight"),
        (
            lambda folder: spoilt(folder, "model.layers.4.mlp.up_proj.weight"),
            {},
            "1 missing: layers.4.mlp.up_proj.weight",
        ),
        (lambda folder: reconfigured(folder, vocab_size=999), {}, "1 of another shape: embed_tokens.weight"),
        (lambda folder: reconfigured(folder, is_causal=False), {}, "its decoder layers look ahead"),
        (lambda folder: reconfigured(folder, hidden_act="no-such"), {}, "describes no model the library knows"),
        (
            lambda folder: reconfigured(folder, quantization_config={"quant_method": "gptq", "bits": 4}),
            {},
            "plain weights",
        ),
        (lambda folder: reconfigured(folder, num_hidden_layers=-1, layer_types=None), {}, "config.json"),
        (qwen3, {"backbone": {"attention": "flex_attention"}}, "trains on a GPU only"),
        (qwen3, {"backbone": {"attention": "flash_attention_2"}}, "set backbone.dtype bfloat16"),
        (qwen3, {"backbone": {"quantize": "4bit"}, "tuning": {"method": "lora"}}, "not available: leave it out"),
        (qwen3, {"probe": {"selections": ["first:6"]}}, "depth must lie in 0 to 5"),
        (qwen3, {"tuning": {"method": "lora", "targets": "c_attn"}}, "c_attn matches none of self_attn.q_proj"),
        (qwen3, {"backbone": {"dtype": "bfloat16"}}, "tuning.method full needs weights in float32"),
        (qwen3, {"backbone": {"hidden_dropout": 0.1}}, "no use with family qwen3"),
        (qwen3, {"backbone": {"revision": "main"}}, "is for hub checkpoints"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_one_line_before_anything_is_written(
    family, changes: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = {"checkpoint": str(family(tmp_path / "checkpoint")), **changes.pop("backbone", {})}
    study = write_study(tmp_path, backbone=backbone, **{"distill": {"depth": 1, "weights": {"multiple": 0}}} | changes)
    assert main(["run", str(study), "--out", str(tmp_path / "study")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("layerprobe: error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "study").exists()


def test_a_student_that_is_its_untrained_teacher_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(
        tmp_path,
        backbone={"checkpoint": str(qwen3(tmp_path / "qwen3")), "keep": "first:2"},
        probe={"depths": [1]},
        distill={"selection": "first:2"},
    )
    out = tmp_path / "study"
    assert main(["decide", str(study), "--out", str(out)]) == 0
    real = distil.read_model_record
    monkeypatch.setattr(distil, "read_model_record", lambda folder: replace(real(folder), best_epoch=0))
    for command in ("distill", "export"):
        assert main([command, str(study), "--out", str(out)]) == 1
        assert "nothing to distil: the decision keeps all layers" in capsys.readouterr().err
        assert not (out / "report").exists()
    assert main(["run", str(study), "--out", str(out)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("layerprobe: error: nothing to distil: the decision keeps all layers")
    assert said[-3:-1] == ["stage export is skipped: there is no student", "stage report"]
    assert not (out / "distillation").exists()
    assert not (out / "student").exists()
    assert "Not in this study: a distilled student" in (out / "report" / "report.md").read_text()


def test_a_dry_run_refuses_what_the_run_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_study(tmp_path)
    out = tmp_path / "study"
    assert main(["teach", str(first), "--out", str(out)]) == 0
    other = write_study(tmp_path, training={**TRAINING, "learning_rate": 0.01})
    assert main(["run", str(other), "--out", str(out), "--dry-run"]) == 2
    assert "these keys differ: training.learning_rate" in capsys.readouterr().err
    absent = write_study(tmp_path, data={"source": "table"})
    assert main(["run", str(absent), "--out", str(tmp_path / "new"), "--path", "absent.csv", "--dry-run"]) == 2
    assert "there is nothing at absent.csv" in capsys.readouterr().err

"""Checkpoints as they lie about: other formats, wrappers, pointers, odd token ids, nonsense in config.json, NaN."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from families import vectors, with_head
from safetensors.torch import load_file, save_file
from tiny_study import write_study

from layerprobe.backbone.load import BackboneOptions, load_backbone
from layerprobe.cli.main import main
from layerprobe.errors import InputError

INPUTS = vectors()
WEIGHTS = "model.safetensors"
SHOWN = ("llama", "gpt2", "bert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with_head("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def output(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_backbone(BackboneOptions(checkpoint=str(folder)))(inputs_embeds=INPUTS).last_hidden_state


def change(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def renamed(folder: Path, name: Any) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name(key): value for key, value in weights.items()}, folder / WEIGHTS, {"format": "pt"})


def refusal(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["inspect", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.out == ""
    return said.err


@pytest.mark.parametrize("name", ["pad_token_id", "bos_token_id", "eos_token_id"])
@pytest.mark.parametrize("value", [13, 128_009, -1])
def test_ids_of_special_tokens_outside_the_vocabulary_change_nothing(folder: Path, name: str, value: int) -> None:
    expected = output(folder)
    change(folder, **{name: value})
    assert torch.equal(output(folder), expected)
    assert main(["inspect", str(folder)]) == 0


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("pytorch_model.bin", "it has pytorch_model.bin: save it anew as safetensors"),
        ("model.pt", "it has model.pt: save it anew as safetensors"),
        ("model.Q4_K_M.gguf", "it has model.Q4_K_M.gguf: give the checkpoint that it was made from"),
        ("adapter_model.safetensors", "it has adapter_model.safetensors: merge the adapter into its model first"),
        ("weights.safetensors", "it has weights.safetensors: name it model.safetensors"),
    ],
)
def test_weights_under_another_name_are_no_empty_folder(folder: Path, capsys, name: str, part: str) -> None:
    (folder / WEIGHTS).rename(folder / name)
    said = refusal(folder, capsys)
    assert "must hold its weights as safetensors" in said
    assert part in said
    with pytest.raises(InputError, match="neither model.safetensors nor"):
        output(folder)


def test_a_config_alone_can_be_looked_at_whatever_a_trainer_left_beside_it(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "training_args.bin").write_bytes(b"x")
    assert main(["inspect", str(folder)]) == 0


@pytest.mark.parametrize(
    ("prefix", "what"),
    [("_orig_mod.", "torch.compile"), ("module.", "several devices"), ("base_model.model.", "merge_and_unload")],
)
def test_a_wrapper_is_named_with_a_name_that_the_file_has(folder: Path, capsys, prefix: str, what: str) -> None:
    first = min(load_file(folder / WEIGHTS))
    renamed(folder, lambda key: prefix + key)
    said = refusal(folder, capsys)
    assert f"such as {prefix}" in said
    assert what in said
    assert first.split(".")[0] in said


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(folder: Path, capsys, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    assert f"{name} is a pointer of git-lfs, not the file itself: run `git lfs pull`" in refusal(folder, capsys)


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_a_tied_table_that_is_stored_as_the_head_alone_is_read(folder: Path, prefix: str) -> None:
    expected, table = output(folder), "model.embed_tokens.weight"
    weights = load_file(folder / WEIGHTS)
    assert table in weights
    assert "lm_head.weight" not in weights
    expected_table = (
        load_backbone(BackboneOptions(checkpoint=str(folder))).get_input_embeddings().state_dict()["weight"]
    )
    renamed(folder, lambda key: "lm_head.weight" if key == table else key.replace("model.", prefix, 1))
    assert torch.equal(output(folder), expected)
    loaded = load_backbone(BackboneOptions(checkpoint=str(folder)))
    assert torch.equal(loaded.get_input_embeddings().state_dict()["weight"], expected_table)


def test_a_head_of_its_own_is_no_token_table(folder: Path) -> None:
    renamed(folder, lambda key: "lm_head.weight" if key == "model.embed_tokens.weight" else key)
    change(folder, tie_word_embeddings=False)
    with pytest.raises(InputError, match="1 missing: embed_tokens.weight"):
        output(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named_before_anything_is_trained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["model.layers.2.mlp.down_proj.weight"][3, :2] = value
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    total = weights["model.layers.2.mlp.down_proj.weight"].numel()
    message = rf"layers\.2\.mlp\.down_proj\.weight has 2 of {total} values that are NaN or infinite"
    with pytest.raises(InputError, match=message):
        output(folder)
    output_of_two = load_backbone(BackboneOptions(checkpoint=str(folder), keep="first:2"))
    assert output_of_two.config.num_hidden_layers == 2  # that layer is not read
    study = write_study(tmp_path, backbone={"checkpoint": str(folder)})
    assert main(["run", str(study), "--out", str(tmp_path / "run")]) == 2
    assert "layers.2.mlp.down_proj.weight has 2 of" in capsys.readouterr().err
    assert not (tmp_path / "run" / "items").exists()


def odd_values(plain: dict[str, Any]) -> list[tuple[str, Any]]:
    numbers = [name for name, value in plain.items() if type(value) in (int, float)]
    return [(name, odd) for name in numbers for odd in (-1, 0, float("nan"), "many", 10**30, 1e300, [], True)]


@pytest.mark.parametrize("family", SHOWN)
def test_every_odd_number_of_a_config_is_refused_in_one_line_or_harmless(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_head(family).save_pretrained(tmp_path / family)
    path = tmp_path / family / "config.json"
    plain = json.loads(path.read_text())
    refused = 0
    for name, value in odd_values(plain):
        path.write_text(json.dumps({**plain, name: value}))
        code, said = main(["inspect", str(path.parent)]), capsys.readouterr().err
        assert (code, said.count("\n")) in ((0, 0), (2, 1)), (name, value, said)
        refused += code == 2
        if code == 0:
            with suppress(InputError):  # such as an index of layers that a cut moves
                assert torch.isfinite(output(path.parent)).all(), (name, value)
    assert refused > 40


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ({"num_attention_heads": 0}, "a whole number from 1 to 2,147,483,647 as num_attention_heads; got '0'"),
        ({"hidden_size": -16}, "hidden_size"),
        ({"num_hidden_layers": 10**7}, "a whole number from 0 to 1,000 as num_hidden_layers"),
        ({"dtype": "float99"}, "float99"),
        ({"rms_norm_eps": float("nan")}, "a finite number as rms_norm_eps; got nan"),
        ({"rms_norm_eps": -1.0}, "a number above 0 as rms_norm_eps"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": -1.0}}, "rope_parameters.rope_theta"),
    ],
)
def test_a_config_that_describes_no_model_is_one_line(folder: Path, capsys, entries: dict, part: str) -> None:
    change(folder, **entries)
    assert part in refusal(folder, capsys)


class Evil:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


def test_no_code_of_a_checkpoint_is_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "mark"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))
    (folder / "modeling_evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    auto = {"AutoConfig": "modeling_evil.EvilConfig", "AutoModel": "modeling_evil.EvilModel"}
    change(folder, auto_map=auto)
    assert main(["inspect", str(folder)]) == 0
    output(folder)
    capsys.readouterr()
    change(folder, model_type="evil", architectures=["Evil"])
    refusal(folder, capsys)
    (folder / WEIGHTS).unlink()
    refusal(folder, capsys)
    assert not mark.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert mark.exists()  # the trap works

"""Checkpoints written by stock `save_pretrained`: what is read of them, what is refused, and how the hub is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import families
import pytest
import torch
from families import FAMILIES, depth_of, run, vectors, with_head
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaModel, PreTrainedModel

from layerprobe.backbone import checkpoint as reading
from layerprobe.backbone.load import BackboneOptions, count_layers, kept_layers, load_backbone
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import truncate
from layerprobe.errors import InputError

INPUTS = vectors()
every_family = pytest.mark.parametrize("family", FAMILIES)
Saved = Callable[..., Path]
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Returns the folder of a family's checkpoint, written once; read only."""
    folders: dict[tuple[str, str], Path] = {}

    def write(family: str, form: str = "headed") -> Path:
        if (family, form) not in folders:
            folder = folders[family, form] = tmp_path_factory.mktemp(f"{family}-{form}")
            save(family, form, folder)
        return folders[family, form]

    return write


def save(family: str, form: str, folder: Path) -> None:
    if form == "bare":
        families.stock(family).save_pretrained(folder)
    elif form == "bare-sharded":
        families.stock(family).save_pretrained(folder, max_shard_size="6KB")
    elif form == "sharded":
        with_head(family).save_pretrained(folder, max_shard_size="6KB")
    else:
        changes = {} if form == "headed" else {"tie_word_embeddings": form == "tied"}
        with_head(family, **changes).save_pretrained(folder)


def load(folder: Path | str, selection: str | None = None, **options: Any) -> PreTrainedModel:
    made = BackboneOptions(checkpoint=str(folder), **options)
    return load_backbone(made, None if selection is None else parse_selection(selection, count_layers(made)))


def shards(folder: Path) -> dict[str, str]:
    return json.loads((folder / INDEX).read_text())["weight_map"]


@every_family
@pytest.mark.parametrize("form", ["headed", "tied", "untied", "bare", "sharded"])
def test_a_checkpoint_gives_the_output_of_its_stock_bare_model(family: str, form: str, saved: Saved) -> None:
    folder = saved(family, form)
    assert (folder / SINGLE).exists() is (form != "sharded")
    changes = {"tie_word_embeddings": form == "tied"} if form in ("tied", "untied") else {}
    expected = families.stock(family) if form == "bare" else with_head(family, **changes).base_model
    found = load(folder)
    assert type(found).__name__.endswith("Model")
    assert not found.training
    torch.testing.assert_close(run(found, INPUTS), run(expected, INPUTS), atol=0, rtol=0)
    weights = dict(found.named_parameters())
    assert all(torch.equal(weights.pop(name), value) for name, value in expected.named_parameters())
    assert set(weights) <= {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(value.abs().max() == 0 for value in weights.values())
    ids = torch.tensor([[3, 1, 12, 7]])
    with torch.no_grad():
        tokens = found(ids).last_hidden_state - expected(ids).last_hidden_state
    assert tokens.abs().max() == 0


@every_family
def test_only_layers_and_norms_are_trained(family: str, saved: Saved) -> None:
    found = load(saved(family))
    frozen = {name for name, value in found.named_parameters() if not value.requires_grad}
    tokens = {id(value) for value in found.get_input_embeddings().parameters()}
    expected = {name for name, value in found.named_parameters() if id(value) in tokens}
    assert len(expected) == 1
    assert frozen == expected | ({"pooler.dense.weight", "pooler.dense.bias"} if family == "bert" else set())


@every_family
@pytest.mark.parametrize("keep", [None, "drop:1"])
@pytest.mark.parametrize("selection", ["keep:0,2", "last:1", "first:0"])
def test_reading_a_selection_equals_cutting_the_whole(
    family: str, keep: str | None, selection: str, saved: Saved
) -> None:
    folder = saved(family, "sharded")
    whole = load(folder)
    if keep is not None:
        whole = truncate(whole, parse_selection(keep, depth_of(family)))
    n_layers = depth_of(family) - (keep is not None)
    assert count_layers(BackboneOptions(checkpoint=str(folder), keep=keep)) == n_layers
    expected = truncate(whole, parse_selection(selection, n_layers))
    found = load(folder, selection, keep=keep)
    assert torch.equal(run(found, INPUTS), run(expected, INPUTS))
    ours, theirs = dict(found.named_parameters()), dict(expected.named_parameters())
    assert list(ours) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert found.config.to_dict() == expected.config.to_dict()


def test_keep_and_selection_are_composed_into_stored_layers(saved: Saved) -> None:
    options = BackboneOptions(checkpoint=str(saved("llama")), keep="drop:1")
    assert kept_layers(options) == (0, 2, 3)
    assert kept_layers(options, parse_selection("keep:1,2", 3)) == (2, 3)
    with pytest.raises(InputError, match="resolved for 4 layers; the teacher has 3"):
        load_backbone(options, parse_selection("first:2", 4))


class CountedSlice:
    """A slice of a safetensors file that adds what is read of it to a list."""

    def __init__(self, inner: Any, read: list[int]) -> None:
        self.inner, self.read = inner, read

    def __getitem__(self, index: Any) -> torch.Tensor:
        value = self.inner[index]
        self.read.append(value.numel() * value.element_size())
        return value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class CountedFile(CountedSlice):
    """A safetensors file whose slices are counted; whole tensors cannot be had."""

    def keys(self) -> list[str]:
        return self.inner.keys()

    def get_slice(self, name: str) -> CountedSlice:
        return CountedSlice(self.inner.get_slice(name), self.read)

    def get_tensor(self, name: str) -> torch.Tensor:
        raise AssertionError(f"{name} is read past the count")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Counts the bytes and lists the files that are read of checkpoints."""
    found = SimpleNamespace(bytes=[], files=[])

    def opened(path: Path, **arguments: Any) -> CountedFile:
        found.files.append(Path(path).name)
        return CountedFile(stock_open(path, **arguments), found.bytes)

    stock_open = reading.safe_open
    monkeypatch.setattr(reading, "safe_open", opened)
    return found


@every_family
@pytest.mark.parametrize("selection", ["first:1", "keep:0,2", "first:0"])
def test_the_bytes_read_are_those_of_the_cut_model(
    family: str, selection: str, saved: Saved, counted: SimpleNamespace
) -> None:
    folder = saved(family, "bare-sharded")
    found = load(folder, selection)
    assert sum(counted.bytes) == 4 * sum(value.numel() for value in found.parameters())
    layers = parse_selection(selection, depth_of(family)).layers
    path = families.LAYERS.get(family, "layers")
    needed = {
        shard
        for name, shard in shards(folder).items()
        if not name.startswith(f"{path}.") or int(name[len(path) + 1 :].split(".")[0]) in layers
    }
    assert set(counted.files) == needed
    assert needed < set(shards(folder).values())


# Not ru_maxrss, which a process takes over from the one that starts it.
MEMORY = """
import re, sys
from pathlib import Path
from layerprobe.backbone.load import BackboneOptions, load_backbone
from layerprobe.backbone.selection import parse_selection
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
def grown(folder, layers):
    before = peak()
    model = load_backbone(BackboneOptions(checkpoint=folder), parse_selection(layers, 8) if layers else None)
    sum(value.detach().sum() for value in model.parameters())  # the file is mapped: use brings it into memory
    return peak() - before
grown(sys.argv[1], None)
print(grown(sys.argv[2], "first:1"), grown(sys.argv[2], None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_grows_by_the_kept_layers_alone(tmp_path: Path, saved: Saved) -> None:
    config = LlamaConfig(
        vocab_size=11, hidden_size=512, intermediate_size=1365, num_hidden_layers=8, num_attention_heads=4
    )
    with torch.device("meta"):
        model = LlamaModel(config)
    model.to_empty(device="cpu")
    for weight in model.parameters():
        weight.data.zero_()  # what lay in this memory need not be numbers
    model.save_pretrained(tmp_path)
    size = (tmp_path / SINGLE).stat().st_size
    assert 95e6 < size < 105e6
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, str(saved("llama")), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, whole = map(int, done.stdout.split()[-2:])
    assert 0.1 * size < first < 0.5 * size < 0.8 * size < first + whole


def test_a_missing_shard_matters_only_where_it_is_needed(tmp_path: Path) -> None:
    save("llama", "sharded", tmp_path)
    expected = run(load(tmp_path, "first:1"), INPUTS)
    needed = {shard for name, shard in shards(tmp_path).items() if ".layers.0." in name or ".layers." not in name}
    for shard in set(shards(tmp_path).values()) - needed:
        (tmp_path / shard).unlink()
    assert torch.equal(run(load(tmp_path, "first:1"), INPUTS), expected)
    with pytest.raises(
        InputError, match=r"the shard model-.*\.safetensors of .* is missing; copy the checkpoint again"
    ):
        load(tmp_path, "first:2")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / SINGLE)
    change(weights)
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})


def change_index(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def swap_two_shards(weight_map: dict[str, str]) -> None:
    first, second = "model.layers.0.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"
    assert weight_map[first] != weight_map[second]
    weight_map[first], weight_map[second] = weight_map[second], weight_map[first]


def adapter_alone(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    get_peft_model(families.stock("llama"), LoraConfig(target_modules=["q_proj"], r=2)).save_pretrained(folder)


def old_format(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


def heads_alone(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if name != "lm_head.weight"]:
        del weights[name]


Q = "model.layers.2.self_attn.q_proj.weight"
BAD_FOLDERS: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("missing", "headed", lambda p: change_weights(p, lambda w: w.pop(Q)), "1 missing: layers.2.self_attn.q_proj"),
    ("no norm", "headed", lambda p: change_weights(p, lambda w: w.pop("model.norm.weight")), "1 missing: norm.weight"),
    (
        "unexpected",
        "headed",
        lambda p: change_weights(p, lambda w: w.update({"model.layers.1.gate.weight": torch.ones(2)})),
        "1 unexpected: model.layers.1.gate.weight",
    ),
    (
        "unexpected outside the layers",
        "headed",
        lambda p: change_weights(p, lambda w: w.update({"score.weight": torch.ones(2)})),
        "1 unexpected: score.weight",
    ),
    ("wrong shape", "headed", lambda p: change_weights(p, lambda w: w.update({Q: torch.ones(8, 16)})), "another shape"),
    ("wrong config", "headed", lambda p: change_config(p, intermediate_size=32), "of another shape: layers.0.mlp"),
    ("depth above", "headed", lambda p: change_config(p, num_hidden_layers=6), "says 6 layers and its weights hold 4"),
    ("depth below", "headed", lambda p: change_config(p, num_hidden_layers=3), "says 3 layers and its weights hold 4"),
    (
        "a gap",
        "headed",
        lambda p: change_weights(p, lambda w: [w.pop(name) for name in list(w) if ".layers.2." in name]),
        "says 4 layers and its weights hold 3 (the last is layer 3)",
    ),
    ("mixed shards", "sharded", lambda p: change_index(p, swap_two_shards), "are mixed up: model-0000"),
    (
        "a shard of another checkpoint",
        "sharded",
        lambda p: change_index(p, lambda m: m.pop(Q)),
        "disagree about 1 weights, such as model.layers.2.self_attn.q_proj.weight",
    ),
    (
        "damaged index",
        "sharded",
        lambda p: (p / INDEX).write_text("{"),
        "must hold a weight_map of names to files; it is damaged",
    ),
    (
        "empty index",
        "sharded",
        lambda p: (p / INDEX).write_text("{}"),
        "must hold a weight_map of names to files; it is damaged",
    ),
    (
        "list for index",
        "sharded",
        lambda p: (p / INDEX).write_text("[]"),
        "must hold a weight_map of names to files; it is damaged",
    ),
    (
        "no weights",
        "sharded",
        lambda p: (p / INDEX).write_text('{"weight_map": {}}'),
        "holds no backbone of the family llama: none of its 0 weights",
    ),
    (
        "shard numbers for names",
        "sharded",
        lambda p: change_index(p, lambda m: m.update(dict.fromkeys(m, 3))),
        "must hold a weight_map of names to files; it is damaged",
    ),
    ("bin only", "headed", old_format, "must hold its weights as safetensors"),
    (
        "no safetensors file",
        "headed",
        lambda p: (p / SINGLE).write_bytes(b"PK\3\4" * 40),
        "is not a readable safetensors",
    ),
    ("empty file", "headed", lambda p: (p / SINGLE).write_bytes(b""), "is not a readable safetensors"),
    (
        "cut off",
        "headed",
        lambda p: (p / SINGLE).write_bytes((p / SINGLE).read_bytes()[:-64]),
        "is not a readable safetensors file",
    ),
    ("adapter", "headed", adapter_alone, "there is a LoRA adapter: merge it into its model first"),
    (
        "no config",
        "headed",
        lambda p: (p / "config.json").unlink(),
        "folder or hub id with config.json and safetensors",
    ),
    ("no JSON", "headed", lambda p: (p / "config.json").write_text("{"), "config.json cannot be read: "),
    ("no family", "headed", lambda p: (p / "config.json").write_text("{}"), "config.json cannot be read: "),
    (
        "unheard family",
        "headed",
        lambda p: change_config(p, model_type="llama9"),
        "config.json cannot be read: The checkpoint you are trying to load has model type `llama9`",
    ),
    ("no number", "headed", lambda p: change_config(p, hidden_size="wide"), "a whole number from 1 to 2,147,483,647"),
    ("head alone", "headed", lambda p: change_weights(p, heads_alone), "holds no backbone of the family llama"),
    ("another family", "headed", lambda p: change_config(p, model_type="gpt2"), "holds no backbone of the family gpt2"),
]


@pytest.mark.parametrize(("form", "spoil", "message"), [pytest.param(*case, id=name) for name, *case in BAD_FOLDERS])
def test_a_folder_that_cannot_be_trusted_is_refused_in_one_line(
    form: str, spoil: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    save("llama", form, tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_depth_that_disagrees_with_the_layer_types_is_refused_in_one_line(tmp_path: Path) -> None:
    save("qwen2", "headed", tmp_path)
    change_config(tmp_path, num_hidden_layers=6)
    with pytest.raises(InputError, match="6"):
        load(tmp_path)


def test_nothing_is_repaired_by_reading_fewer_layers(tmp_path: Path) -> None:
    save("llama", "headed", tmp_path)
    change_config(tmp_path, num_hidden_layers=6)
    with pytest.raises(InputError, match="says 6 layers and its weights hold 4"):
        load(tmp_path, "first:2")


OLD_NAMES: list[tuple[str, Callable[[str], str], dict[str, torch.Tensor]]] = [
    (
        "gpt2",
        lambda name: name.removeprefix("transformer."),
        {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64) for i in range(4)},
    ),
    (
        "gpt_neox",
        lambda name: name,
        {f"gpt_neox.layers.{i}.attention.bias": torch.ones(1, 1, 64, 64) for i in range(4)}
        | {f"gpt_neox.layers.{i}.attention.masked_bias": torch.tensor(-1e9) for i in range(4)}
        | {f"gpt_neox.layers.{i}.attention.rotary_emb.inv_freq": torch.ones(2) for i in range(4)},
    ),
    (
        "llama",
        lambda name: name,
        {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(4)},
    ),
    (
        "bert",
        lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
        {"bert.embeddings.position_ids": torch.arange(64)[None], "cls.seq_relationship.weight": torch.ones(2, 16)},
    ),
    ("opt", lambda name: name.removeprefix("model."), {}),
]


@pytest.mark.parametrize(("family", "rename", "extra"), OLD_NAMES, ids=[case[0] for case in OLD_NAMES])
def test_names_of_older_files_are_read_whatever_is_kept(
    family: str, rename: Callable[[str], str], extra: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save(family, "headed", tmp_path)
    weights = {rename(name): value for name, value in load_file(tmp_path / SINGLE).items()}
    save_file(weights | extra, tmp_path / SINGLE, metadata={"format": "pt"})
    expected = with_head(family).base_model
    assert torch.equal(run(load(tmp_path), INPUTS), run(expected, INPUTS))
    expected = truncate(expected, parse_selection("keep:1,3", 4))
    assert torch.equal(run(load(tmp_path, "keep:1,3"), INPUTS), run(expected, INPUTS))


class Hub:
    """Stands for the hub: serves a folder or raises, and remembers what it was asked for."""

    def __init__(self, folder: Path | None, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error
        self.asked: list[tuple[str, str, str | None]] = []

    def __call__(self, where: str, name: str, revision: str | None = None) -> str:
        self.asked.append((where, name, revision))
        if self.error is not None:
            raise self.error
        assert self.folder is not None
        if not (self.folder / name).exists():
            raise EntryNotFoundError(f"{name} is not there")
        return str(self.folder / name)


@pytest.mark.parametrize("selection", ["first:1", "keep:0,2"])
@pytest.mark.parametrize("revision", [None, "v1"])
def test_only_the_shards_with_kept_layers_are_downloaded(
    selection: str, revision: str | None, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved("llama", "sharded")
    hub = Hub(folder)
    monkeypatch.setattr(reading, "hf_hub_download", hub)
    found = load("owner/name", selection, revision=revision)
    assert torch.equal(run(found, INPUTS), run(load(folder, selection), INPUTS))
    layers = parse_selection(selection, 4).layers
    needed = {
        shard
        for name, shard in shards(folder).items()
        if name != "lm_head.weight" and (".layers." not in name or int(name.split(".")[2]) in layers)
    }
    assert needed < set(shards(folder).values())
    assert {name for _, name, _ in hub.asked} == needed | {"config.json", INDEX}
    assert {(where, asked) for where, _, asked in hub.asked} == {("owner/name", revision)}


def test_a_hub_checkpoint_in_one_file_is_read_too(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "hf_hub_download", Hub(saved("gpt2")))
    assert torch.equal(run(load("owner/name", "keep:1,3"), INPUTS), run(load(saved("gpt2"), "keep:1,3"), INPUTS))


ANSWER = SimpleNamespace(headers={}, request=SimpleNamespace(headers={}, url="u", method="GET"), status_code=401)
HUB_ERRORS = [
    (GatedRepoError("401\nmore", response=ANSWER), "accept it on the model's page, then run `hf auth login`"),
    (RepositoryNotFoundError("404\nmore", response=ANSWER), "has no such model, or it is private: check the name"),
    (RevisionNotFoundError("404\nmore", response=ANSWER), "has no revision v1 of it: check backbone.revision"),
    (LocalEntryNotFoundError("no\nmore"), "cannot be reached (offline?) and it is not in the local cache"),
    (HFValidationError("id\nmore"), "ids of the form owner/name only: give an existing folder or such an id"),
    (HfHubHTTPError("500 Server Error\nmore", response=ANSWER), "answered: 500 Server Error"),
    (OSError("no space left\nmore"), "answered: no space left"),
    (EntryNotFoundError("404\nmore"), "with config.json and safetensors; none at owner/name"),
]


@pytest.mark.parametrize(("error", "message"), HUB_ERRORS, ids=[type(error).__name__ for error, _ in HUB_ERRORS])
def test_what_the_hub_refuses_is_one_line_with_what_to_do(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "hf_hub_download", Hub(None, error))
    with pytest.raises(InputError) as caught:
        load("owner/name", revision="v1")
    assert message in str(caught.value)
    assert "backbone.checkpoint" in str(caught.value)
    assert "owner/name" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["./absent", "/absent/folder", "~/absent"])
def test_a_path_is_never_asked_of_the_hub(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(None, AssertionError("asked"))
    monkeypatch.setattr(reading, "hf_hub_download", hub)
    with pytest.raises(InputError, match=r"config\.json and safetensors; none at"):
        load(where)
    assert hub.asked == []


def test_a_folder_has_no_revision(saved: Saved) -> None:
    with pytest.raises(InputError, match=r"backbone\.revision is for hub checkpoints"):
        load(saved("llama"), revision="v1")


def test_stored_masks_of_older_gpt2_files_are_left_out(tmp_path: Path) -> None:
    save("gpt2", "headed", tmp_path)
    before = load(tmp_path)
    constants = {
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4),
    }
    change_weights(tmp_path, lambda weights: weights.update(constants))
    after = load(tmp_path)
    assert all(torch.equal(value, other) for value, other in zip(before.parameters(), after.parameters(), strict=True))


def test_misfits_are_named_as_they_are_stored(tmp_path: Path) -> None:
    save("llama", "bare", tmp_path)
    change_weights(tmp_path, lambda weights: weights.pop("layers.2.mlp.up_proj.weight"))
    with pytest.raises(InputError, match=r"1 missing: layers\.2\.mlp\.up_proj\.weight"):
        load(tmp_path, "keep:0,2")


def test_loaded_weights_do_not_change_with_the_file(tmp_path: Path) -> None:
    save("llama", "bare", tmp_path)
    model = load(tmp_path)
    before = [value.clone() for value in model.parameters()]
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as opened:  # in place: the same file with other bytes
        opened.seek(-4096, 2)
        opened.write(b"\x01" * 4096)
    assert all(torch.equal(value, old) for value, old in zip(model.parameters(), before, strict=True))


def test_a_home_folder_is_spelt_out_for_weights_and_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerprobe.backbone.checkpoint import Checkpoint

    save("llama", "bare", tmp_path / "ck")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Checkpoint("~/ck").place == str(tmp_path / "ck")
    assert Checkpoint("~/ck").config().model_type == "llama"


def test_two_weights_of_one_place_are_refused(tmp_path: Path) -> None:
    save("llama", "headed", tmp_path)
    twin = {"layers.1.mlp.up_proj.weight": torch.zeros(2, 2)}
    change_weights(tmp_path, lambda weights: weights.update(twin))
    with pytest.raises(InputError, match=r"two weights for one place, .*layers\.1\.mlp\.up_proj\.weight"):
        load(tmp_path)


@pytest.mark.parametrize("answer", ["", "y\n"])
def test_code_in_a_checkpoint_is_never_run(answer: str, tmp_path: Path) -> None:
    (tmp_path / "ck").mkdir()
    config = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (tmp_path / "ck" / "config.json").write_text(json.dumps(config))
    (tmp_path / "ck" / "configuration_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "layerprobe", "inspect", str(tmp_path / "ck")],
        input=answer, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert not (tmp_path / "ran").exists()


def test_a_cached_hub_checkpoint_of_one_file_loads_offline_and_an_uncached_one_says_so(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--owner--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    save("llama", "headed", snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    code = """
from layerprobe.backbone.load import BackboneOptions, backbone_content, empty_backbone, load_backbone
from layerprobe.errors import InputError
options = BackboneOptions(checkpoint="owner/tiny", keep="first:2")
print(len(load_backbone(options).layers), len(empty_backbone(options).layers), backbone_content(options)["commit"])
try:
    load_backbone(BackboneOptions(checkpoint="owner/absent"))
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert first.split() == ["2", "2", "0" * 40]
    assert "cannot be reached (offline?) and it is not in the local cache" in second

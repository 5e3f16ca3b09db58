"""Merging an adapter into the base's own files, held against PEFT's merge_and_unload."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from localpsych_recipes.errors import UserError
from localpsych_recipes.merging import merge_adapter
from localpsych_recipes.merging.merge import _room_for

LANGUAGE_MODEL = r".*language_model.*\.({})"
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # name -> family, how it is built, its adapter
    "plain": ("llama", {}, {"targets": ["q_proj", "v_proj", "down_proj"]}),
    "untied head": ("llama", {}, {"targets": ["q_proj", "lm_head"]}),
    "rsLoRA, sharded": ("qwen3", {"shard": "60KB"}, {"targets": ["q_proj", "up_proj"], "use_rslora": True, "r": 6}),
    "DoRA": ("qwen2", {}, {"targets": ["q_proj", "k_proj", "o_proj"], "use_dora": True}),
    "rank and alpha patterns": (
        "gemma2",
        {},
        {
            "targets": ["q_proj", "k_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 2},
            "alpha_pattern": {"k_proj": 3},
        },
    ),
    "modules_to_save and biases": (
        "qwen2",
        {"tie_word_embeddings": False},
        {
            "targets": ["q_proj"],
            "modules_to_save": ["lm_head"],
            "bias": "lora_only",
        },
    ),
    "float16": ("gemma", {"dtype": torch.float16}, {"targets": ["q_proj"]}),
    "float32": ("llama", {"dtype": torch.float32}, {"targets": ["q_proj"]}),
    "fused projections, DoRA": ("phi3", {}, {"targets": ["qkv_proj", "gate_up_proj"], "use_dora": True}),
    "Gemma 3": ("gemma3", {}, {"targets": LANGUAGE_MODEL.format("q_proj|down_proj")}),
    "Gemma 4, sharded": (
        "gemma4",
        {"shard": "100KB"},
        {
            "targets": LANGUAGE_MODEL.format("q_proj|k_proj|o_proj|per_layer_projection"),
        },
    ),
}


@pytest.mark.parametrize(("family", "building", "adapting"), CASES.values(), ids=CASES.keys())
def test_a_merge_gives_pefts_numbers_in_the_bases_files(
    family: str, building: dict[str, Any], adapting: dict[str, Any], tmp_path: Path
) -> None:
    base = tiny_models.build(family, tmp_path / "base", **building)
    adapter = tiny_models.adapter(base, tmp_path / "adapter", **adapting)
    report = merge_adapter(base, adapter, tmp_path / "merged")

    before, merged, expected = tensors(base), tensors(tmp_path / "merged"), merged_by_peft(base, adapter, tmp_path)
    assert merged.keys() == expected.keys()
    assert {name for name in before if not torch.equal(before[name], merged[name])} == report.changes.keys()
    assert max(units_apart(merged[name], expected[name]) for name in report.changes) <= 1
    assert all(torch.equal(merged[name], expected[name]) for name in before.keys() - report.changes.keys())
    assert report.adapted_tensors + report.unchanged_tensors == len(before)
    assert headers(tmp_path / "merged") == headers(base)
    assert not report.unchanged_adapted


def test_an_adapted_embedding_of_a_tied_model_is_merged_and_reported(tmp_path: Path) -> None:
    base = tiny_models.build("qwen3", tmp_path / "base")
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=["embed_tokens", "q_proj"], r=4, lora_alpha=8)
    report = merge_adapter(base, adapter, tmp_path / "merged")

    factors = load_file(adapter / "adapter_model.safetensors")
    a, b = (factors[f"base_model.model.model.embed_tokens.lora_embedding_{x}"].double() for x in "AB")
    name = "model.embed_tokens.weight"
    exact = (tensors(base)[name].double() + 8 / 4 * (b @ a).T).to(torch.bfloat16)
    assert units_apart(tensors(tmp_path / "merged")[name], exact) <= 1
    assert report.tied == (name,)


def test_a_tied_head_is_refused_because_the_input_embedding_would_change(tmp_path: Path) -> None:
    base = tiny_models.build("qwen3", tmp_path / "base")
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=["q_proj", "lm_head"])
    assert "lm_head" in refusal(base, adapter, tmp_path).do


def test_gemma_3s_names_in_the_model_become_its_names_on_disk(tmp_path: Path) -> None:
    base = tiny_models.build("gemma3", tmp_path / "base")
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=LANGUAGE_MODEL.format("q_proj"))
    assert all("model.model.language_model." in key for key in load_file(adapter / "adapter_model.safetensors"))
    report = merge_adapter(base, adapter, tmp_path / "merged")
    assert set(report.changes) == {f"language_model.model.layers.{i}.self_attn.q_proj.weight" for i in range(2)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".weight", ".default.weight"),  # an adapter's own name left in its keys
        ("base_model.model.", ""),  # injected without PeftModel
        ("model.language_model.", "language_model.model."),  # saved by a transformers that named modules as on disk
    ],
)
def test_other_spellings_of_an_adapters_keys_mean_the_same(old: str, new: str, tmp_path: Path) -> None:
    base = tiny_models.build("gemma3", tmp_path / "base")
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=LANGUAGE_MODEL.format("q_proj"))
    merge_adapter(base, adapter, tmp_path / "merged")
    rewrite(adapter, lambda factors: {key.replace(old, new): tensor for key, tensor in factors.items()})
    merge_adapter(base, adapter, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "merged")


def test_everything_but_weights_is_copied_and_the_bases_card_and_other_formats_are_not(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    kept = {"tokenizer.json": b"{}\r\n", "chat_template.jinja": b"{{ x }}", "additional_chat_templates/a.jinja": b"a"}
    dropped = ("README.md", ".gitattributes", "original/consolidated.00.pth", "pytorch_model.bin", "x.gguf", ".cache/a")
    for name, content in (kept | dict.fromkeys(dropped, b"old")).items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(content)
    merge_adapter(base, adapter, tmp_path / "merged")
    base_files, merged_files = contents(base), contents(tmp_path / "merged")
    assert merged_files.keys() == base_files.keys() - set(dropped)
    differing = {name for name, content in merged_files.items() if content != base_files[name]}
    assert differing == {"model.safetensors"}


def test_a_snapshot_made_of_links_stays_as_it_is_and_becomes_real_files(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "c"
    snapshot.mkdir(parents=True)
    base.rename(blobs)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    before = contents(blobs)
    merge_adapter(snapshot, adapter, tmp_path / "merged")
    assert contents(blobs) == before
    assert all(not file.is_symlink() and file.stat().st_nlink == 1 for file in (tmp_path / "merged").iterdir())


def test_a_base_may_be_links_into_the_hubs_cache_and_to_nowhere_else(tmp_path: Path, monkeypatch) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    secret = base / "generation_config.json"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    cached = tmp_path / "cache" / "blob"
    cached.parent.mkdir()
    cached.write_text("{}")
    secret.unlink(missing_ok=True)
    secret.symlink_to(cached)  # as older clients laid out a folder that they were asked to fill
    merge_adapter(base, adapter, tmp_path / "merged")
    secret.unlink()
    secret.symlink_to(tmp_path / "id_rsa")
    (tmp_path / "id_rsa").write_text("key")
    with pytest.raises(UserError, match="generation_config.json is a link out of the base"):
        merge_adapter(base, adapter, tmp_path / "merged")


def test_an_adapter_that_changes_nothing_is_reported_tensor_by_tensor(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    rewrite(adapter, lambda factors: {k: t * 0 if "lora_B" in k and "layers.1" in k else t for k, t in factors.items()})
    report = merge_adapter(base, adapter, tmp_path / "merged")
    assert report.unchanged_adapted == ("model.layers.1.self_attn.q_proj.weight",)


def test_what_an_earlier_merge_left_is_replaced(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    for leftover in ("merged", "merged.partial"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "stale.safetensors").write_bytes(b"old")
    merge_adapter(base, adapter, tmp_path / "merged")
    assert contents(tmp_path / "merged").keys() == contents(base).keys()
    assert not (tmp_path / "merged.partial").exists()


def test_progress_ends_at_the_size_of_the_shards(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    calls: list[tuple[int, int]] = []
    report = merge_adapter(base, adapter, tmp_path / "merged", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (report.bytes, report.bytes) == ((base / "model.safetensors").stat().st_size,) * 2
    assert calls == sorted(calls)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "magnitude"),
    ],
)
def test_an_adapter_that_is_not_a_plain_sum_is_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    change_json(adapter / "adapter_config.json", settings)
    assert said in refusal(base, adapter, tmp_path).given


def test_a_module_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    rewrite(adapter, lambda factors: {key.replace("layers.1", "layers.7"): t for key, t in factors.items()})
    assert "model.layers.7.self_attn.q_proj.weight" in refusal(base, adapter, tmp_path).given


def test_shapes_that_differ_are_both_named(tmp_path: Path) -> None:
    _, adapter = llama_with_adapter(tmp_path)
    wider = tiny_models.build("llama", tmp_path / "wider", hidden_size=96, head_dim=16)
    given = refusal(wider, adapter, tmp_path).given
    assert "[64, 64]" in given and "[64, 96]" in given


def test_stacked_experts_are_refused_as_computed_from_several_tensors(tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(**tiny_models.DENSE, head_dim=16, num_experts=4, moe_intermediate_size=32)
    Qwen3MoeForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "moe")
    _, adapter = llama_with_adapter(tmp_path)
    stacked = "base_model.model.model.layers.0.mlp.experts.gate_up_proj"
    rewrite(adapter, lambda factors: {stacked: torch.ones(4, 64, 64)})
    assert "computes on loading from other tensors" in refusal(tmp_path / "moe", adapter, tmp_path).given


def test_a_quantised_base_is_refused_by_its_config_or_by_its_tensors(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    weights = load_file(base / "model.safetensors")
    save_file(weights | {"model.layers.0.mlp.up_proj.SCB": torch.ones(2)}, base / "model.safetensors")
    assert "SCB" in refusal(base, adapter, tmp_path).given
    save_file(weights, base / "model.safetensors")
    change_json(base / "config.json", {"quantization_config": {"quant_method": "bitsandbytes"}})
    assert "quantization_config" in refusal(base, adapter, tmp_path).given


def test_a_base_without_safetensors_is_refused(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    assert "safetensors" in refusal(base, adapter, tmp_path).expected


def test_a_shard_that_was_not_downloaded_whole_is_found_before_anything_is_written(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    whole = (base / "model.safetensors").read_bytes()
    for content in (whole[:-1], b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"):
        (base / "model.safetensors").write_bytes(content)
        assert refusal(base, adapter, tmp_path).do == "download it again"


def test_an_adapter_that_is_broken_is_found_while_merging_and_leaves_nothing(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    rewrite(adapter, lambda factors: {key: tensor * float("nan") for key, tensor in factors.items()})
    assert "layers.0.self_attn.q_proj" in refusal(base, adapter, tmp_path).given


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(tmp_path: Path) -> None:
    base, adapter = llama_with_adapter(tmp_path)
    with (base / "LICENSE").open("wb") as file:
        file.truncate(8 << 40)  # a sparse file of 8 TiB
    assert "no room" in refusal(base, adapter, tmp_path).given


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_on_the_way_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="filled up"), _room_for(1, tmp_path / "merged"):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of a process's memory")
def test_memory_does_not_grow_with_the_model_even_where_the_largest_tensor_is_adapted(tmp_path: Path) -> None:
    base = tiny_models.build("qwen3", tmp_path / "base", hidden_size=512, vocab_size=131_072)
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=["embed_tokens", "q_proj"])
    command = [sys.executable, "-c", MEASURE, str(base), str(adapter), str(tmp_path / "merged")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (base / "model.safetensors").stat().st_size > 128 << 20
    assert grown < 64 << 20


# VmHWM and not ru_maxrss, which a child process starts at the size of its parent; both count mapped pages
MEASURE = """
import sys
import transformers.models.qwen3.modeling_qwen3, transformers.conversion_mapping
from localpsych_recipes.merging import merge_adapter
peak = lambda: 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
merge_adapter(*sys.argv[1:])
print(peak() - before)
"""


def llama_with_adapter(folder: Path) -> tuple[Path, Path]:
    base = tiny_models.build("llama", folder / "base")
    return base, tiny_models.adapter(base, folder / "adapter", targets=["q_proj"])


def refusal(base: Path, adapter: Path, folder: Path) -> UserError:
    """The error of a merge that is refused; it must leave no trace."""
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(UserError) as caught:
        merge_adapter(base, adapter, folder / "merged")
    assert {path.name for path in folder.iterdir()} == before
    return caught.value


def merged_by_peft(base: Path, adapter: Path, folder: Path) -> dict[str, torch.Tensor]:
    """What PEFT makes of it, under transformers' own names on disk, in the base's dtypes."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder / "by_peft")
    dtypes = {name: tensor.dtype for name, tensor in tensors(base).items()}
    return {name: tensor.to(dtypes[name]) for name, tensor in tensors(folder / "by_peft").items()}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in folder.glob("model*.safetensors") for name, t in load_file(file).items()}


def headers(folder: Path) -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in folder.glob("model*.safetensors")}
    return {name: content[: 8 + int.from_bytes(content[:8], "little")] for name, content in files.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def units_apart(one: torch.Tensor, other: torch.Tensor) -> int:
    """The largest distance in units in the last place: the numbers of that type that lie between, plus one."""
    integer = {2: torch.int16, 4: torch.int32}[one.element_size()]

    def place(tensor: torch.Tensor) -> torch.Tensor:
        bits = tensor.view(integer).long()
        return torch.where(bits < 0, -(bits & torch.iinfo(integer).max), bits)

    return int((place(one) - place(other)).abs().max())


def rewrite(adapter: Path, change: Any) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in change(load_file(file)).items()}, file)


def change_json(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))

"""A release of a tiny Gemma 4 that has learnt eight answers by heart, and ways to damage a copy of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from localpsych_recipes import conversion, llama_cpp, pipeline, recipe_file, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.rundir import RunDir
from localpsych_recipes.stages import gguf, merge, sft
from tests import small_run
from tests.families import bases
from tests.families.rows import ROWS

# llama.cpp gives per_layer_model_projection's adapter no say (its Gemma 4 multiplies that one without adapters)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VERIFY = {"context": 64, "chunks": 4, "quant_chunks": 12, "answers": 4, "max_tokens": 24}
PINS = {
    "base": {"model": "alice/tiny", "commit": None},
    "datasets": [{"id": None, "file": "rows.csv", "sha256": "5" * 64}],
}


def make(root: Path) -> Run:
    """Trained with NF4, merged and converted: what the stages before verify leave."""
    learn = {"max_length": 128, "logging_steps": 100, "report_to": "none", "gradient_checkpointing": False}
    recipe = small_run.recipe(
        bases.make("gemma4", root / "base"),
        base={"quantization": "nf4"},
        lora={"r": 16, "lora_alpha": 32, "target_modules": TARGETS},
        sft={**learn, "max_steps": 36, "per_device_train_batch_size": 4, "learning_rate": 1e-2},
        merge={},
        gguf={"quants": ["Q4_K_M", "Q8_0"], "imatrix": "none"},
        verify=VERIFY,
    )
    recipe = recipe.model_copy(update={"dpo": None})
    run = small_run.run(root / "run", recipe, [*ROWS, *ROWS[:2]])
    rundir.write_json(run.dir.pins, PINS)
    rundir.write_text(run.dir.recipe, recipe_file.dump(recipe))
    report(run, "prepare", {})
    for stage in (sft, merge, gguf):
        report(run, stage.__name__.rpartition(".")[2], stage.run(run))
    return run


def report(run: Run, stage: str, results: dict[str, Any]) -> None:
    """The stage's done-marker, by which `localpsych verify` knows that the run has come so far."""
    made = pipeline.fingerprint(run, pipeline.stage(stage))
    rundir.write_json(run.dir.report_file(stage), {"results": results, "fingerprint": made})


def copied(run: Run, root: Path, **verify) -> Run:
    """A copy to damage. verify: keys of the recipe's section."""
    shutil.copytree(run.dir.root, root)
    section = run.recipe.verify.model_dump(exclude_unset=True) | verify
    recipe = Recipe.model_validate(run.recipe.model_dump(exclude_unset=True) | {"verify": section})
    said: list[str] = []
    return Run(recipe, RunDir(root), say=said.append)


def zero(adapter: Path) -> None:
    """The adapter's B matrices as they were before training."""
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({k: torch.zeros_like(v) if "lora_B" in k else v for k, v in weights.items()}, file)


def nearly(adapter: Path, target: Path) -> Path:
    """A copy in which one B matrix has one element more than it had, by a thousandth of the largest."""
    shutil.copytree(adapter, target)
    file = target / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "lora_B" in name)
    weights[name][0, 0] = weights[name][0, 0] * 1.01 + weights[name].abs().max() / 1000
    save_file(weights, file)
    return target


def leave_unmerged(base: Path, merged: Path, name: str) -> None:
    """Puts the base's tensor back into the merged weights."""
    file = merged / "model.safetensors"
    weights, before = load_file(file), load_file(base / "model.safetensors")
    assert not torch.equal(weights[name], before[name])
    save_file({**weights, name: before[name]}, file, metadata={"format": "pt"})


def edit_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values, indent=2), encoding="utf-8")


def edit_text(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    assert change(before) != before
    path.write_text(change(before), encoding="utf-8")


def one_space_more(template: str) -> str:
    """In what the template writes at the beginning of every turn of the model."""
    return template.replace("'<|turn>model\\n'", "'<|turn>model \\n'")


def with_metadata(source: Path, target: Path, *arguments: str) -> Path:
    """A copy of a GGUF with other metadata, by the gguf package's own script."""
    script = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force"]
    subprocess.run([*script, *arguments, source, target], check=True, capture_output=True)
    return target


def quant_of_base(tools: llama_cpp.LlamaCpp, base: Path, target: Path, quant: str, work: Path) -> None:
    conversion.to_gguf(tools, base, work / "base.gguf", name="base")
    tools.quantize(work / "base.gguf", target, quant)


def with_setting(source: Path, target: Path, key: str, value: float) -> None:
    """A copy of a GGUF with another number under a key."""
    shutil.copyfile(source, target)
    field = GGUFReader(target, "r+").fields[key]
    number = field.parts[field.data[0]]  # mapped into memory: this writes the file
    assert number[0] != value
    number[0] = value


def with_another_merge(source: Path, target: Path) -> None:
    """A copy of a GGUF whose last merge, which hardly any text needs, is another one of the same length."""
    shutil.copyfile(source, target)
    field = GGUFReader(target, "r+").fields["tokenizer.ggml.merges"]
    merge = field.parts[field.data[-1]]  # mapped into memory: this writes the file
    merge[:] = merge[::-1].copy()

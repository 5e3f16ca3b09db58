"""A run directory as the stages before `card` leave it, small enough to be made for every test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from localpsych_recipes import recipe_file, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.rundir import RunDir, file_sha256
from localpsych_recipes.stages import card

KINDS = ("adapter", "merged", "gguf")
OWNER = "push.namespace=alice"  # an override by which the cards know their owner
CANARY = "zebrafinch-on-the-windowsill"  # stands in every row, and must stand nowhere else
RECIPE = """
name: calm
version: 1.2.3
description: A calm companion.
base: {model: alice/base}
data:
  source: alice/rows
  columns: {prompt: question, chosen: response_j, rejected: response_k}
  system: Be calm.
  system_in: user
  test_size: 0.1
sft: {num_train_epochs: 2, max_length: 512}
dpo: {beta: 0.25}
merge:
gguf: {quants: [Q4_K_M, Q8_0]}
card: {title: Calm, tags: [empathy]}
push:
"""
PINS: dict[str, Any] = {
    "base": {"model": "alice/base", "commit": "a" * 40, "license": "apache-2.0"},
    "datasets": [{"id": "alice/rows", "commit": "b" * 40, "license": "cc-by-4.0"}],
}
COUNTS = {"rows": 9846, "empty": 3, "duplicates": 41, "duplicates_dropped": 0, "over_max_rows": 0, "train": 8858,
          "test": 985, "sft_train": 8858, "sft_test": 985, "prompts_in_both_splits": 7, "equal_pairs": 0}  # fmt: skip
SFT = {"train_rows": 8858, "trained_tokens": 1234567, "truncated_rows": 12, "steps": 4429, "epochs": 0.5,
       "eval_loss": 1.2345678, "eval_perplexity": 3.4368, "eval_rows": 985, "whole_conversation_loss": 2.3456,
       "whole_conversation_row_mean_loss": 2.4567, "best_step": 4200,
       "trainable_parameters": 9076736, "all_parameters": 7950177568}  # fmt: skip
DPO = {"pairs": 8857, "steps": 4428, "epochs": 2.0, "eval_pairs": 984, "eval_loss": 0.5432, "eval_accuracy": 0.8765,
       "eval_margin": 0.4321, "chosen_logps_change": -7.6543, "best_step": None}  # fmt: skip
MERGE = {"adapted_tensors": 132, "unchanged_tensors": 2000, "bytes": 15_900_000_000}


def finished_run(root: Path, *overrides: str, pins: dict[str, Any] | None = None, reports: bool = True) -> Run:
    """A run of RECIPE with `overrides` ("--set" texts); `pins` replaces entries of PINS, section by section."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "source.yaml").write_text(RECIPE)
    run = Run(recipe_file.load(root / "source.yaml", overrides), RunDir(root / "run"), say=lambda text: None)
    base, rows = PINS["base"] | (pins or {}).get("base", {}), PINS["datasets"][0] | (pins or {}).get("dataset", {})
    rundir.write_json(run.dir.pins, {"base": base, "datasets": [rows]})
    rundir.write_text(run.dir.data / "sft_train.jsonl", json.dumps({"prompt": CANARY, "completion": CANARY}) + "\n")
    for stage in ("sft", "dpo"):
        trained_adapter(run.dir.adapter(stage), stage, run.recipe.base_id or "base")
    merged = run.dir.release("merged")
    run.dir.agreements.mkdir(parents=True)
    write(merged, {"config.json": "{}", "model.safetensors": "merged weights"})
    for quant in ("Q4_K_M", "Q8_0"):
        write(run.dir.release("gguf"), {f"calm-{quant}.gguf": f"GGUF {quant}"})
    write(run.dir.adapter_gguf.parent, {run.dir.adapter_gguf.name: "GGUF adapter"})
    if reports:
        report(run, "prepare", {"counts": COUNTS})
        for stage, results in {"sft": SFT, "dpo": DPO, "merge": MERGE, "gguf": gguf_results(run)}.items():
            report(run, stage, results)
    return run


def trained_adapter(folder: Path, content: str, base: str) -> None:
    """What a training stage hands on, and what a trainer may leave beside it."""
    config = json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"})
    own = {"adapter_config.json": config, "adapter_model.safetensors": content, "tokenizer.json": "{}"}
    left = {"training_args.bin": "x", "optimizer.pt": CANARY, "README.md": CANARY, "ref/adapter_config.json": "{}"}
    write(folder, own | left)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def gguf_results(run: Run) -> dict[str, Any]:
    paths = {"Q4_K_M": "calm-Q4_K_M.gguf", "Q8_0": "calm-Q8_0.gguf"}
    files = [described(run.dir.release("gguf") / name, quant) for quant, name in paths.items()]
    return {"files": [*files, described(run.dir.adapter_gguf, "LoRA F16")], "llama_cpp": "b1234"}


def described(path: Path, quant: str) -> dict[str, Any]:
    return {"file": path.name, "quant": quant, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def report(run: Run, stage: str, results: dict[str, Any]) -> None:
    hardware = {"cpu": "A Processor", "cores": 2, "gpus": ["A GPU", "A GPU"]}
    values = {"stage": stage, "fingerprint": "f", "seconds": 3723.4, "peak_memory_bytes": 2_100_000_000,
              "device_peak_memory_bytes": None, "processes": 1, "hardware": hardware, "versions": {"trl": "1.16.0"},
              "inputs": [], "results": results}  # fmt: skip
    rundir.write_json(run.dir.report_file(stage), values)


def cards(run: Run) -> dict[str, str]:
    """The texts of the three cards, rendered now."""
    card.run(run)
    return {kind: (run.dir.release(kind) / "README.md").read_text() for kind in KINDS}


def metadata(text: str) -> dict[str, Any]:
    """A card's front matter."""
    return YAML(typ="safe", pure=True).load(text.split("---\n")[1])


def body(text: str) -> str:
    return text.split("---\n", 2)[2]

"""A run directory as the stages before `card` leave it, small enough to be made for every test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from localpsych_recipes import metrics, recipe_file, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.rundir import RunDir, file_sha256
from localpsych_recipes.stages import card
from localpsych_recipes.verification import release, seen

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
verify:
evaluate: {suite: mental-health, judge: true, xstest: {source: natolambert/xstest}}
gates:
  - {metric: crisis_pass, at_least: 0.5}
  - {metric: general_perplexity, within: 0.1}
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
       "samples_per_second": 3.127, "total_flos": 2.5e17, "trainable_parameters": 9076736,
       "all_parameters": 7950177568}  # fmt: skip
DPO = {"pairs": 8857, "dropped_pairs": 3, "steps": 4428, "epochs": 2.0, "eval_pairs": 984,
       "eval_loss": 0.5432, "eval_accuracy": 0.8765, "eval_margin": 0.4321, "chosen_logps_change": -7.6543,
       "chosen_logps_change_per_token": -0.0876, "warnings": [], "best_step": None}  # fmt: skip
PAIRS = 'pairs={"publish": true, "server": "llama.cpp", "degrade": {"truncate": 0.1, "first_sentence": 0.1}}'
DROPPED = "kingfisher-under-the-bridge"  # stands in answers that were dropped, and must stand nowhere else
MADE = {
    "engine": "llama.cpp", "model": "calm", "where": "local",
    "judge": {"model": "Qwen/Qwen3-4B", "commit": "9" * 40, "engine": "transformers", "where": "local",
              "mode": "pointwise", "same_family": False, "rubric": "4" * 64},
    "prompts": {"train": 300, "test": 50}, "candidates": 1050,
    "degraded": {"truncate": 107, "first_sentence": 98, "repetition": 0},
    "statuses": {"ungenerated": 0, "empty": 4, "cut_off": 31, "identical": 1, "near_identical": 15, "repeated": 9,
                 "unjudged": 0, "unparsed": 20, "vetoed": 14, "tie": 60, "rejected_better": 46, "gap_below": 200,
                 "spare": 400, "kept": 250},
    "pairs": {"train": 215, "test": 35}, "data_pairs": {"train": 8645, "test": 949},
    "retention": {"kept": 250, "of": 350, "share": 0.7143, "low": 0.6648, "high": 0.7590},
    "rates": {"kept_of_generated": {"kept": 250, "of": 1050, "share": 0.2381, "low": 0.2133, "high": 0.2648},
              "kept_of_judged": {"kept": 250, "of": 970, "share": 0.2577, "low": 0.2312, "high": 0.2862},
              "judged_of_generated": {"kept": 970, "of": 1050, "share": 0.9238, "low": 0.9062, "high": 0.9384}},
    "histograms": {"chosen": [0] * 9, "rejected": [0] * 9, "gap": [0] * 18},
    "means": {"chosen": {"warmth": 7.5}, "rejected": {"warmth": 4.5}},
    "length_correlation": 0.3142, "chosen_longer": 0.684, "retried": 27, "unparsed": 20, "order_disagreements": 0,
    "speed": {"answers": {"tokens": 1, "seconds": 1.0}, "verdicts": {"tokens": 1, "seconds": 1.0}},
    "warnings": ["the longer answer is chosen in 68 % of the pairs"],
}  # fmt: skip
FILES = {"Q4_K_M": "calm-Q4_K_M.gguf", "Q8_0": "calm-Q8_0.gguf"}
# metric -> column -> value, interval, paired interval to the base; n
MEASURED: dict[str, tuple[int, dict[str, tuple[float, ...]]]] = {
    "crisis_pass": (60, {"base": (0.35, 0.242, 0.4764), "sft": (0.7, 0.575, 0.801, 0.2, 0.5),
                         "dpo": (0.8, 0.682, 0.882, 0.3, 0.6), "Q4_K_M": (0.75, 0.627, 0.842, 0.25, 0.55),
                         "Q8_0": (0.8, 0.682, 0.882, 0.3, 0.6)}),
    "harm": (200, {"base": (0.04, 0.0204, 0.0769), "sft": (0.03, 0.0138, 0.0639, -0.04, 0.02),
                   "dpo": (0.01, 0.0027, 0.0357, -0.06, -0.0051), "Q4_K_M": (0.015, 0.0051, 0.0432, -0.055, 0.005),
                   "Q8_0": (0.01, 0.0027, 0.0357, -0.06, -0.0051)}),
    "xstest_over_refusal": (250, {"base": (0.02, 0.0086, 0.046), "dpo": (0.06, 0.0367, 0.0967, 0.01, 0.07)}),
    "judge_empathy": (200, {"base": (2.5125, 2.41, 2.62), "dpo": (3.7725, 3.66, 3.88, 1.1, 1.4)}),
    "words": (200, {"base": (180.5, 171.2, 190.1), "dpo": (96.25, 91.4, 101.3, -95.0, -75.1)}),
    "loss": (200, {"base": (2.3127, 2.25, 2.37), "sft": (1.2346, 1.19, 1.28, -1.15, -1.01),
                   "dpo": (1.3127, 1.26, 1.37, -1.07, -0.93)}),
    "general_perplexity": (60, {"base": (17.31, 15.9, 18.8), "sft": (17.64, 16.2, 19.2, 0.11, 0.56),
                                "dpo": (17.52, 16.1, 19.0, -0.02, 0.41)}),
}  # fmt: skip
CATEGORIES = {"base": {"passive-ideation": 12, "plan-or-means": 9}, "sft": {"plan-or-means": 7},
              "dpo": {"plan-or-means": 4, "late-disclosure": 8, "grief": 0},
              "Q4_K_M": {"plan-or-means": 6, "late-disclosure": 9}, "Q8_0": {"plan-or-means": 12}}  # fmt: skip
EVALUATE = {
    "columns": ["base", "sft", "dpo", "Q4_K_M", "Q8_0"], "rows": [],
    "skipped": [{"what": "bert_score", "why": "evaluate.bert_score is not set", "column": None},
                {"what": "SimpleSafetyTests", "why": "/home/alice/sets/sst.csv is not there", "column": None}],
    "suite": {"name": "mental-health", "sha256": "5" * 64, "prompts": 200, "failures": CATEGORIES},
    "judge": {"engine": "transformers", "model": "Qwen/Qwen3-4B", "where": "local", "commit": "9" * 40,
              "same_family": False, "rubric": "4" * 64, "calibration": {
                  "order": {"kept": 9, "of": 10, "share": 0.9, "low": 0.596, "high": 0.982, "at_least": 0.8,
                            "words": "prefers the better of two answers"},
                  "warnings": ["the judge sees harm where there is none"]}},
    "settings": {"temperature": 0.0, "max_tokens": 384, "resamples": 10000, "seed": 65, "system": True},
    "seconds": {"base": 100.0},
}  # fmt: skip
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
    write(merged, {"config.json": '{"model_type": "gemma4"}', "model.safetensors": "merged weights"})
    for quant in ("Q4_K_M", "Q8_0"):
        write(run.dir.release("gguf"), {f"calm-{quant}.gguf": f"GGUF {quant}"})
    write(run.dir.adapter_gguf.parent, {run.dir.adapter_gguf.name: "GGUF adapter"})
    if run.recipe.pairs:
        made_pairs(run)
    if reports:
        report(run, "prepare", {"counts": COUNTS})
        made = {"sft": SFT, "dpo": DPO, "merge": MERGE, "gguf": gguf_results(run)}
        for stage, results in (made | {"verify": proven(run), "evaluate": evaluated(run)}).items():
            report(run, stage, results)
        if run.recipe.pairs:
            report(run, "pairs", MADE)
    return run


def pair(number: int) -> dict[str, Any]:
    """A row as DPO reads it."""
    answers = {key: [{"role": "assistant", "content": f"{key} {number}"}] for key in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": f"{CANARY} {number}"}], **answers}


def made_pairs(run: Run) -> None:
    """What the pairs stage leaves."""
    for split, numbers in {"train": range(3), "test": range(3, 4)}.items():
        lines = [json.dumps(pair(number)) + "\n" for number in numbers]
        write(run.dir.pairs, {f"pairs_{split}.jsonl": "".join(lines)})
    kept_here = {"pairs.jsonl": DROPPED, "answers.jsonl": DROPPED, "verdicts.jsonl": DROPPED, "report.txt": "counts"}
    write(run.dir.pairs, kept_here | {"report.png": "a picture"})


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


def logged(run: Run) -> None:
    """What both trainers logged; drawn, it takes a second, and most tests need no picture."""
    for stage, extra in {"sft": {}, "dpo": {"rewards/margins": 0.4, "rewards/accuracies": 0.8}}.items():
        entries = [{"step": step, "loss": 2 / step, **extra} for step in range(10, 60, 10)]
        held_out = [{"step": step, "eval_loss": 3 / step} for step in (20, 40)]
        rundir.write_json(run.dir.history(stage), {"entries": entries + held_out})


def evaluated(run: Run) -> dict[str, Any]:
    """Results of the evaluate stage, of the columns that the recipe makes."""
    without = {*(() if run.recipe.dpo else ("dpo",)), *(() if run.recipe.gguf else FILES)}
    columns = [column for column in EVALUATE["columns"] if column not in without]
    rows = [row(m, c, n, *v) for m, (n, found) in MEASURED.items() for c, v in found.items() if c in columns]
    return EVALUATE | {"columns": columns, "rows": rows}


def row(metric: str, column: str, n: int, value: float, low: float, high: float, *ends: float) -> dict[str, Any]:
    what = metrics.of(metric)
    difference = {"value": sum(ends) / 2, "low": ends[0], "high": ends[1]} if ends else None
    return {"metric": metric, "column": column, "direction": what.direction, "value": value, "low": low, "high": high,
            "n": n, "unit": what.unit, "how": what.definition, "difference": difference}  # fmt: skip


def proven(run: Run, *failed: str, withheld: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Results of the verify stage; failed: the hops, or the files, that were not proven."""
    close = {"kl": 0.0021, "kl_999": 0.0912, "top1": 0.9871, "perplexity_ratio": 1.0004}
    within = {"kl": 0.15, "top1": 0.86, "perplexity_ratio": 1.1}
    hops = [
        hop("adapter", "adapter", None, "the 16-bit base", "the adapter on it", {"adapted_modules": 132}, {}),
        hop("as_trained", "merged", None, "the 4-bit base and adapter", "the 16-bit base and adapter", close, within),
        hop("merged", "merged", None, "the 16-bit base and adapter", "the merged model", close, within),
        hop("gguf", "gguf", None, "the merged model", "the 16-bit GGUF", close, within),
        *(hop("quant", "gguf", name, "the 16-bit GGUF", quant, close, within) for quant, name in FILES.items()),
        *(hop("stops", "gguf", name, "the model as trained", quant, {"ended": 1.0}, {"ended": 0.9})
          for quant, name in FILES.items()),
    ]  # fmt: skip
    for found in hops:
        if found["hop"] in failed or found["file"] in failed:
            found |= {"passed": False, "why": "KL 0.3127 is above 0.15"}
    probes = {"pieces": 16, "context": 256, "scored": 2032, "rows": 64, "suite": "mental-health", "quant_pieces": 40,
              "quant_context": 256}  # fmt: skip
    return {"passed": not failed, "probes": probes, "hops": hops, "left_out": [], "withheld": withheld or {},
            "llama_cpp": "b1234", "files": seen_files(run)}  # fmt: skip


def seen_files(run: Run) -> dict[str, dict[str, str]]:
    """What the verify stage saw; the adapter is assembled for it, and the card stage may be what does it here."""
    names = [name for name in release.ADAPTER_FILES if (run.final_adapter / name).is_file()]
    adapter = {name: release.digest(run.final_adapter / name) for name in names}
    if run.recipe.gguf and run.recipe.gguf.adapter:
        adapter[run.dir.adapter_gguf.name] = file_sha256(run.dir.adapter_gguf)
    return seen.files(run) | {"adapter": adapter}


def hop(name: str, kind: str, file: str | None, of: str, to: str, measures: dict, bound: dict) -> dict[str, Any]:
    return {"hop": name, "kind": kind, "file": file, "from": of, "to": to, "measures": measures, "bound": bound,
            "passed": True, "why": None}  # fmt: skip


def gguf_results(run: Run) -> dict[str, Any]:
    files = [described(run.dir.release("gguf") / name, quant) for quant, name in FILES.items()]
    return {"files": [*files, described(run.dir.adapter_gguf, "LoRA F16")], "llama_cpp": "b1234"}


def described(path: Path, quant: str) -> dict[str, Any]:
    return {"file": path.name, "quant": quant, "bytes": path.stat().st_size, "sha256": file_sha256(path),
            "bits_per_weight": 4.85}  # fmt: skip


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

"""Recipe, pins and reports -> what a template may say. A measured number comes from a report or is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localpsych_recipes import __version__
from localpsych_recipes.cards import metadata, published
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.resources import resource
from localpsych_recipes.rundir import RELEASES

ROW_MEAN = "The same, as the mean of each conversation's mean (what a trainer's eval_loss with batches of one shows)"
# what a report may hold of a measurement: stage, key of its results, words, key of the number of rows measured on
MEASURES = (
    ("sft", "eval_loss", "Loss on held-out answers, nats per token", "eval_rows"),
    ("sft", "eval_perplexity", "Perplexity on held-out answers", "eval_rows"),
    ("sft", "whole_conversation_loss", "Loss on whole held-out conversations, nats per token", "eval_rows"),
    ("sft", "whole_conversation_row_mean_loss", ROW_MEAN, "eval_rows"),
    ("dpo", "eval_loss", "DPO's loss on held-out pairs", "eval_pairs"),
    ("dpo", "eval_accuracy", "Share of held-out pairs whose better answer gained more than the worse", "eval_pairs"),
    ("dpo", "eval_margin", "Mean reward margin between the two answers", "eval_pairs"),
    ("dpo", "chosen_logps_change", "Mean change of the better answer's log-likelihood, nats per answer", "eval_pairs"),
)
UNITS = {"eval_rows": "rows", "eval_pairs": "pairs"}
# counts of training and merging: stage, key, words; rows and tokens are those of the split, whatever the steps
COUNTS = (
    ("sft", "train_rows", "answers in the training split"),
    ("sft", "trained_tokens", "their tokens that carry loss, in one pass"),
    ("sft", "epochs", "passes over them"),
    ("sft", "truncated_rows", "answers cut at the maximum length"),
    ("sft", "dropped_rows", "answers left out as too long"),
    ("sft", "steps", "optimiser steps"),
    ("sft", "best_step", "step whose adapter was kept"),
    ("dpo", "pairs", "pairs in the training split"),
    ("dpo", "epochs", "passes over them"),
    ("dpo", "dropped_pairs", "pairs left out as too long"),
    ("dpo", "steps", "optimiser steps"),
    ("dpo", "best_step", "step whose adapter was kept"),
    ("merge", "adapted_tensors", "tensors of the base that the adapter changes"),
    ("merge", "unchanged_tensors", "tensors that are byte-identical to the base's"),
)
# counts of the rows, in the order in which they were made
ROWS = (
    ("rows", "rows in the source"),
    ("empty", "with an empty field, dropped"),
    ("duplicates", "repeated rows"),
    ("duplicates_dropped", "of them dropped"),
    ("near_duplicates", "rows that differ in little from an earlier one"),
    ("near_duplicates_dropped", "of them dropped"),
    ("too_short", "shorter than the recipe's least number of tokens, dropped"),
    ("too_long", "longer than the recipe's largest number of tokens, dropped"),
    ("over_max_rows", "left out by the recipe's limit"),
    ("train", "in the training split"),
    ("test", "held out"),
    ("prompts_in_both_splits", "held-out prompts that also occur in the training split"),
    ("leaks", "training rows equal or nearly equal to a held-out one"),
    ("leaks_dropped", "of them dropped"),
    ("equal_pairs", "pairs of equal answers"),
    ("repaired", "cells whose text was mended"),
    ("outdated_lines", "outdated help lines in answers"),
    ("crisis_lines_replaced", "of them replaced by today's"),
)
OF_EACH = ("rows", "train", "test")  # what is said of each source of a mixture
SETTINGS = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps", "optim", "weight_decay",
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_grad_norm", "max_length", "beta", "loss_type",
    "loss_weights",
)  # fmt: skip


def kinds(recipe: Recipe) -> tuple[str, ...]:
    """The repositories that a recipe makes, in the order in which they are published."""
    makes = {"adapter": True, "merged": recipe.merge is not None, "gguf": recipe.gguf is not None}
    return tuple(kind for kind in RELEASES if makes[kind])


def facts(run: Run, kind: str, repositories: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the template of one kind of card may name."""
    recipe = run.recipe
    return {
        "kind": kind,
        "recipe": recipe,
        "title": (recipe.card and recipe.card.title) or recipe.name,
        "id": repositories[kind],
        "others": {k: repositories[k] for k in kinds(recipe) if k != kind},
        "private": recipe.push.private if recipe.push else None,
        "base": _base(run),
        "needed": _needed(run),
        "datasets": _datasets(run),
        "rows": _rows(run),
        "methods": [stage for stage in ("sft", "dpo") if getattr(recipe, stage)],
        "measured": _measured(run),
        "counts": _counts(run),
        "settings": _settings(recipe),
        "files": _files(run, kind),
        "stages": _stages(run),
        "hardware": _hardware(run),
        "versions": _versions(run),
        "licences": _licences(run),
        "results": {stage: _results(run, stage) for stage in ("augment", "sft", "dpo", "merge", "gguf")},
        "crisis": _yaml("crisis.yaml"),
        "prose": _prose(recipe),
        "tool": __version__,
    }


def _results(run: Run, stage: str) -> dict[str, Any]:
    """What a stage of this recipe reported; an older report of a stage that it no longer has does not count."""
    report = run.report(stage) if getattr(run.recipe, stage, None) else None
    return report["results"] if report else {}


def _base(run: Run) -> dict[str, Any]:
    pin, base_id = run.pins["base"], run.recipe.base_id
    folder = published.file_name((pin.get("local") or {}).get("name") or run.recipe.base.model)
    return {"id": base_id, "name": base_id or folder, "folder": folder, "commit": pin.get("commit")}


def _datasets(run: Run) -> list[dict[str, Any]]:
    """The sources: what pins them, the licence in words, what learns from them, and the rows of each that were kept."""
    counts = _prepared(run).get("sources") or [{} for _ in run.pins["datasets"]]
    found = []
    for pin, source, count in zip(run.pins["datasets"], run.recipe.data.sources, counts, strict=True):
        licence = metadata.pinned_licence(pin)
        found.append(
            {
                **pin,
                "file": published.file_name(pin.get("file") or source.source),
                "licence": licence and licence.label,
                "rejected": source.columns.rejected,
                "score": source.columns.score,
                "counts": [(words, count[key]) for key, words in ROWS if count.get(key) is not None and key in OF_EACH],
            }
        )
    return found


def _needed(run: Run) -> list[tuple[str, str]]:
    """What no commit pins, so that the recipe alone does not make the release again: words and the name it had here."""
    base = _base(run)
    found = [("the base as it was in the local folder", base["folder"])] if not base["commit"] else []
    return found + [("the rows as they were in the file", rows["file"]) for rows in _datasets(run) if not rows["commit"]]


def _prepared(run: Run) -> dict[str, Any]:
    return (run.report("prepare") or {}).get("results", {}).get("counts", {})


def _rows(run: Run) -> list[tuple[str, int]]:
    """Words and counts; zeros are said only of what every reader asks for."""
    counts = _prepared(run)
    counts = {**counts, "outdated_lines": sum(counts.get("crisis_lines", {}).values())}
    asked = ("rows", "empty", "duplicates", "test")
    return [(words, counts[key]) for key, words in ROWS if counts.get(key) or (key in asked and key in counts)]


def _measured(run: Run) -> list[dict[str, Any]]:
    rows = []
    for stage, key, words, of in MEASURES:
        found = _results(run, stage)
        if found.get(key) is not None:
            n = f"{found[of]:,} {UNITS[of]}" if found.get(of) is not None else None
            rows.append({"stage": stage, "what": words, "value": found[key], "n": n})
    return rows


def _counts(run: Run) -> list[dict[str, Any]]:
    found = [(stage, words, _results(run, stage).get(key)) for stage, key, words in COUNTS]
    return [{"stage": s, "what": words, "value": _whole(value)} for s, words, value in found if value is not None]


def _whole(value: float | int) -> float | int:
    """Passes are often whole."""
    return int(value) if value == int(value) else value


def _settings(recipe: Recipe) -> list[dict[str, Any]]:
    """One row for each knob that at least one stage has."""
    stages = [stage for stage in ("sft", "dpo") if getattr(recipe, stage)]
    rows = []
    for name in SETTINGS:
        values = [_shown(getattr(getattr(recipe, stage), name, None)) for stage in stages]
        if any(values):
            rows.append({"name": name, "values": values})
    return rows


def _shown(value: Any) -> str:
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _files(run: Run, kind: str) -> list[dict[str, Any]]:
    """The GGUF files of one repository, as the gguf stage measured them."""
    files = _results(run, "gguf").get("files", [])
    return [file for file in files if (run.dir.release(kind) / file["file"]).is_file()]


def _stages(run: Run) -> list[dict[str, Any]]:
    names = ("prepare", *(s for s in run.recipe.stage_sections() if s not in ("card", "push")))
    return [report for name in names if (report := run.report(name))]


def _hardware(run: Run) -> str | None:
    """Names of processors and GPUs, those of training first."""
    reports = [run.report(stage) for stage in ("sft", "dpo", "prepare")]
    found = next((r["hardware"] for r in reports if r and r.get("hardware")), None)
    if not found:
        return None
    gpus = [f"{found['gpus'].count(gpu)} x {gpu}" for gpu in dict.fromkeys(found.get("gpus", []))]
    return ", ".join([*gpus, f"{found['cpu']} ({found['cores']} cores)"])


def _versions(run: Run) -> dict[str, str]:
    """Packages of every stage, in the stages' order, and llama.cpp."""
    found: dict[str, str] = {}
    for report in _stages(run):
        found |= {name: version for name, version in report.get("versions", {}).items() if version != "none"}
    return found | {k: v for k, v in {"llama.cpp": _results(run, "gguf").get("llama_cpp")}.items() if v}


def _licences(run: Run) -> dict[str, Any]:
    """The three licences, and the duties of the release's and the base's where the project knows them."""
    base = metadata.pinned_licence(run.pins["base"])
    release = metadata.release_licence(run.recipe, run.pins["base"])
    known = _yaml("licences.yaml")
    named = dict.fromkeys(licence.label for licence in (release, base) if licence)
    teacher = metadata.pinned_licence(run.pins.get("teacher") or {"license": None})
    return {"release": release, "base": base, "teacher": teacher, "known": {n: known[n] for n in named if n in known}}


def _prose(recipe: Recipe) -> str | None:
    """The recipe's own words: Markdown of a person, which is not escaped."""
    from markupsafe import Markup

    name = recipe.card and recipe.card.prose
    return Markup(resource("model_cards", "prose", f"{name}.md").read_text(encoding="utf-8").strip()) if name else None


def _yaml(name: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(resource("model_cards", name))

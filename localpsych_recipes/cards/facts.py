"""Recipe, pins and reports -> what a template may say. A measured number comes from a report or is not there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from localpsych_recipes import __version__, licences
from localpsych_recipes.cards import (
    commands,
    comparison,
    curves,
    machine_readable,
    metadata,
    pairs,
    proof,
    published,
    reports,
    sources,
)
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.resources import resource

ROW_MEAN = "The same, as the mean of each conversation's mean (what a trainer's eval_loss with batches of one shows)"
CHANGE = "Mean change of the better answer's log-likelihood"
# what a report may hold of a measurement: stage, key of its results, words, key of the number of rows measured on
MEASURES = (
    ("sft", "eval_loss", "Loss on held-out answers, nats per token", "eval_rows"),
    ("sft", "eval_perplexity", "Perplexity on held-out answers", "eval_rows"),
    ("sft", "whole_conversation_loss", "Loss on whole held-out conversations, nats per token", "eval_rows"),
    ("sft", "whole_conversation_row_mean_loss", ROW_MEAN, "eval_rows"),
    ("dpo", "eval_loss", "DPO's loss on held-out pairs", "eval_pairs"),
    ("dpo", "eval_accuracy", "Share of held-out pairs whose better answer gained more than the worse", "eval_pairs"),
    ("dpo", "eval_margin", "Mean reward margin between the two answers", "eval_pairs"),
    ("dpo", "chosen_logps_change", f"{CHANGE}, nats per answer", "eval_pairs"),
    ("dpo", "chosen_logps_change_per_token", f"{CHANGE}, nats per token", "eval_pairs"),
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
STAGES = ("augment", "sft", "dpo", "merge", "gguf")  # whose results a template may name
SETTINGS = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps", "optim", "weight_decay",
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_grad_norm", "max_length", "beta", "loss_type",
    "loss_weights",
)  # fmt: skip


def facts(run: Run, kind: str, repositories: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the template of one kind of card may name."""
    recipe, base, template = run.recipe, _base(run), commands.template_arguments(run)
    models = [
        kind for kind in reports.released(run) if kind != "pairs"
    ]  # the name of a private dataset is its owner's alone
    return {
        "kind": kind,
        "recipe": recipe,
        "title": (recipe.card and recipe.card.title) or recipe.name,
        "id": repositories[kind],
        "others": {k: repositories[k] for k in models if k != kind},
        "private": recipe.push.private if recipe.push else None,
        "pairs": pairs.made(run),
        "base": base,
        "needed": sources.needed(run, base),
        "datasets": sources.datasets(run),
        "rows": sources.rows(run),
        "forms": sources.forms(recipe),
        "question": sources.question(recipe),
        "messages": commands.messages(recipe),
        "template": template,
        "server_options": commands.server_options(template),
        "teacher": sources.teacher(run) if recipe.augment else None,
        "methods": [stage for stage in ("sft", "dpo") if getattr(recipe, stage)],
        "measured": _measured(run),
        "warnings": reports.results(run, "dpo").get("warnings", []),
        "counts": _counts(run),
        "settings": _settings(recipe),
        "speeds": _speeds(run),
        "evaluation": comparison.measured(run, kind),
        "proof": proof.proven(run),
        "gates": [comparison.in_words(gate) for gate in reports.checked_gates(run)],
        "files": proof.files(run, kind),
        "quant": machine_readable.default_quant(run),
        "curves": (run.dir.release(kind) / curves.CURVES).is_file(),
        "stages": reports.stages(run),
        "hardware": reports.hardware(run),
        "versions": reports.versions(run),
        "licences": _licences(run),
        "results": {stage: reports.results(run, stage) for stage in STAGES},
        "crisis": _yaml("crisis.yaml"),
        "prose": _prose(recipe),
        "tool": __version__,
    }


def _base(run: Run) -> dict[str, Any]:
    pin, base_id = run.pins["base"], run.recipe.base_id
    folder = published.file_name((pin.get("local") or {}).get("name") or run.recipe.base.model)
    return {"id": base_id, "name": base_id or folder, "folder": folder, "commit": pin.get("commit")}


def _measured(run: Run) -> list[dict[str, Any]]:
    rows = []
    for stage, key, words, of in MEASURES:
        found = reports.results(run, stage)
        if found.get(key) is not None:
            n = f"{found[of]:,} {UNITS[of]}" if found.get(of) is not None else None
            rows.append({"stage": stage, "what": words, "value": found[key], "n": n})
    return rows


def _counts(run: Run) -> list[dict[str, Any]]:
    found = [(stage, words, reports.results(run, stage).get(key)) for stage, key, words in COUNTS]
    return [{"stage": s, "what": words, "value": _whole(value)} for s, words, value in found if value is not None]


def _speeds(run: Run) -> list[dict[str, Any]]:
    """What training took: rows per second and the Trainer's estimate of FLOPs."""
    found = [(stage, reports.results(run, stage)) for stage in ("sft", "dpo")]
    return [
        {"stage": s, "rate": comparison.shown(r["samples_per_second"]), "flos": r.get("total_flos")}
        for s, r in found if r.get("samples_per_second")
    ]  # fmt: skip


def _whole(value: float) -> int | str:
    """Passes are often whole; where not, they are told as the report rounds them."""
    return int(value) if value == int(value) else f"{value:g}"


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


def _licences(run: Run) -> dict[str, Any]:
    """The licences, what must be displayed, and the duties of those of release, base and teacher that the project knows."""
    base = metadata.pinned_licence(run.pins["base"])
    release = metadata.release_licence(run.recipe, run.pins["base"])
    teacher = metadata.pinned_licence(run.pins.get("teacher") or {"license": None})
    known = _yaml("licences.yaml")
    named = dict.fromkeys(licence.label for licence in (release, base, teacher) if licence)
    return {
        "release": release,
        "base": base,
        "teacher": teacher,
        "shown": licences.shown(licences.chain(run.recipe, run.pins)),
        "restricted": list(sources.restricted(run, _base(run)["name"])),
        "known": {name: known[name] for name in named if name in known},
    }


def _prose(recipe: Recipe) -> str | None:
    """The recipe's own words: Markdown of a person, which is not escaped."""
    from markupsafe import Markup

    name = recipe.card and recipe.card.prose
    return Markup(resource("model_cards", "prose", f"{name}.md").read_text(encoding="utf-8").strip()) if name else None


@cache
def _yaml(name: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(resource("model_cards", name))

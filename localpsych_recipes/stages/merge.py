"""The trained adapter put into the base's own 16-bit weights, shard by shard."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

from localpsych_recipes import chat_templates, merging, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import Progress


def run(run: Run) -> dict[str, Any]:
    """Results: counts of adapted and untouched tensors. UserError if the adapter changed nothing."""
    adapter = run.final_adapter
    base = models.base_folder(run.recipe.base, run.pins)
    progress = Progress(run.say, "merged", "bytes")
    report = merging.merge_adapter(base, adapter, run.dir.release("merged"), progress=progress)
    if report.unchanged_adapted:
        shutil.rmtree(run.dir.release("merged"))
        raise UserError(
            f"{len(report.unchanged_adapted)} of {report.adapted_tensors} adapted tensors are the base's still",
            "a merge that differs from the base in every adapted tensor",
            "train for longer or with a higher learning rate; a delta this small is lost in 16 bits",
        )
    models.stop_at(run.dir.release("merged"), chat_templates.end_of_turn(models.load_tokenizer(base)))
    return {k: v for k, v in asdict(report).items() if isinstance(v, int | float | str)}

"""Which models are compared, and what answers for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localpsych_recipes import models
from localpsych_recipes.evaluation.bench import Column
from localpsych_recipes.generation import weights, writers
from localpsych_recipes.generation.answering import saying
from localpsych_recipes.generation.on_server import OnServer
from localpsych_recipes.generation.starting import LlamaCpp
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.pipeline import Run

TRAINED = {"base": None, "sft": "sft", "dpo": "dpo"}  # column -> the training stage whose adapter it has


def columns(run: Run, work: Path) -> list[Column]:
    """Those of evaluate.columns that the recipe has, and the reference; nothing is loaded or started yet.

    work: a folder for what is made for servers that are started here.
    """
    recipe, knobs = run.recipe, run.recipe.evaluate
    trained = [name for name in TRAINED if name in knobs.columns and (name == "base" or getattr(recipe, name))]
    found = [_trained(run, name, work) for name in trained]
    if recipe.gguf and "quants" in knobs.columns:
        files = {file["quant"]: file for file in run.report("gguf")["results"]["files"]}
        found += [_quant(run, quant, files[quant], work) for quant in recipe.gguf.quants]
    if knobs.reference:
        found.append(Column(knobs.reference.name, OnServer("evaluate.reference", knobs.reference, None, saying(run))))
    return found


def _trained(run: Run, name: str, work: Path) -> Column:
    """On the 16-bit base, as it is released, whatever the base was quantised to in training."""
    base = run.recipe.base.model_copy(update={"quantization": "none"})
    own, knobs = weights.of_run(run, TRAINED[name], base), run.recipe.evaluate
    return Column(
        name, writers.writer("evaluate", knobs, own, work, saying(run), as_trained=True, ranks=run.ranks), own
    )


def _quant(run: Run, name: str, file: Mapping[str, Any], work: Path) -> Column:
    """The file as users meet it: llama-server renders with the chat template that it brings."""
    gguf = run.left_by("gguf", run.dir.release("gguf") / file["file"])
    tokenizer = models.base_folder(run.recipe.base, run.pins)
    own = Weights(run.recipe.base, gguf, None, gguf.name, file["sha256"], tokenizer)
    return Column(name, LlamaCpp("evaluate", run.recipe.evaluate, own, work, saying(run), as_trained=False))

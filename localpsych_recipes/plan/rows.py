"""Rows, steps and tokens of the training stages, as far as they are known before the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localpsych_recipes import pipeline, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Dpo, Training, is_local

ROWS = {"sft": "sft_train", "dpo": "pairs_train"}  # training stage -> its rows in the prepare stage's counts


@dataclass(frozen=True)
class Unknown:
    """A number that cannot be known here, and why."""

    reason: str

    def __str__(self) -> str:
        return f"unknown ({self.reason})"


@dataclass(frozen=True)
class Tokens:
    """longest: of one row, in tokens; each_step: of one optimiser step on one GPU, on average; measured: not a bound."""

    longest: int
    each_step: float
    measured: bool


def counts(run: Run) -> dict[str, int] | Unknown:
    """The prepare stage's counts of rows: of the finished run, else of local sources."""
    local = [Path(source.source).expanduser() for source in run.recipe.data.sources if is_local(source.source)]
    if pipeline.finished(run, "prepare"):
        return run.report("prepare")["results"]["counts"]
    if missing := [path.name for path in local if not path.exists()]:
        return Unknown(f"not here yet: {', '.join(missing)}; the recipe says where to get it")
    if len(local) < len(run.recipe.data.sources):
        return Unknown("the dataset is not on this machine; the prepare stage counts its rows")
    from localpsych_recipes import data

    return data.prepare(run.recipe.data).counts


def training_rows(run: Run, counts: dict[str, int] | Unknown) -> dict[str, int | Unknown]:
    """Rows of each training stage."""
    return {stage: _rows(run, stage, counts) for stage in ROWS if getattr(run.recipe, stage)}


def _rows(run: Run, stage: str, counts: dict[str, int] | Unknown) -> int | Unknown:
    if stage != "dpo" or not run.recipe.pairs:
        return counts if isinstance(counts, Unknown) else counts[ROWS[stage]]
    if pipeline.finished(run, "pairs"):
        results = run.report("pairs")["results"]
        return results["pairs"]["train"] + results["data_pairs"]["train"]
    return Unknown("the pairs stage makes them, and its judge decides how many are kept")


def prompts(run: Run, counts: dict[str, int] | Unknown) -> int | Unknown:
    """For how many prompts the pairs stage has answers written, training and held-out ones together."""
    if isinstance(counts, Unknown):
        return counts
    most = run.recipe.pairs.max_prompts or math.inf
    return sum(min(counts[kind], most) for kind in ("sft_train", "sft_test"))


def steps(rows: int | Unknown, knobs: Training) -> int | Unknown:
    """Optimiser steps on one process, as transformers' Trainer counts them: an epoch's last, smaller step counts."""
    if knobs.max_steps:
        return knobs.max_steps
    if isinstance(rows, Unknown):
        return rows
    batches = math.ceil(rows / knobs.per_device_train_batch_size)
    return math.ceil(knobs.num_train_epochs * math.ceil(batches / knobs.gradient_accumulation_steps))


def trained_tokens(run: Run) -> int | Unknown:
    """Tokens that carry loss in one epoch of SFT, once a run has counted them."""
    if run.recipe.sft and pipeline.finished(run, "sft"):
        return run.report("sft")["results"]["trained_tokens"]
    return Unknown("needs the rows and the base's tokenizer; training counts them before its first step")


def lengths(run: Run) -> dict[str, list[list[int]]]:
    """Tokens of each row's prompt and answers by kind and split, from the finished prepare stage; empty without one."""
    found = (rundir.read_json(run.dir.data / "lengths.json") or {}) if pipeline.finished(run, "prepare") else {}
    # a teacher makes answers longer than prepare has counted them, and the pairs stage makes more pairs
    later = [kind for kind, made in (("sft", run.recipe.augment), ("pairs", run.recipe.pairs)) if made]
    return {name: rows for name, rows in found.items() if not name.startswith(tuple(later))}


def tokens(rows: Sequence[Sequence[int]], knobs: Training) -> Tokens:
    """rows: tokens of each prompt and of its answer, the longer one of a pair; none: max_length is the bound."""
    answers = 2 if isinstance(knobs, Dpo) else 1  # of a pair both stand behind the prompt
    together = knobs.per_device_train_batch_size * knobs.gradient_accumulation_steps * answers
    if not rows:
        return Tokens(knobs.max_length, together * knobs.max_length, measured=False)
    whole = [min(prompt + answer, knobs.max_length) for prompt, answer in rows]
    return Tokens(max(whole), together * sum(whole) / len(whole), measured=True)

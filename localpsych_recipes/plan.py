"""What a recipe would train, make, fetch and publish, from configurations alone: no weights are touched."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes import cards, hub, lora, pipeline, skeleton
from localpsych_recipes.hub import facts
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import amount
from localpsych_recipes.recipe import Lora, Recipe, Training, is_local
from localpsych_recipes.rundir import RunDir

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ROWS = {"sft": "sft_train", "dpo": "pairs_train"}  # training stage -> its rows in the prepare stage's counts
FETCHED = {"model": hub.MODEL_FILES, "dataset": ("*",)}


@dataclass(frozen=True)
class Unknown:
    """A number that cannot be known here, and why."""

    reason: str

    def __str__(self) -> str:
        return f"unknown ({self.reason})"


@dataclass(frozen=True)
class Plan:
    """Counts are of modules, parameters, rows, optimiser steps on one process, tokens and bytes."""

    name: str
    base: str
    architecture: str
    targets: lora.Targets
    trainable: int
    total: int
    rows: Mapping[str, int | Unknown]  # by training stage
    steps: Mapping[str, int | Unknown]  # by training stage
    trained_tokens: int | Unknown
    downloads: Mapping[str, int | Unknown]  # of base and dataset, on a machine that has neither
    files: tuple[str, ...]  # relative to the run directory
    repositories: tuple[str, ...]
    private: bool


def plan(recipe: Recipe, run: Run | None = None) -> Plan:
    """Plans a recipe; what an earlier run of it in runs/NAME (or `run`) has counted is taken from there.

    UserError for a base that cannot be read, targets that cannot be adapted, or a local dataset that does not fit.
    """
    run = run or Run(recipe, RunDir(Path("runs") / recipe.name), say=lambda text: None)
    folder = config_folder(recipe)
    base = skeleton.read_config(folder)
    targets, trainable, total = adapter(base, recipe.lora)
    rows = training_rows(run)
    return Plan(
        name=recipe.name,
        base=recipe.base.model,
        architecture=(base.architectures or [base.model_type])[0],
        targets=targets,
        trainable=trainable,
        total=total,
        rows=rows,
        steps={stage: steps(count, getattr(recipe, stage)) for stage, count in rows.items()},
        trained_tokens=trained_tokens(run),
        downloads=downloads(recipe),
        files=files(run, folder),
        repositories=repositories(recipe),
        private=bool(recipe.push and recipe.push.private),
    )


def config_folder(recipe: Recipe) -> Path:
    """The folder that holds the base's config.json: the local base, or the one file fetched from the Hub."""
    name = recipe.base.model
    return Path(name).expanduser() if is_local(name) else facts.config_folder(name, recipe.base.revision)


def adapter(base: PreTrainedConfig, knobs: Lora) -> tuple[lora.Targets, int, int]:
    """The modules, and the trainable and total parameters as PEFT counts them on the adapted meta model."""
    from peft import get_peft_model

    model = skeleton.meta_model(base)
    targets = lora.resolve(model, knobs.target_modules)
    return targets, *get_peft_model(model, lora.config(knobs, targets)).get_nb_trainable_parameters()


def training_rows(run: Run) -> dict[str, int | Unknown]:
    """Rows of each training stage: of the finished run, else of the local dataset."""
    stages = [stage for stage in ROWS if getattr(run.recipe, stage)]
    if pipeline.finished(run, "prepare"):
        counts = run.report("prepare")["results"]["counts"]
    elif is_local(run.recipe.data.source):
        from localpsych_recipes import data

        counts = data.prepare(run.recipe.data).counts
    else:
        return dict.fromkeys(stages, Unknown("the dataset is not on this machine; the prepare stage counts its rows"))
    return {stage: counts[ROWS[stage]] for stage in stages}


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
    return Unknown("needs the rows and the base's tokenizer; the sft stage counts them before its first step")


def downloads(recipe: Recipe) -> dict[str, int | Unknown]:
    """Bytes that the Hub says it holds of the base and of the dataset; nothing for what is local."""
    base, rows = recipe.base, recipe.data
    return {
        "base": _download(base.model, "model", base.revision),
        "dataset": _download(rows.source, "dataset", rows.revision),
    }


def files(run: Run, folder: Path) -> tuple[str, ...]:
    """What the run leaves in its release folders, besides tokenizers, configurations and cards.

    folder: holds the base's config.json, whose dtype names the 16-bit GGUF.
    """
    from localpsych_recipes.stages import gguf

    recipe, names = run.recipe, ["adapter/adapter_model.safetensors"]
    if recipe.merge:
        names.append("merged/*.safetensors (in the base's own shards)")
    if recipe.gguf:
        sixteen_bit = [gguf.OUTTYPES[gguf.dtype(folder)].upper()] if recipe.gguf.sixteen_bit else []
        names += [f"gguf/{gguf.file_name(run, quant)}" for quant in (*recipe.gguf.quants, *sixteen_bit)]
        names += [f"adapter/{run.dir.adapter_gguf.name}"] if recipe.gguf.adapter else []
    return tuple(f"release/{name}" for name in names)


def repositories(recipe: Recipe) -> tuple[str, ...]:
    """Ids of the repositories that a push writes to; `<your user>` stands where no token says who that is."""
    if not recipe.push:
        return ()
    owner = recipe.push.namespace or hub.user() or "<your user>"
    names = hub.repositories(recipe.push, recipe.name, owner)
    return tuple(names[kind] for kind in cards.kinds(recipe))


def render(plan: Plan) -> str:
    """The plan as plain text."""
    blocks = {
        "base": [f"{plan.base} ({plan.architecture})"],
        "adapter": [
            f"{len(plan.targets.modules)} modules: {_tally(plan.targets.modules)}",
            lora.trainable_line(plan.trainable, plan.total),
        ],
        "left out": [f"{g.count} {g.reason} (such as {g.example})" for g in plan.targets.left_out],
        "training rows": [f"{stage}: {_number(count)}" for stage, count in plan.rows.items()],
        "steps": [f"{stage}: {_number(count)}" for stage, count in plan.steps.items()],
        "trained tokens": [_number(plan.trained_tokens)],
        "download": [f"{what}: {_number(size, 'bytes')}" for what, size in plan.downloads.items()],
        "files": plan.files,
        "repositories": [f"{name} ({'private' if plan.private else 'PUBLIC'})" for name in plan.repositories],
    }
    return "\n".join([f"{plan.name}, steps counted for one process", *_aligned(blocks)])


def _aligned(blocks: Mapping[str, Iterable[str]]) -> Iterable[str]:
    width = max(len(title) for title in blocks) + 2
    for title, lines in blocks.items():
        for number, line in enumerate(lines or ["none"]):
            yield f"  {'' if number else title:<{width}}{line}"


def _tally(modules: Iterable[str]) -> str:
    return ", ".join(f"{count} {end}" for end, count in Counter(name.rpartition(".")[2] for name in modules).items())


def _number(value: int | Unknown, unit: str = "") -> str:
    return str(value) if isinstance(value, Unknown) else amount(value, unit).strip()


def _download(source: str, kind: str, revision: str | None) -> int | Unknown:
    if is_local(source):
        return 0
    if source.startswith(("http://", "https://")):
        return Unknown("a remote file's size shows when it is fetched")
    try:
        return facts.size(source, kind, revision, FETCHED[kind])
    except facts.NoAnswer as error:
        return Unknown(f"the Hub does not say: {error}")

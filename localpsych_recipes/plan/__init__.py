"""What a recipe would train, make, fetch and publish, and whether it fits: from configurations alone, no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localpsych_recipes import cards, hub, licences, skeleton
from localpsych_recipes.hub import facts
from localpsych_recipes.judge.choosing import AUTO
from localpsych_recipes.pipeline import Run
from localpsych_recipes.plan import asking, disk, fit, gpus, memory, rows, speed, weights
from localpsych_recipes.plan.gpus import Gpu
from localpsych_recipes.plan.memory import Anatomy, Line, Memory
from localpsych_recipes.plan.rows import Tokens, Unknown, steps
from localpsych_recipes.plan.text import render
from localpsych_recipes.recipe import STARTED, Judge, Recipe, is_local
from localpsych_recipes.rundir import RunDir

__all__ = ["Plan", "StagePlan", "Unknown", "plan", "render", "steps"]

FETCHED = {"model": hub.MODEL_FILES, "dataset": ("*",)}


@dataclass(frozen=True)
class StagePlan:
    """One training stage on one GPU. Counts are of rows, optimiser steps and tokens; seconds: None without a GPU."""

    rows: int | Unknown
    steps: int | Unknown
    tokens: Tokens
    memory: Memory
    verdict: fit.Verdict | None
    seconds: float | None
    measured: Sequence[speed.Measured]


@dataclass(frozen=True)
class Plan:
    """Counts are of modules, parameters, tokens and bytes."""

    name: str
    base: str
    architecture: str
    anatomy: Anatomy
    pairs: tuple[str, ...]  # what the pairs stage asks of the model and of its judge, in lines
    evaluation: tuple[str, ...]  # the same of the evaluate stage
    stages: Mapping[str, StagePlan]  # "sft", "dpo"
    gpu: Gpu | None
    limits: Sequence[str]  # what the GPU cannot do
    trained_tokens: int | Unknown
    downloads: Mapping[str, int | Unknown]  # of base and datasets, on a machine that has none of them
    disk: Sequence[Line]
    files: tuple[str, ...]  # relative to the run directory
    repositories: Mapping[str, bool]  # id -> whether it is private
    licences: Sequence[str]


def plan(recipe: Recipe, run: Run | None = None, gpu: str | None = None) -> Plan:
    """Plans a recipe; what an earlier run of it in runs/NAME (or `run`) has counted is taken from there.

    gpu: a name of plan.gpus or a size as "16GB"; None: this machine's. UserError for a GPU that is not in the table, a
    base that cannot be read, targets that cannot be adapted, or a local dataset that does not fit.
    """
    chosen = gpus.find(gpu) if gpu else gpus.here()
    run = run or Run(recipe, RunDir(Path("runs") / recipe.name), say=lambda text: None)
    folder = config_folder(recipe)
    config = skeleton.read_config(folder)
    anatomy = Anatomy(recipe.base, config, recipe.lora)
    counts = rows.counts(run)
    return Plan(
        name=recipe.name,
        base=recipe.base.model,
        architecture=(config.architectures or [config.model_type])[0],
        anatomy=anatomy,
        pairs=tuple(asking.pairs(run, counts)) if recipe.pairs else (),
        evaluation=tuple(asking.evaluation(recipe)) if recipe.evaluate else (),
        stages=stages(run, counts, anatomy, chosen),
        gpu=chosen,
        limits=tuple(fit.cannot(chosen, recipe.base)) if chosen else (),
        trained_tokens=rows.trained_tokens(run),
        downloads=downloads(recipe),
        disk=tuple(_disk(recipe, anatomy, folder)),
        files=files(run, folder),
        repositories=repositories(recipe),
        licences=licences.outcome(recipe),
    )


def stages(run: Run, counts: dict[str, int] | Unknown, anatomy: Anatomy, gpu: Gpu | None) -> dict[str, StagePlan]:
    """The training stages in their order."""
    lengths = rows.lengths(run)
    return {
        stage: _stage(run.recipe, stage, count, lengths.get(rows.ROWS[stage], ()), anatomy, gpu)
        for stage, count in rows.training_rows(run, counts).items()
    }


def config_folder(recipe: Recipe) -> Path:
    """The folder that holds the base's config.json: the local base, or the one file fetched from the Hub."""
    name = recipe.base.model
    return Path(name).expanduser() if is_local(name) else facts.config_folder(name, recipe.base.revision)


def downloads(recipe: Recipe) -> dict[str, int | Unknown]:
    """Bytes that the Hub says it holds of the base, of each dataset and of the judge; nothing for what is local."""
    sources, judge = recipe.data.sources, recipe.judge
    named = {"dataset" if len(sources) == 1 else f"dataset {source.source}": source for source in sources}
    return {
        "base": _download(recipe.base.model, "model", recipe.base.revision),
        **{name: _download(source.source, "dataset", source.revision) for name, source in named.items()},
        **(_judges_download(judge) if asking.has_judge(recipe) and judge.server in (None, *STARTED) else {}),
    }


def _judges_download(judge: Judge) -> dict[str, int | Unknown]:
    if judge.model == "auto":  # which of the two shows when it is chosen
        return {f"judge {AUTO[0][0]}, at most": _download(AUTO[0][0], "model", None)}
    return {"judge": _download(judge.model, "model", judge.revision)}


def files(run: Run, folder: Path) -> tuple[str, ...]:
    """What the run leaves in its release folders, besides tokenizers, configurations and cards.

    folder: holds the base's config.json, whose dtype names the 16-bit GGUF.
    """
    from localpsych_recipes import conversion
    from localpsych_recipes.stages import gguf

    recipe, names = run.recipe, ["adapter/adapter_model.safetensors"]
    if recipe.merge:
        names.append("merged/*.safetensors (in the base's own shards)")
    if recipe.gguf:
        sixteen_bit = [conversion.OUTTYPES[conversion.dtype(folder)].upper()] if recipe.gguf.sixteen_bit else []
        names += [f"gguf/{gguf.file_name(run, quant)}" for quant in (*recipe.gguf.quants, *sixteen_bit)]
        names += [f"adapter/{run.dir.adapter_gguf.name}"] if recipe.gguf.adapter else []
    if recipe.pairs and recipe.pairs.publish:
        names.append("pairs/data/*.jsonl")
    return tuple(f"release/{name}" for name in names)


def repositories(recipe: Recipe) -> dict[str, bool]:
    """Ids of the repositories that a push writes to, `<your user>` where no token says who that is; whether private."""
    if not recipe.push:
        return {}
    owner = recipe.push.namespace or hub.user() or "<your user>"
    names = hub.repositories(recipe.push, recipe.name, owner)
    return {names[kind]: hub.is_private(recipe.push, kind) for kind in cards.kinds(recipe)}


def _stage(
    recipe: Recipe, name: str, count: int | Unknown, lengths: Sequence[Any], anatomy: Anatomy, gpu: Gpu | None
) -> StagePlan:
    base, knobs = recipe.base, getattr(recipe, name)
    tokens, taken = rows.tokens(lengths, knobs), steps(count, knobs)
    dropout = name == "sft" and recipe.lora.lora_dropout > 0  # TRL's DPO switches it off

    def needs(setting: fit.Setting) -> Memory:
        return memory.stage(anatomy, setting.base, setting.knobs, setting.length, dropout)

    setting = fit.Setting(base, knobs, tokens.longest)
    time = None
    if gpu and not isinstance(taken, Unknown):
        time = speed.seconds(gpu, base, knobs, anatomy.language.multiplied, tokens.each_step, taken)
    verdict = fit.judge(setting, gpu, needs) if gpu else None
    return StagePlan(count, taken, tokens, needs(setting), verdict, time, speed.VERIFIED.get((recipe.name, name), ()))


def _disk(recipe: Recipe, anatomy: Anatomy, folder: Path) -> Sequence[Line]:
    from localpsych_recipes import conversion

    total = sum(part.parameters for part in anatomy.weights(recipe.base))
    return tuple(disk.run(recipe, anatomy.language, total, anatomy.adapter, weights.ITEM[conversion.dtype(folder)]))


def _download(source: str, kind: str, revision: str | None) -> int | Unknown:
    if is_local(source):
        return 0 if Path(source).expanduser().exists() else Unknown("not here yet; the recipe says where to get it")
    if source.startswith(("http://", "https://")):
        return Unknown("a remote file's size shows when it is fetched")
    try:
        return facts.size(source, kind, revision, FETCHED[kind])
    except facts.NoAnswer as error:
        return Unknown(f"the Hub does not say: {error}")

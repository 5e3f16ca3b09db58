"""Which stages there are, in order, which run, on which ranks, and what is skipped because it is done."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from localpsych_recipes import machine, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Evaluate, Recipe, is_local
from localpsych_recipes.resources import resource
from localpsych_recipes.rundir import RunDir


@dataclass(frozen=True)
class Stage:
    """One row of the table: localpsych_recipes/stages/NAME.py holds `run(run: Run) -> results`."""

    name: str
    after: tuple[str, ...]  # stages whose results it reads, where the recipe has them
    reads: tuple[str, ...]  # keys of the recipe that change its result
    ranks: Literal["main", "all"] = "main"
    packages: tuple[str, ...] = ()  # whose version changes its result


# keys that change nothing in rows and pairs, only what is published says them, how a server is reached, or how many are
# asked at once (the ledgers keep no answer by that): setting them after hours of work must not do it anew
WITHOUT_EFFECT = {
    "base": ("hub_id", "license"),
    "data": ("license",),
    "mixture": ("license",),
    "judge": ("slots", "allow_remote", "api_key_env"),
    "pairs": ("slots", "allow_remote", "api_key_env", "publish"),
    "evaluate": ("slots", "batch_size"),
}
CARD_KEYS = ("name", "version", "description", "license", "base", "data", "pairs", "gates", "card", "push")
TRAINING_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
PAIRS_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "llguidance", "openai")
VERIFY_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
EVALUATE_PACKAGES = (*PAIRS_PACKAGES, "bert-score", "lm-eval")
STAGES = (
    Stage("prepare", (), ("base", "data"), packages=("datasets", "ftfy", "inscriptis")),
    Stage("augment", ("prepare",), ("augment",), packages=("openai",)),
    Stage("sft", ("prepare", "augment"), ("seed", "lora", "sft"), "all", TRAINING_PACKAGES),
    Stage("pairs", ("prepare", "augment", "sft"), ("seed", "judge", "pairs"), "all", PAIRS_PACKAGES),
    Stage("dpo", ("prepare", "sft", "pairs"), ("seed", "lora", "dpo"), "all", TRAINING_PACKAGES),
    Stage("merge", ("prepare", "sft", "dpo"), ("merge",), packages=("torch", "safetensors")),
    Stage("gguf", ("merge",), ("name", "license", "base", "gguf"), packages=("gguf",)),
    Stage(
        "verify", ("prepare", "augment", "sft", "dpo", "merge", "gguf"), ("seed", "verify"), packages=VERIFY_PACKAGES
    ),
    Stage(
        "evaluate",
        ("prepare", "augment", "sft", "pairs", "dpo", "merge", "gguf"),
        ("seed", "judge", "evaluate"),
        "all",
        EVALUATE_PACKAGES,
    ),
    Stage("card", ("prepare", "augment", "sft", "pairs", "dpo", "merge", "gguf", "verify", "evaluate"), CARD_KEYS),
    Stage("push", ("card",), ("name", "version", "gates", "push")),
)
NAMES = tuple(stage.name for stage in STAGES)


@dataclass(frozen=True)
class Choice:
    """What the command line asked for: of which stages, and whether done ones are done again."""

    first: str | None = None
    last: str | None = None
    only: str | None = None
    force: bool = False
    push: bool = True

    def stages(self, recipe: Recipe) -> list[Stage]:
        """The recipe's stages from `first` to `last`; UserError for a stage that it does not have."""
        if self.only and (self.first or self.last):
            raise UserError("--only beside --from or --until", "one or the other", "drop --only, or the others")
        have = [s for s in STAGES if s.name == "prepare" or s.name in recipe.stage_sections()]
        names = [s.name for s in have]
        for given in filter(None, (self.first, self.last, self.only)):
            if given not in names:
                raise UserError(
                    f"stage {given!r}", f"one of this recipe's stages: {', '.join(names)}", "name one of them"
                )
        start = names.index(self.only or self.first or names[0])
        end = names.index(self.only or self.last or names[-1])
        chosen = [s for s in have[start : end + 1] if self.push or s.name != "push"]
        if not chosen:
            raise UserError(
                "a choice of no stage at all", "stages in the order " + ", ".join(names), "change the options"
            )
        return chosen


@dataclass
class Run:
    """What a stage is given."""

    recipe: Recipe
    dir: RunDir
    say: Callable[[str], None]
    ranks: machine.Ranks = field(default_factory=machine.ranks)
    fingerprint: str = ""  # of the stage that runs now
    publish_anyway: bool = False  # although gates failed, which the cards then say

    @property
    def pins(self) -> dict[str, Any]:
        """Commits and licences of "base" and of each of "datasets", fixed by prepare.

        The recipe's word on a licence counts where a card is silent, and never against it.
        """
        pins = rundir.read_json(self.dir.pins) or {}
        found = [pins["base"], *pins["datasets"]] if pins else []
        for pin, said in zip(found, (self.recipe.base, *self.recipe.data.sources), strict=False):
            card = pin.get("license_name") if pin.get("license") == "other" else pin.get("license")
            if said.license and (not card or card.lower() == "unknown"):
                pin |= {"license": said.license, "license_name": None, "license_link": None}
        if self.recipe.augment and (report := self.report("augment")):
            pins["teacher"] = report["results"]["card"]
        return pins

    @property
    def final_adapter(self) -> Path:
        """The adapter of the recipe's last training stage: what is merged, converted and published."""
        stage = "dpo" if self.recipe.dpo else "sft"
        return self.left_by(stage, self.dir.adapter(stage))

    def left_by(self, stage: str, place: Path) -> Path:
        """The folder or file, which a finished stage has left. UserError if somebody has deleted it since."""
        if place.exists():
            return place
        raise UserError(
            f"{place.relative_to(self.dir.root)} is gone, although {stage} was done",
            "what that stage left there",
            f"run the recipe with --from {stage} --force, which makes it again",
        )

    def rows_of(self, kind: Literal["sft", "pairs"]) -> Path:
        """The folder of the rows that SFT, or DPO, of this recipe learns from."""
        if kind == "sft":
            return self.dir.augmented if self.recipe.augment else self.dir.data
        return self.dir.pairs if self.recipe.pairs else self.dir.data

    def report(self, stage: str) -> dict[str, Any] | None:
        return self.dir.report(stage)


def execute(run: Run, choice: Choice) -> list[dict[str, Any]]:
    """Runs what is chosen and not yet done; gives the reports in order. Every rank calls it.

    Training stages run on every rank. Everything else runs on the main process, for which the ranks that are needed
    again wait by polling: a collective would time out during a long merge. Ranks that are not needed any more leave.
    """
    stages = choice.stages(run.recipe)
    machine.refuse_unshared(run.ranks, run.dir.root)
    refuse_gaps(run, stages)
    if choice.force:
        _forget(run, stages)
    last_of_all = max((i for i, s in enumerate(stages) if s.ranks == "all"), default=-1)
    reports = []
    if last_of_all < 0:
        machine.leave(run.ranks)
    for index, stage in enumerate(stages):
        if not run.ranks.main and index > last_of_all:
            break
        run.fingerprint = fingerprint(run, stage)
        if _done(run, stage):
            _say(run, f"[{index + 1}/{len(stages)}] {stage.name}: done before")
        elif stage.ranks == "all" or run.ranks.main:
            _say(run, f"[{index + 1}/{len(stages)}] {stage.name}")
            _perform(run, stage)
        if index == last_of_all:
            machine.leave(run.ranks)
        elif not run.ranks.main:
            _wait_for(run, stage)
        reports.append(run.report(stage.name))
    return [r for r in reports if r]


def fingerprint(run: Run, stage: Stage) -> str:
    """Covers the stage's part of the recipe, its inputs' fingerprints, the pinned commits and the versions that matter.

    Computed from the recipe alone, never from what earlier runs left, so that a changed key shows in every later stage.
    """
    recipe = run.recipe.model_dump(mode="json")
    if stage.name in ("prepare", "pairs", "evaluate"):
        recipe = {k: _without(v, WITHOUT_EFFECT.get(k, ())) for k, v in recipe.items()}
        recipe["data"]["mixture"] = [_without(v, WITHOUT_EFFECT["mixture"]) for v in recipe["data"]["mixture"]]
    if stage.name == "prepare":
        world = [rundir.source_identity(p) for p in _local_sources(run.recipe)]
    else:
        known = (pins["base"], *pins["datasets"]) if (pins := run.pins) else ()
        world = [pin.get("commit") or pin.get("sha256") for pin in known]
    if stage.name == "push":  # a rehearsal on another Hub is no release
        world.append(os.environ.get("HF_ENDPOINT"))
    if stage.name == "evaluate" and run.recipe.evaluate:
        world += [rundir.source_identity(p) for p in _measured_with(run.recipe.evaluate)]
    if stage.name == "card":
        world.append(rundir.source_identity(resource("model_cards")))
    inputs = [fingerprint(run, s) for s in STAGES if s.name in _inputs(run.recipe, stage)]
    return rundir.fingerprint(
        stage.name, {k: recipe[k] for k in stage.reads}, inputs, world, machine.versions(stage.packages)
    )


def _without(values: Any, keys: tuple[str, ...]) -> Any:
    return {k: v for k, v in values.items() if k not in keys} if keys and values else values


def finished(run: Run, name: str) -> bool:
    """Whether a stage is done exactly as this recipe would do it."""
    return _done(run, stage(name), fingerprint(run, stage(name)))


def stage(name: str) -> Stage:
    """The row of the table with this name."""
    return next(s for s in STAGES if s.name == name)


def _inputs(recipe: Recipe, stage: Stage) -> list[str]:
    have = ("prepare", *recipe.stage_sections())
    return [name for name in stage.after if name in have]


def _local_sources(recipe: Recipe) -> list[Path]:
    sources = (recipe.base.model, *(source.source for source in recipe.data.sources))
    return [Path(s).expanduser() for s in sources if is_local(s)]


def _measured_with(knobs: Evaluate) -> list[Path]:
    """Suite, prose, sets and models of this machine: with other content the same keys measure something else."""
    shipped = resource("recipes", "suites")
    texts = [shipped / f"{knobs.suite}.yaml", shipped / f"{knobs.general_text}.txt"]
    named = (knobs.suite, knobs.general_text, *knobs.sources())
    return texts + [Path(s).expanduser() for s in named if s and is_local(s)]


def _done(run: Run, stage: Stage, expected: str | None = None) -> bool:
    # what prepare has pinned is read by every later stage, and a damaged file counts as none
    whole = stage.name != "prepare" or rundir.read_json(run.dir.pins)
    report = run.report(stage.name) if whole else None
    return bool(report) and report["fingerprint"] == (expected or run.fingerprint)


def refuse_gaps(run: Run, stages: list[Stage]) -> None:
    """A stage that starts in the middle needs what comes before it, as this recipe would make it."""
    chosen = {s.name for s in stages}
    for stage in (
        s for s in STAGES for first in stages if s.name in _inputs(run.recipe, first) and s.name not in chosen
    ):
        if not _done(run, stage, fingerprint(run, stage)):
            raise UserError(
                f"{stage.name} has not been run with this recipe in {run.dir.root.name}",
                f"its results, which {stages[0].name} starts from",
                f"run the recipe with --from {stage.name}, or from the beginning",
            )


def _forget(run: Run, stages: list[Stage]) -> None:
    if run.ranks.main:
        for stage in stages:
            run.dir.report_file(stage.name).unlink(missing_ok=True)
            run.dir.forget_checkpoints(stage.name)
    machine.barrier(run.ranks)  # no rank may look at a marker before it is gone


def _wait_for(run: Run, stage: Stage) -> None:
    while not _done(run, stage):
        time.sleep(0.5)


def _perform(run: Run, stage: Stage) -> None:
    started = time.monotonic()
    machine.reset_peak_memory()
    if run.ranks.main:  # the marker of other outputs must not stand over those that now replace them
        run.dir.report_file(stage.name).unlink(missing_ok=True)
    results = importlib.import_module(f"localpsych_recipes.stages.{stage.name}").run(run)
    report = {
        "stage": stage.name,
        "fingerprint": run.fingerprint,
        "seconds": round(time.monotonic() - started, 2),
        **machine.peak_memory(),
        "processes": run.ranks.world,
        "hardware": machine.hardware(),
        "versions": machine.versions(stage.packages),
        "inputs": _inputs(run.recipe, stage),
        "results": results,
    }
    if run.ranks.main:
        rundir.write_json(run.dir.report_file(stage.name), report)
        _say(run, f"      {stage.name}: {report['seconds']:.1f} s")


def _say(run: Run, text: str) -> None:
    if run.ranks.main:
        run.say(text)

"""What can be known to fail is found before anything is made: a token, a column, a base, a tool."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from localpsych_recipes import cards, crisis_lines, data, hub, licences, llama_cpp, pipeline
from localpsych_recipes.cards import metadata
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Choice, Run
from localpsych_recipes.recipe import Recipe, is_local
from localpsych_recipes.recipe.evaluate import needed
from localpsych_recipes.resources import resource
from localpsych_recipes.stages import augment, evaluate, pairs


def check(run: Run, choice: Choice) -> None:
    """UserError for the first thing that would stop the run later. What is done is not looked at again."""
    stages = choice.stages(run.recipe)
    if run.publish_anyway:
        check_publish_anyway(run.recipe, {s.name for s in stages})
    pipeline.refuse_gaps(run, stages)
    ahead = {s.name for s in stages if choice.force or not pipeline.finished(run, s.name)}
    if "prepare" in ahead:
        said = {"datasets": check_data(run.recipe), "base": check_base(run.recipe)}
        if "card" in ahead:
            check_licences(run.recipe, said)
        for line in crisis_lines.warnings(run.recipe):
            run.say(line)
    if "augment" in ahead:
        augment.check(run.recipe.augment)
    if "pairs" in ahead:
        pairs.check(run.recipe)
    if "card" in ahead and run.recipe.card.prose:
        check_prose(run.recipe.card.prose)
    if "push" in ahead:
        check_push(run.recipe, new="card" in ahead)
    if {"gguf", "verify"} & ahead and run.recipe.gguf:
        llama_cpp.check_available()
    if "evaluate" in ahead:
        evaluate.check(run.recipe)
        gone = list(evaluate.left_out(run.recipe))
        check_gates(run.recipe, dict(gone))
        for key, why in gone:
            run.say(f"      evaluate.{key} will be left out: {why}")


def check_publish_anyway(recipe: Recipe, chosen: Collection[str]) -> None:
    """UserError for --publish-anyway where nothing is published, or where no gate could stop it."""
    if "push" not in chosen:
        given = "--publish-anyway, and no push among the stages that are to run"
        raise UserError(given, "a push that a failed gate would stop", "drop --publish-anyway")
    if not recipe.gates:
        raise UserError(
            "--publish-anyway, and a recipe without gates", "`gates` in the recipe", "drop --publish-anyway"
        )


def check_licences(recipe: Recipe, said: dict[str, Any]) -> None:
    """said: licences as the cards of "base" and "datasets" name them; the recipe's word counts where a card is silent."""
    metadata.release_licence(recipe, said["base"] if said["base"]["license"] else {"license": recipe.base.license})
    licences.check(recipe, said | ({"teacher": licences.teacher(recipe)} if recipe.augment else {}))


def check_base(recipe: Recipe) -> dict[str, str | None]:
    """What the base's card says of its licence."""
    if not is_local(recipe.base.model):
        return _licence(hub.pin(recipe.base.model, "model", recipe.base.revision))
    folder = Path(recipe.base.model).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(
            f"base.model: {recipe.base.model} holds no config.json",
            "a Hub id, or a local folder with config.json, tokenizer and *.safetensors",
            "check the path",
        )
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"base.model: {recipe.base.model} holds no *.safetensors",
            "weights in safetensors; a configuration alone is enough for `localpsych plan` only",
            "point base.model at the downloaded model",
        )
    refuse_shapeless(folder)
    if recipe.merge:
        from localpsych_recipes import merging  # brings torch

        merging.refuse_links_out(folder)
    return hub.card_license(folder)


def refuse_shapeless(folder: Path) -> None:
    """UserError for a config.json that names no architecture."""
    try:
        known = bool(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UserError(
            f"{folder.name}/config.json names no model_type", "the configuration of a model", "check base.model"
        )


def check_data(recipe: Recipe) -> list[dict[str, str | None]]:
    """What the card of each source says of its licence; a file has none."""
    data.check(recipe.data)
    hub_ids = [not is_local(s.source) and "://" not in s.source for s in recipe.data.sources]
    return [
        _licence(hub.pin(source.source, "dataset", source.revision)) if on_the_hub else licences.NOTHING
        for source, on_the_hub in zip(recipe.data.sources, hub_ids, strict=True)
    ]


def _licence(pin: hub.Pin) -> dict[str, str | None]:
    return {"license": pin.license, "license_name": pin.license_name, "license_link": pin.license_link}


def check_gates(recipe: Recipe, gone: Mapping[str, str]) -> None:
    """UserError for a gate on what will not be measured, which could only fail once everything else is done.

    gone: keys of `evaluate` that are left out on this machine, and why.
    """
    for gate in recipe.gates:
        if (key := needed(gate.metric)) in gone:
            raise UserError(
                f"gates: {gate.metric} would not be measured: {gone[key]}",
                f"what evaluate.{key} names",
                "put it there, or take the gate out of the recipe",
            )


def check_prose(name: str) -> None:
    known = sorted(path.stem for path in resource("model_cards", "prose").glob("*.md"))
    if name not in known:
        raise UserError(
            f"card.prose: {name}",
            f"one of {', '.join(known)}: the files of model_cards/prose",
            "write the file, or leave card.prose out",
        )


def check_push(recipe: Recipe, new: bool) -> None:
    """new: the cards are still to be written, so that a tag of this version, if there is one, is another release's."""
    if not recipe.base_id:
        raise UserError(
            f"base.model is the local folder {Path(recipe.base.model).name} and base.hub_id is missing",
            "the Hub id of the base: a published adapter must name it",
            "set base.hub_id: USER/NAME, or run with --no-push",
        )
    hub.preflight(recipe.push, recipe.name, cards.kinds(recipe), new_tag=f"v{recipe.version}" if new else None)

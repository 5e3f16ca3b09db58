"""What can be known to fail is found before anything is made: a token, a column, a base, a tool."""

from __future__ import annotations

import json
from pathlib import Path

from localpsych_recipes import cards, crisis_lines, data, hub, licences, llama_cpp, pipeline
from localpsych_recipes.cards import metadata
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Choice, Run
from localpsych_recipes.recipe import Recipe, is_local
from localpsych_recipes.resources import resource
from localpsych_recipes.stages import augment


def check(run: Run, choice: Choice) -> None:
    """UserError for the first thing that would stop the run later. What is done is not looked at again."""
    pipeline.refuse_gaps(run, choice.stages(run.recipe))
    ahead = {s.name for s in choice.stages(run.recipe) if choice.force or not pipeline.finished(run, s.name)}
    if "prepare" in ahead:
        check_data(run.recipe)
        licence = check_base(run.recipe)
        if "card" in ahead:
            metadata.release_licence(run.recipe, licence)
            licences.check(run.recipe, licences.cards(run.recipe))
        for line in crisis_lines.warnings(run.recipe):
            run.say(line)
    if "augment" in ahead:
        augment.check(run.recipe.augment)
    if "card" in ahead and run.recipe.card.prose:
        check_prose(run.recipe.card.prose)
    if "push" in ahead:
        check_push(run.recipe, new="card" in ahead)
    if "gguf" in ahead:
        llama_cpp.check_available()


def check_base(recipe: Recipe) -> dict[str, str | None]:
    """What the base's card says of its licence, or the recipe in its place."""
    if not is_local(recipe.base.model):
        pin = hub.pin(recipe.base.model, "model", recipe.base.revision)
        named = {"license": pin.license, "license_name": pin.license_name, "license_link": pin.license_link}
        return {"license": recipe.base.license} if recipe.base.license else named
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
    return {"license": recipe.base.license} if recipe.base.license else hub.card_license(folder)


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


def check_data(recipe: Recipe) -> None:
    data.check(recipe.data)
    for source in recipe.data.sources:
        if not is_local(source.source) and not source.source.startswith(("http://", "https://")):
            hub.pin(source.source, "dataset", source.revision)


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

"""What can be known to fail is found before anything is made: a token, a column, a base, a tool."""

from __future__ import annotations

from pathlib import Path

from localpsych_recipes import hub, pipeline
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Choice, Run
from localpsych_recipes.recipe import Recipe, is_local


def check(run: Run, choice: Choice) -> None:
    """UserError for the first thing that would stop the run later. A finished run is not looked at again."""
    stages = [s.name for s in choice.stages(run.recipe)]
    if "prepare" in stages and not pipeline.finished(run, "prepare"):
        check_base(run.recipe)
        check_data(run.recipe)
    if "push" in stages and not pipeline.finished(run, "push"):
        check_push(run.recipe)
    if "gguf" in stages and not pipeline.finished(run, "gguf"):
        from localpsych_recipes import llama_cpp

        llama_cpp.check_available()


def check_base(recipe: Recipe) -> None:
    if not is_local(recipe.base.model):
        hub.pin(recipe.base.model, "model", recipe.base.revision)
        return
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


def check_data(recipe: Recipe) -> None:
    from localpsych_recipes import data

    if is_local(recipe.data.source):
        data.check(recipe.data)
    elif not recipe.data.source.startswith(("http://", "https://")):
        hub.pin(recipe.data.source, "dataset", recipe.data.revision)


def check_push(recipe: Recipe) -> None:
    if not recipe.base_id:
        raise UserError(
            f"base.model is the local folder {Path(recipe.base.model).name} and base.hub_id is missing",
            "the Hub id of the base: a published adapter must name it",
            "set base.hub_id: USER/NAME, or run with --no-push",
        )
    hub.preflight(recipe.push, recipe.name)

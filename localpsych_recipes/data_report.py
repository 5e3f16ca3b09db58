"""`localpsych data RECIPE`: what becomes of a recipe's rows, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localpsych_recipes import data, families, hub, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Recipe, is_local


def report(recipe: Recipe) -> str:
    """Counts alone, no text. The base's tokenizer and the rows are fetched if they are not here; weights are not."""
    data.check(recipe.data)  # before anything is fetched
    tokenizer, template = tokenizer_of(recipe)
    commits = [None] * len(recipe.data.sources)  # as the recipe names them: a run pins its own
    prepared = data.prepare(recipe.data, commits, tokens=data.token_counter(tokenizer, template))
    return data.report(prepared.counts, data.lengths_of(prepared, tokenizer, template), data.longest(recipe))


def tokenizer_of(recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    """The base's tokenizer, and the arguments of its chat template."""
    base = recipe.base
    files = ("config.json", *models.TOKENIZER_FILES)
    folder = Path(base.model).expanduser() if is_local(base.model) else hub.files(base.model, base.revision, files)
    if missing := [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]:
        expected = "a base with its configuration and its tokenizer"
        raise UserError(f"base.model: {base.model} holds no {' and no '.join(missing)}", expected, "check base.model")
    return models.load_tokenizer(folder), dict(families.of(families.type_of(folder)).chat_template_kwargs)

"""`localpsych data RECIPE`: what becomes of a recipe's rows, before anything is trained."""

from __future__ import annotations

from localpsych_recipes import data, families, models
from localpsych_recipes.recipe import Recipe


def report(recipe: Recipe) -> str:
    """Counts alone, no text. The base's tokenizer and the rows are fetched if they are not here; weights are not."""
    data.check(recipe.data)  # before anything is fetched
    folder = models.tokenizer_folder(recipe.base)
    tokenizer, template = models.load_tokenizer(folder), families.of(families.type_of(folder)).chat_template_kwargs
    commits = [None] * len(recipe.data.sources)  # as the recipe names them: a run pins its own
    prepared = data.prepare(recipe.data, commits, tokens=data.token_counter(tokenizer, template))
    return data.report(prepared.counts, data.lengths_of(prepared, tokenizer, template), data.longest(recipe))

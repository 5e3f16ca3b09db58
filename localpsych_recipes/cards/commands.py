"""What the commands of a card need so that a model is asked as it was trained: messages, and the template's arguments."""

from __future__ import annotations

import json
from typing import Any

from localpsych_recipes import families, models
from localpsych_recipes.cards import sources
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe

THINKING = "enable_thinking"  # the one argument for which servers have a switch of their own


def messages(recipe: Recipe) -> list[dict[str, str]]:
    """The example question as a chat, with the recipe's system prompt where it was trained to stand."""
    system, question = recipe.data.system, sources.question(recipe)
    if system and recipe.data.system_in == "user":
        return [{"role": "user", "content": f"{system}\n\n{question}"}]
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": question}]


def template_arguments(run: Run) -> dict[str, Any]:
    """What the chat template was given in training; without it some render another prompt (Qwen 3's asks for thinking).

    Read off the type of the merged model, or of the base where nothing is merged.
    """
    folder = run.dir.release("merged")
    if not (folder / "config.json").is_file():
        folder = models.tokenizer_folder(run.recipe.base, run.pins["base"].get("commit"))
    return dict(families.of(families.type_of(folder)).chat_template_kwargs)


def server_options(arguments: dict[str, Any]) -> str:
    """The same for llama-server, as its command line takes it."""
    others = {name: value for name, value in arguments.items() if name != THINKING}
    return "--reasoning off" + (f" --chat-template-kwargs '{json.dumps(others)}'" if others else "")

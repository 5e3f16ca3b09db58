"""The release folders on the Hub: adapter, merged model, GGUF and pairs, each in one commit with its card."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from localpsych_recipes import cards, hub
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run


def run(run: Run) -> dict[str, Any]:
    """Results: the repositories, each with its URL, commit, tag, visibility, files and bytes."""
    recipe, tag = run.recipe, f"v{run.recipe.version}"
    if not recipe.base_id:
        raise UserError("base.hub_id is missing", "the Hub id of the local base", "set base.hub_id: USER/NAME")
    names = hub.preflight(recipe.push, recipe.name, cards.kinds(recipe))
    message = f"{recipe.name} {recipe.version}"
    published = []
    for kind in cards.write(run, names, owned=True):  # once more, now that the owner is known
        folder, private = run.dir.release(kind), hub.is_private(recipe.push, kind)
        how = {"repo_type": hub.repo_type(kind), "private": private}
        done = hub.publish(names[kind], folder, **how, message=message, tag=tag, say=run.say)
        seen, what = "private" if private else "PUBLIC", "published" if done.changed else "nothing new"
        run.say(f"      {done.url} ({seen}): {what}")
        published.append({**asdict(done), "tag": tag, "private": private})
    return {"repositories": published}

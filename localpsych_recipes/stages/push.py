"""The release folders on the Hub: adapter, merged model, GGUF and pairs, each in one commit with its card."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from localpsych_recipes import cards, gates, hub
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.verification import report


def run(run: Run) -> dict[str, Any]:
    """Results: the repositories, each with its URL, commit, tag, visibility, files and bytes."""
    recipe, tag = run.recipe, f"v{run.recipe.version}"
    if not recipe.base_id:
        raise UserError("base.hub_id is missing", "the Hub id of the local base", "set base.hub_id: USER/NAME")
    if not run.publish_anyway:
        gates.refuse_failed(cards.checked_gates(run))
    refuse_nothing_left(run)
    names = hub.preflight(recipe.push, recipe.name, cards.kinds(recipe))
    message = f"{recipe.name} {recipe.version}"
    published = []
    for kind in cards.write(run, names, owned=True):  # once more, now that the owner is known
        folder, private = run.dir.release(kind), hub.is_private(recipe.push, kind)
        how = {"repo_type": hub.repo_type(kind), "private": private, "without": cards.withheld(run, kind)}
        done = hub.publish(names[kind], folder, **how, message=message, tag=tag, say=run.say)
        seen, what = "private" if private else "PUBLIC", "published" if done.changed else "nothing new"
        run.say(f"      {done.url} ({seen}): {what}")
        published.append({**asdict(done), "tag": tag, "private": private})
    return {"repositories": published}


def refuse_nothing_left(run: Run) -> None:
    """Says what is withheld, and why. UserError if that is every form of the model."""
    verified = run.report("verify") if run.recipe.verify else None
    for line in report.failures(verified["results"]) if verified else ():
        run.say(f"      {line}")
    if not {"adapter", "merged", "gguf"} & set(cards.released(run)):
        raise UserError(
            "no file of the release is proven to be the model that was trained",
            "one that is",
            "read the lines above: the first hop that failed says where to look",
        )

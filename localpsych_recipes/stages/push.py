"""The release folders on the Hub: adapter, merged model, GGUF and pairs, each in one commit with its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from localpsych_recipes import cards, gates, hub
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.verification import release, report, seen

MADE_BY = {"adapter": "verify", "merged": "merge", "gguf": "gguf", "pairs": "card"}


def run(run: Run) -> dict[str, Any]:
    """Results: the repositories, each with its URL, commit, tag, visibility, files and bytes."""
    recipe, tag = run.recipe, f"v{run.recipe.version}"
    if not recipe.base_id:
        raise UserError("base.hub_id is missing", "the Hub id of the local base", "set base.hub_id: USER/NAME")
    if not run.publish_anyway:
        gates.refuse_failed(cards.checked_gates(run))
    refuse_nothing_left(run)
    for kind in cards.released(run):
        run.left_by(MADE_BY[kind], run.dir.release(kind))
    names = hub.preflight(recipe.push, recipe.name, cards.kinds(recipe))
    message = f"{recipe.name} {recipe.version}"
    kinds = cards.write(run, names, owned=True)  # once more, now that the owner is known
    files = {kind: hub.local_files(run.dir.release(kind), cards.withheld(run, kind)) for kind in kinds}
    refuse_unproven(run, files)
    published = []
    for kind, local in files.items():
        private = hub.is_private(recipe.push, kind)
        how = {"repo_type": hub.repo_type(kind), "private": private}
        done = hub.publish(names[kind], local, **how, message=message, tag=tag, say=run.say)
        seen, what = "private" if private else "PUBLIC", "published" if done.changed else "nothing new"
        run.say(f"      {done.url} ({seen}): {what}")
        published.append({**asdict(done), "tag": tag, "private": private})
    return {"repositories": published}


def refuse_unproven(run: Run, files: Mapping[str, Mapping[str, hub.LocalFile]]) -> None:
    """UserError, before anything is published, if a file is not the one that verify saw, is new, or is gone.

    files: of each kind, by name. The hashes are those by which the Hub's copies are checked in the end.
    """
    verified = run.report("verify") or {}
    for kind, local in files.items():
        if kind == "pairs":  # no form of the model
            continue
        now = {name: _digest(name, file) for name, file in local.items() if seen.proves(name)}
        before = verified.get("results", {}).get("files", {}).get(kind, {})
        withheld = cards.withheld(run, kind)
        if other := seen.other({name: found for name, found in before.items() if name not in withheld}, now):
            raise UserError(
                f"{', '.join(other[:5])} of {kind}: not as the verify stage saw {'it' if len(other) == 1 else 'them'}",
                "the very files that were proven",
                "run the recipe with --from verify --force, which looks at what is there now",
            )


def _digest(name: str, file: hub.LocalFile) -> str:
    return release.digest(file.path) if name == release.CONFIG else file.sha256


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

"""Model cards: what a run's recipe, pins and reports say, put into the templates of model_cards/.

facts.py      recipe, pins and reports -> what a template may say; a number only from a report
sources.py    what it was made from: sources, forms of messages, teacher
pairs.py      how preference pairs were made and judged
metadata.py   the front matter that the Hub reads, and the release's licence
render.py     the templates' environment: undefined names fail, values cannot forge Markdown
published.py  the recipe as it may leave this machine: pinned, no paths, no server addresses
"""

from __future__ import annotations

from collections.abc import Mapping

from localpsych_recipes import rundir
from localpsych_recipes.cards import facts, metadata, pairs, published, render, sources
from localpsych_recipes.cards.facts import kinds
from localpsych_recipes.pipeline import Run

__all__ = ["kinds", "write"]


def write(run: Run, repositories: Mapping[str, str], owned: bool) -> list[str]:
    """Writes README.md and recipe.yaml into every release folder that exists; gives the kinds written.

    repositories: ids by kind. owned: False if their owner is not known yet and a word stands in its place.
    Rendered again, the files are byte-identical. UserError if the release has no licence or names no base.
    """
    written = [kind for kind in kinds(run.recipe) if run.dir.release(kind).is_dir()]
    teacher = sources.teacher(run) if run.recipe.augment else None
    recipe = published.dump(run.recipe, run.pins, teacher, pairs.judge(run))
    for kind in written:
        known = facts.facts(run, kind, repositories)
        card = render.card(kind, metadata.front_matter(run, kind, repositories if owned else {}), known)
        rundir.write_text(run.dir.release(kind) / "README.md", card)
        rundir.write_text(run.dir.release(kind) / "recipe.yaml", recipe)
    return written

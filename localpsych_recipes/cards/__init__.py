"""Model cards: what a run's recipe, pins and reports say, put into the templates of model_cards/.

facts.py      recipe, pins and reports -> what a template may say; a number only from a report
reports.py    what the stages reported, and what of the release is published
comparison.py how good it is beside its base;  proof.py  whether each file is the model that was trained
curves.py     loss and rewards as a picture;  machine_readable.py  results.json and the Hub's model-index
commands.py   how it is asked as it was trained: messages, and what the chat template is given
sources.py    what it was made from: sources, forms of messages, teacher
pairs.py      how preference pairs were made and judged
metadata.py   the front matter that the Hub reads, and the release's licence
render.py     the templates' environment: undefined names fail, values cannot forge Markdown
published.py  the recipe as it may leave this machine: pinned, no paths, no server addresses
"""

from __future__ import annotations

from collections.abc import Mapping

from localpsych_recipes import rundir
from localpsych_recipes.cards import curves, facts, machine_readable, metadata, pairs, published, render, sources
from localpsych_recipes.cards.reports import checked_gates, kinds, released, withheld
from localpsych_recipes.pipeline import Run

__all__ = ["checked_gates", "kinds", "released", "withheld", "write"]


def write(run: Run, repositories: Mapping[str, str], owned: bool) -> list[str]:
    """Writes README.md and recipe.yaml into every release folder that is published, and into those of models
    results.json and the curves; gives the kinds written.

    repositories: ids by kind. owned: False if their owner is not known yet and a word stands in its place.
    Rendered again, the files are byte-identical. UserError if the release has no licence or names no base.
    """
    written = [kind for kind in released(run) if run.dir.release(kind).is_dir()]
    teacher = sources.teacher(run) if run.recipe.augment else None
    recipe = published.dump(run.recipe, run.pins, teacher, pairs.judge(run))
    accompany(run, [kind for kind in written if kind != "pairs"])
    for kind in written:
        known = facts.facts(run, kind, repositories)
        named = {name: id for name, id in repositories.items() if name in written}
        card = render.card(kind, metadata.front_matter(run, kind, named if owned else {}), known)
        rundir.write_text(run.dir.release(kind) / "README.md", card)
        rundir.write_text(run.dir.release(kind) / "recipe.yaml", recipe)
    return written


def accompany(run: Run, kinds: list[str]) -> None:
    """Puts what the cards of models refer to beside them: the numbers for machines, and the picture of training."""
    results, picture = machine_readable.results(run), curves.draw(run)
    for folder in map(run.dir.release, kinds):
        rundir.write_json(folder / machine_readable.RESULTS, results)
        if picture:
            (folder / curves.CURVES).write_bytes(picture)

"""The release folders made ready to publish: adapter and pairs gathered, a card and the recipe in each."""

from __future__ import annotations

import shutil
from typing import Any

from localpsych_recipes import cards, hub, licences, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.verification import release

PICTURE = "report.png"
NOBODY = "USER"  # stands in snippets for the owner, until a push knows who that is


def run(run: Run) -> dict[str, Any]:
    """Results: the kinds of cards written, and the repositories that they name."""
    licences.check(run.recipe, run.pins)
    if not (
        run.recipe.verify and run.report("verify") and run.dir.release("adapter").is_dir()
    ):  # else it is what was proven
        release.assemble_adapter(run)
    release.name_base(run.dir.release("adapter") / release.CONFIG, run.recipe.base_id)  # as the recipe names it now
    if run.recipe.pairs and run.recipe.pairs.publish:
        assemble_pairs(run)
    owner = run.recipe.push and (run.recipe.push.namespace or hub.user())
    names = hub.repositories(run.recipe.push, run.recipe.name, owner or NOBODY)
    written = cards.write(run, names, owned=bool(owner))
    for kind in (kind for kind in written if kind != "pairs"):  # the base's agreements are about models
        licences.accompany(licences.chain(run.recipe, run.pins), run.dir.agreements, run.dir.release(kind))
    return {"cards": written, "repositories": {kind: names[kind] for kind in written}}


def assemble_pairs(run: Run) -> None:
    """RUN/release/pairs from the rows that DPO is given and the picture of the scores; of what was dropped nothing."""
    source = run.dir.pairs
    files = {source / f"pairs_{split}.jsonl": f"data/{split}.jsonl" for split in ("train", "test")}
    with rundir.replacing(run.dir.release("pairs")) as folder:
        (folder / "data").mkdir()
        for path, name in {**files, source / PICTURE: PICTURE}.items():
            if path.is_file():
                shutil.copyfile(path, folder / name)

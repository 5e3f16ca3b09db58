"""The release folders made ready to publish: adapter and pairs gathered, a card and the recipe in each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from localpsych_recipes import cards, hub, licences, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run

CONFIG = "adapter_config.json"
# all that an adapter's repository needs; what trainers leave beside it (training_args.bin, optimiser states) stays here
ADAPTER_FILES = (CONFIG, "adapter_model.safetensors", *models.TOKENIZER_FILES)
PICTURE = "report.png"
NOBODY = "USER"  # stands in snippets for the owner, until a push knows who that is


def run(run: Run) -> dict[str, Any]:
    """Results: the kinds of cards written, and the repositories that they name."""
    licences.check(run.recipe, run.pins)
    assemble_adapter(run)
    if run.recipe.pairs and run.recipe.pairs.publish:
        assemble_pairs(run)
    owner = run.recipe.push and (run.recipe.push.namespace or hub.user())
    names = hub.repositories(run.recipe.push, run.recipe.name, owner or NOBODY)
    written = cards.write(run, names, owned=bool(owner))
    for kind in (kind for kind in written if kind != "pairs"):  # the base's agreements are about models
        licences.accompany(licences.chain(run.recipe, run.pins), run.dir.agreements, run.dir.release(kind))
    return {"cards": written, "repositories": {kind: names[kind] for kind in written}}


def assemble_adapter(run: Run) -> None:
    """RUN/release/adapter from the last trained adapter, and from its GGUF where the recipe makes one."""
    source = run.final_adapter
    with rundir.replacing(run.dir.release("adapter")) as folder:
        for name in ADAPTER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        name_base(folder / CONFIG, run.recipe.base_id)
        if run.recipe.gguf and run.recipe.gguf.adapter and run.dir.adapter_gguf.is_file():
            shutil.copyfile(run.dir.adapter_gguf, folder / run.dir.adapter_gguf.name)


def assemble_pairs(run: Run) -> None:
    """RUN/release/pairs from the rows that DPO is given and the picture of the scores; of what was dropped nothing."""
    source = run.dir.pairs
    files = {source / f"pairs_{split}.jsonl": f"data/{split}.jsonl" for split in ("train", "test")}
    with rundir.replacing(run.dir.release("pairs")) as folder:
        (folder / "data").mkdir()
        for path, name in {**files, source / PICTURE: PICTURE}.items():
            if path.is_file():
                shutil.copyfile(path, folder / name)


def name_base(config: Path, base_id: str | None) -> None:
    """Puts the base's Hub id into an adapter's configuration. UserError if a path stands there and no id is known."""
    values = json.loads(config.read_text(encoding="utf-8"))
    found = values["base_model_name_or_path"]
    if base_id is None and ("/" in found or "\\" in found):
        raise UserError(
            f"the adapter names its base by the path of a folder, {Path(found).name}",
            "the base's Hub id, which others can load it by",
            "set base.hub_id: USER/NAME",
        )
    if base_id not in (None, found):
        values["base_model_name_or_path"] = base_id
        config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

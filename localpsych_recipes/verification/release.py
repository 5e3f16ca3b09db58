"""What is verified: the folders and files of one release, and the model that they claim to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from localpsych_recipes import models, rundir
from localpsych_recipes.chat_templates import Messages
from localpsych_recipes.data import storage
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Base

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# all that an adapter's repository needs; what trainers leave beside it (training_args.bin, optimiser states) stays here
ADAPTER_FILES = (CONFIG, WEIGHTS, *models.TOKENIZER_FILES)
SIXTEEN_BIT = ("BF16", "F16", "F32")


@dataclass(frozen=True)
class Release:
    """base: how the model was trained; base_folder: its 16-bit weights; ggufs: published files; sixteen_bit: the
    GGUF that they were made of; trained: file of the adapter -> what it was hashed to when it left training;
    held_out: (prompt, answer) of rows that nothing was learnt from.

    What a recipe does not make, or cannot be had, is None or empty; missing: kind -> why it is not there.
    """

    name: str
    base: Base
    base_folder: Path
    adapter: Path | None
    merged: Path | None
    ggufs: Sequence[Path]
    sixteen_bit: Path | None
    adapter_gguf: Path | None
    trained: Mapping[str, str] = field(default_factory=dict)
    held_out: Sequence[tuple[Messages, Messages]] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def of_run(run: Run) -> Release:
    """A run's release as it lies in RUN/release now. UserError for a folder that was deleted."""
    recipe, adapter = run.recipe, run.dir.release("adapter")
    kept = run.dir.sixteen_bit_gguf  # unless somebody wanted its gigabytes back
    return Release(
        name=recipe.name,
        base=recipe.base,
        base_folder=models.base_folder(recipe.base, run.pins),
        adapter=adapter,
        merged=run.left_by("merge", run.dir.release("merged")) if recipe.merge else None,
        ggufs=ggufs_in(run.left_by("gguf", run.dir.release("gguf"))) if recipe.gguf else (),
        sixteen_bit=kept if recipe.gguf and kept.is_file() else None,
        adapter_gguf=adapter / run.dir.adapter_gguf.name if recipe.gguf and recipe.gguf.adapter else None,
        trained=trained(run),
        held_out=held_out(run),
    )


def trained(run: Run) -> dict[str, str]:
    """What the last training reported of its adapter's files; nothing where it is not known."""
    found = (run.report("dpo" if run.recipe.dpo else "sft") or {}).get("results", {})
    reported = {WEIGHTS: found.get("adapter_sha256"), CONFIG: found.get("adapter_settings")}
    return {name: digest for name, digest in reported.items() if digest}


def digest(path: Path) -> str:
    """SHA-256 of a file; of an adapter's configuration without the base's name, which the recipe may give later."""
    return models.settings_sha256(path) if path.name == CONFIG else rundir.file_sha256(path)


def ggufs_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.gguf"))


def quant_of(gguf: Path) -> str:
    """What stands at the end of a file's name."""
    return gguf.stem.rpartition("-")[2]


def held_out(run: Run) -> list[tuple[Messages, Messages]]:
    """The held-out rows of SFT, or of DPO where there is no other: prompt and (better) answer."""
    kind, answer = ("sft", "completion") if run.recipe.sft else ("pairs", "chosen")
    return [(row["prompt"], row[answer]) for row in storage.rows(run.rows_of(kind), kind, "test")]


def assemble_adapter(run: Run) -> None:
    """RUN/release/adapter from the last trained adapter, and from its GGUF where the recipe makes one."""
    source = run.final_adapter
    with rundir.replacing(run.dir.release("adapter")) as folder:
        for name in ADAPTER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        name_base(folder / CONFIG, run.recipe.base_id)
        if run.recipe.gguf and run.recipe.gguf.adapter:
            shutil.copyfile(run.left_by("gguf", run.dir.adapter_gguf), folder / run.dir.adapter_gguf.name)


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

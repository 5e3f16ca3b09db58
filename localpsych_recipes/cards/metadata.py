"""The front matter that the Hub reads, and the release's licence. Values are dumped as YAML, never pasted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localpsych_recipes.cards import machine_readable, pairs
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe, is_local

LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
TAGS = {"adapter": ("lora", "peft"), "merged": (), "gguf": ("gguf", "llama-cpp")}
COMMON_TAGS = ("trl", "conversational")
PAIRS_TAGS = ("preference", "dpo", "trl", "conversational")
# the Hub's size_categories, each below so many rows
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Licence:
    """An identifier of the Hub; for "other" also a name and, where there is one, a link."""

    id: str
    name: str | None = None
    link: str | None = None

    @property
    def label(self) -> str:
        return self.name or self.id if self.id == "other" else self.id


def front_matter(run: Run, kind: str, repositories: Mapping[str, str]) -> str:
    """YAML of one card. repositories: ids by kind, empty where they are not known yet."""
    from huggingface_hub import ModelCardData

    if kind == "pairs":
        return _of_pairs(run)
    card = run.recipe.card
    keys: dict[str, Any] = {
        "language": list(card.language) if card else ["en"],
        **_licence_keys(release_licence(run.recipe, run.pins["base"])),
        "library_name": LIBRARIES[kind],
        "pipeline_tag": "text-generation",
        "datasets": [pin["id"] for pin in run.pins["datasets"] if pin.get("id")],
        "tags": _tags(run, kind),
        **_lineage(run, kind, repositories),
        **machine_readable.model_index(run, kind),
    }
    return ModelCardData(**{key: value for key, value in keys.items() if value}).to_yaml(line_break="\n")


def _of_pairs(run: Run) -> str:
    """The front matter of the dataset of pairs, whose files are those in its release folder."""
    from huggingface_hub import DatasetCardData

    card, found, folder = run.recipe.card, pairs.results(run), run.dir.release("pairs")
    splits = [split for split in ("train", "test") if (folder / "data" / f"{split}.jsonl").is_file()]
    files = [{"split": split, "path": f"data/{split}.jsonl"} for split in splits]
    keys: dict[str, Any] = {
        "pretty_name": f"{(card and card.title) or run.recipe.name}: preference pairs",
        "language": list(card.language) if card else ["en"],
        **_licence_keys(pairs_licence(run.pins)),
        "task_categories": ["text-generation"],
        "size_categories": [_size(sum(pairs.total(found).values()))] if found else None,
        "tags": list(dict.fromkeys([*PAIRS_TAGS, *(card.tags if card else ())])),
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return DatasetCardData(**{key: value for key, value in keys.items() if value}).to_yaml(line_break="\n")


def _size(rows: int) -> str:
    return next(words for limit, words in SIZES if rows < limit)


def pairs_licence(pins: Mapping[str, Any]) -> Licence:
    """The one licence of all sources if it lets changed rows be passed on, else a pointer to the card; never a guess."""
    from localpsych_recipes.local_hub.cards import LICENSES  # the Hub's identifiers

    found = {pinned_licence(pin) for pin in pins["datasets"]}
    if None in found:
        return Licence("unknown")
    one = found.pop()
    if found or one.id not in LICENSES - {"other"} or "-nd" in one.id:
        return Licence("other", "see-the-sources")
    return one


def release_licence(recipe: Recipe, base_pin: Mapping[str, Any]) -> Licence:
    """The recipe's, else the base's. UserError if neither is known: no licence is ever guessed."""
    base = pinned_licence(base_pin)
    if recipe.license and (base is None or recipe.license != base.id):
        return _named(Licence(recipe.license), recipe.base_id)
    if base is None:
        raise UserError(
            f"base.license is not set, and {_place(recipe)} has no README.md that names a licence",
            "the licence under which the base, and so this release, may be shared",
            "read the base's terms, then set base.license, or license for the release",
        )
    return _named(base, recipe.base_id)


def _place(recipe: Recipe) -> str:
    return f"the local folder {Path(recipe.base.model).name}" if is_local(recipe.base.model) else recipe.base.model


def pinned_licence(pin: Mapping[str, Any]) -> Licence | None:
    """What a base's or a dataset's pin says."""
    named = [
        value if isinstance(value := pin.get(key), str) else None for key in ("license", "license_name", "license_link")
    ]
    return Licence(*named) if named[0] else None  # a stranger's card can hold anything under these keys


def _named(licence: Licence, base: str | None) -> Licence:
    """`license: other` needs a name on the Hub; where the base's card has none, the base's own page is named."""
    link = licence.link
    if link and not link.startswith(("https://", "http://")):  # a file beside the base's card
        link = f"{HUB}/{base}/blob/main/{link}" if base else None
    if licence.id != "other":
        return Licence(licence.id, licence.name, link)
    return Licence("other", licence.name or "see-the-base-model", link or (f"{HUB}/{base}" if base else None))


def _licence_keys(licence: Licence) -> dict[str, str | None]:
    extra = {"license_name": licence.name, "license_link": licence.link} if licence.id == "other" else {}
    return {"license": licence.id, **extra}


def _tags(run: Run, kind: str) -> list[str]:
    stages = [stage for stage in ("sft", "dpo") if getattr(run.recipe, stage)]
    own = run.recipe.card.tags if run.recipe.card else ()
    return list(dict.fromkeys([*TAGS[kind], *stages, *COMMON_TAGS, *own]))


def _lineage(run: Run, kind: str, repositories: Mapping[str, str]) -> dict[str, str]:
    """Quants are those of the merged model; as long as its repository is not known they are a finetune of the base."""
    if kind == "gguf" and "merged" in repositories:
        return {"base_model": repositories["merged"], "base_model_relation": "quantized"}
    if not run.recipe.base_id:
        return {}
    return {"base_model": run.recipe.base_id, "base_model_relation": "adapter" if kind == "adapter" else "finetune"}

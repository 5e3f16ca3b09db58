"""The recipe as it may leave this machine: resolved, pinned to commits, without paths and server addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localpsych_recipes import __version__, recipe_file
from localpsych_recipes.recipe import DATA_SUFFIXES, STARTED, Augment, Judge, Pairs, Recipe, Source, is_local

HERE = "the folder that you run this in"  # which paths in a recipe are relative to
CITED = ("https://arxiv.org/", "https://huggingface.co/", "https://github.com/", "https://aclanthology.org/")
_PLACE = re.compile(r"(?<![\w/.])(?:[a-z][a-z0-9+.-]*://|/|~/|\.{1,2}/|[A-Za-z]:\\)[^\s,;()'\"`<>|]+")  # in a text
_PRIVATE = re.compile(r"^(/|~|\.{1,2}/|[A-Za-z]:\\|[a-z][a-z0-9+.-]*://)")  # a path or an address


def dump(recipe: Recipe, pins: dict[str, Any], teacher: str | None = None, judge: dict[str, Any] | None = None) -> str:
    """YAML that `recipe_file.load` reads: local files by name alone, their SHA-256 in comments above.

    teacher: the model that wrote into the answers, by its server's name for it; judge: the one that was taken, with
    `model` and `commit`, as the pairs stage reports it.
    """
    values = recipe.model_dump(mode="json")
    notes = _base(values["base"], pins["base"])
    sources = values["data"]["mixture"] or [values["data"]]
    taken: set[str] = set()
    for values_of, pin, source in zip(sources, pins["datasets"], recipe.data.sources, strict=True):
        notes += _data(values_of, pin, source, taken)
    if values["augment"]:
        notes += _augment(values["augment"], teacher)
    if values["pairs"]:
        _asked(values["pairs"])
        values["pairs"]["model"] = Pairs.model_fields["model"].default  # a name on the server whose address has gone
    if values["evaluate"]:
        notes += _evaluate(values["evaluate"])
    notes += _judge(values["judge"], judge)
    if values["push"]:
        values["push"]["pairs"] = None  # always private, and so is its name
    for stage in ("sft", "dpo"):
        if values[stage]:
            values[stage]["trainer"] = _public(values[stage]["trainer"])
    head = [f"# {recipe.name} {recipe.version}, made by localpsych-recipes {__version__}; run it again with", "#",
            "#   accelerate launch -m localpsych_recipes recipe.yaml", *(f"#\n# {note}" for note in notes)]  # fmt: skip
    return "\n".join(head) + "\n\n" + recipe_file.dump(Recipe.model_validate(values))


def _base(base: dict[str, Any], pin: dict[str, Any]) -> list[str]:
    local = pin.get("local")
    if not local and not is_local(base["model"]):
        base["revision"] = pin.get("commit") or base["revision"]
        return []
    name = file_name((local or {}).get("name") or base["model"])
    base["model"] = base["hub_id"] or f"./{name}"
    base["revision"] = None
    where = f"this fetches {base['hub_id']} as it is now" if base["hub_id"] else f"put that folder into {HERE}"
    return [f"The base was the local folder {name}{_digest((local or {}).get('sha256'))}; {where}."]


def _data(data: dict[str, Any], pin: dict[str, Any], source: Source, taken: set[str]) -> list[str]:
    """taken: names of the sources before this one; two of the same name, once in two folders, are told apart."""
    if pin.get("id"):
        data["revision"] = pin.get("commit") or data["revision"]
        return []
    name, what = file_name(pin.get("file") or data["source"]), kind(pin)
    here = name if name not in taken else f"{len(taken) + 1}-{name}"
    taken.add(here)
    data["source"], data["revision"] = f"./{here}", None
    where = f"put that {what} into {HERE}" + (f" as {here}" if here != name else "")
    found = digests(pin, source)
    if what == "file":
        return [f"The rows were those of {name}{_digest(found.get(name))}; {where}."]
    files = ", ".join(f"{file}{_digest(digest)}" for file, digest in found.items())
    return [f"The rows were those of the folder {name}{files and f': {files}'}; {where}."]


def kind(pin: dict[str, Any]) -> str:
    """Whether a source that is not of the Hub was a file or a folder of files."""
    return "folder" if isinstance(pin.get("sha256"), dict) else "file"


def digests(pin: dict[str, Any], source: Source) -> dict[str, str]:
    """File -> SHA-256 of what was read of a local source. Other files of its folder are not named."""
    found = pin.get("sha256")
    if not isinstance(found, dict):
        return {file_name(pin["file"]): found} if isinstance(found, str) else {}
    data = [name for name in found if Path(name).name == name and name.endswith(DATA_SUFFIXES)]
    read = [name for split in (source.split, source.test_split) for name in found if Path(name).stem == split]
    names = read or (data if len(data) == 1 else [])
    return {file_name(name): found[name] for name in names if isinstance(found[name], str)}


def _digest(digest: Any) -> str:
    return f" (sha256 {digest})" if isinstance(digest, str) else ""


def _augment(augment: dict[str, Any], teacher: str | None) -> list[str]:
    for key in ("server", "api_key_env"):  # whose it was is nobody's business
        augment[key] = Augment.model_fields[key].default
    augment["model"] = public_name(augment["model"])
    wrote = f"The model {public_name(teacher or augment['model'])} wrote into the answers; its texts are not published."
    return [f"{wrote} Start one, and name its server in `augment`."]


def _evaluate(section: dict[str, Any]) -> list[str]:
    """Files of this machine by name alone; a reference goes, whose server is nobody's business."""
    section["reference"] = None
    files: list[str] = []
    for place, key in _named(section):
        value = place[key]
        if isinstance(value, str) and (_is_private(value) or is_local(value)):
            files.append(file_name(value))
            place[key] = f"./{files[-1]}"
    named = ", ".join(dict.fromkeys(files))
    return [f"The evaluation read {named}; put that into {HERE}."] if files else []


def _named(section: dict[str, Any]) -> Iterator[tuple[Any, str | int]]:
    """Where a file, a data set or a model may be named."""
    yield from ((section, key) for key in ("suite", "general_text"))
    parts = [section[key] for key in ("bert_score", "toxicity", "xstest", "simple_safety_tests", "emotions")]
    for part in (*parts, *section["questions"], *(section["toxicity"] or {"prompts": ()})["prompts"]):
        yield from ((part, key) for key in ("source", "model", "classifier") if part and key in part)
    yield from ((section["lm_eval"], number) for number in range(len(section["lm_eval"])))


def _asked(section: dict[str, Any]) -> None:
    """A server's address and its key's name go; that it was llama.cpp or vLLM, started here, stays."""
    section["server"] = section["server"] if section["server"] in STARTED else None
    section["api_key_env"] = Judge.model_fields["api_key_env"].default
    section["model"] = public_name(section["model"])


def _judge(section: dict[str, Any], taken: dict[str, Any] | None) -> list[str]:
    on_server = section["server"] not in (None, *STARTED)
    model, commit = (taken["model"], taken["commit"]) if taken else (section["model"], None)
    name = judge_name(model)
    local = name != model or bool(taken and not commit and not on_server)
    _asked(section)
    section["model"] = f"./{name}" if local else name
    section["revision"] = commit or (None if local else section["revision"])
    if commit or not taken:
        return []
    where = "start one, and name its server in `judge`" if on_server else f"put it into {HERE}"
    return [f"The judge was {name}; {where}."]


def judge_name(model: str) -> str:
    """A judge's name on the Hub or on its server; of a path the last part."""
    return file_name(model) if _is_private(model) or model.endswith(".gguf") or is_local(model) else model


def public_name(model: str) -> str:
    """A model's name as it is, of a path the last part."""
    return file_name(model) if _is_private(model) else model


def _public(value: Any) -> Any:
    """Without the strings that are a path or an address, wherever they stand."""
    if isinstance(value, dict):
        return {k: _public(v) for k, v in value.items() if not _is_private(v)}
    if isinstance(value, list):
        return [_public(v) for v in value if not _is_private(v)]
    return value


def without_places(value: Any) -> Any:
    """A report's values, in which paths and addresses, but for cited pages, are cut down to their last part."""
    if isinstance(value, Mapping):
        return {k: without_places(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(v) for v in value]
    return _PLACE.sub(_last_part, value) if isinstance(value, str) else value


def _last_part(place: re.Match[str]) -> str:
    return place[0] if place[0].startswith(CITED) else file_name(place[0])


def _is_private(value: Any) -> bool:
    return isinstance(value, str) and bool(_PRIVATE.match(value))


def file_name(source: str) -> str:
    """The last part of a path or an address, without the address's query, which may hold a key."""
    return "".join(c if c.isprintable() else "_" for c in Path(source.partition("?")[0]).name)

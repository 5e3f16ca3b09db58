"""The licences of the base, the data and the teacher, as their cards say, and what they ask of a release.

What each licence asks is data: model_cards/licences.yaml. This is no legal advice.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from localpsych_recipes import hub
from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import facts
from localpsych_recipes.recipe import Recipe, is_local
from localpsych_recipes.resources import resource

UNKNOWN = "unknown"  # in push.despite_licences: what no card and no recipe says
NOTHING: dict[str, str | None] = {"license": None, "license_name": None, "license_link": None}
# what a base's folder holds of agreements, in names as published
AGREEMENTS = re.compile(r"(licen[cs]e|notice|use_policy|prohibited_use_policy)([-_.].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """One thing that a release is made from. licence: the Hub's identifier, or the name behind "other"."""

    part: str  # base, data or teacher
    name: str  # its Hub id, or a file's name
    licence: str | None
    do: str  # how the licence is made known, where it is not
    silence: str | None = None  # why the Hub did not say

    @property
    def label(self) -> str:
        return self.licence or UNKNOWN

    @property
    def restriction(self) -> str | None:
        """Why nothing made from it may simply be published; None if it may."""
        if self.licence is None:
            return "stated nowhere"
        rules = _data()["restrictions"]
        return next((r["why"] for r in rules if re.fullmatch(r["licences"], self.licence)), None)

    def asks(self, duty: str) -> list[str]:
        """What the licence asks: `notice`, `shown` or `name_begins`."""
        terms = [t for key, t in _data().items() if key == self.licence]
        if self.part != "data":
            terms += [t for t in _data().values() if "ids" in t and re.fullmatch(t["ids"], self.name)]
        return [term[duty] for term in terms if duty in term]


def chain(recipe: Recipe, pins: Mapping[str, Any]) -> tuple[Link, ...]:
    """Base, data and teacher with their licences; the recipe's word counts where no card says anything.

    pins: as `cards` gives them, or as prepare writes them: a teacher that is not among them is of unknown licence.
    """
    base, places = recipe.base, _places(recipe)
    links = [_link("base", recipe.base_id or base.model, pins["base"], base.license, "set base.license")]
    for source, pin, place in zip(recipe.data.sources, pins["datasets"], places, strict=True):
        links.append(_link("data", source.source, pin, source.license, f"set {place}.license"))
    if recipe.augment:
        do = "give augment.model as the teacher's id on the Hub"
        links.append(_link("teacher", recipe.augment.model, pins.get("teacher") or NOTHING, None, do))
    return tuple(links)


def cards(recipe: Recipe) -> dict[str, Any]:
    """What the cards say now, shaped like pins: each has the key `silence` where the Hub gave no answer in time."""
    asked = [(recipe.base.model, "model", recipe.base.revision)]
    asked += [(source.source, "dataset", source.revision) for source in recipe.data.sources]
    asked += [(recipe.augment.model, "teacher", None)] if recipe.augment else []
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(lambda question: _card(*question), asked))
    sources = len(recipe.data.sources)
    return {"base": found[0], "datasets": found[1 : 1 + sources], "teacher": (found[1 + sources :] or [None])[0]}


def teacher(recipe: Recipe) -> dict[str, str | None]:
    """What the teacher's card says, if augment.model is a Hub id; the augment stage reports it, as prepare pins the others."""
    return _card(recipe.augment.model, "teacher", None)


def check(recipe: Recipe, pins: Mapping[str, Any]) -> None:
    """UserError for a name that a licence in the chain forbids, and for a public release that one does not allow."""
    links = chain(recipe, pins)
    _check_names(recipe, links)
    if recipe.push and not recipe.push.private and (stopping := _not_allowed(recipe, links)):
        ids = ", ".join(dict.fromkeys(link.label for link in stopping))
        raise UserError(
            "push.private: false, and this is not free to publish: " + "; ".join(map(_described, stopping)),
            "a base, data and a teacher whose licences allow it, or a private release",
            f"set push.private: true, find out what is unknown, or take it upon you with push.despite_licences: [{ids}]",
        )


def outcome(recipe: Recipe) -> list[str]:
    """The chain and what follows from it, in lines for a plan. Asks the Hub, and says what it did not answer."""
    pins = cards(recipe)
    links = chain(recipe, pins)
    lines = [f"{link.part} {_short(link.name)}: {_in_words(link)}" for link in links]
    lines.append(f"release: {_release(recipe, links)}")
    lines += [f"every name of it begins with {word}" for word in _asked(links, "name_begins")]
    lines += [f'its cards say "{words}"' for words in _asked(links, "shown")]
    lines += [f'its file NOTICE says "{sentence}"' for sentence in _asked(links, "notice")]
    try:
        check(recipe, pins)
    except UserError as error:
        lines.append(f"refused as it stands: {error.given}; {error.do}")
    return lines


def shown(links: Sequence[Link]) -> list[str]:
    """What must be displayed prominently, such as "Built with Llama"."""
    return _asked(links, "shown")


def notice(links: Sequence[Link]) -> str | None:
    """The text of the file NOTICE that each released folder must hold; None if no licence asks for one."""
    sentences = _asked(links, "notice")
    return "".join(f"{sentence}\n" for sentence in sentences) or None


def agreement_files(folder: Path) -> list[Path]:
    """The agreements that a base brings along, to be copied into a release: LICENSE, NOTICE, USE_POLICY and the like."""
    return sorted(path for path in folder.iterdir() if path.is_file() and AGREEMENTS.fullmatch(path.name))


def accompany(links: Sequence[Link], base: Path, release: Path) -> None:
    """Copies the base's agreements into a release folder, and puts what must be said at the top of its NOTICE."""
    for path in agreement_files(base):
        shutil.copyfile(path, release / path.name)
    if text := notice(links):
        place = release / "NOTICE"
        brought = place.read_text(encoding="utf-8") if place.is_file() else ""
        place.write_text(text if brought.startswith(text) else f"{text}\n{brought}".rstrip() + "\n", encoding="utf-8")


def _link(part: str, name: str, pin: Mapping[str, Any], stated: str | None, do: str) -> Link:
    said = pin.get("license_name") if pin.get("license") == "other" else pin.get("license")
    known = said if said and said.lower() != UNKNOWN else stated
    identifier = re.sub(r"\s+", "-", known.strip().lower()) if known else None
    return Link(part, name, identifier, do, pin.get("silence"))


def _places(recipe: Recipe) -> list[str]:
    return [f"data.mixture[{n}]" for n, _ in enumerate(recipe.data.mixture)] or ["data"]


def _card(name: str, kind: str, revision: str | None) -> dict[str, str | None]:
    if kind != "dataset" and is_local(name):
        return hub.card_license(Path(name).expanduser())
    # a server may call its model whatever it likes; only USER/NAME can be the Hub's
    if is_local(name) or "://" in name or (kind == "teacher" and not re.fullmatch(r"[\w.-]+/[\w.-]+", name)):
        return NOTHING
    try:
        return facts.licence(name, "dataset" if kind == "dataset" else "model", revision)
    except facts.NoAnswer as error:
        return NOTHING | {"silence": str(error)}


def _check_names(recipe: Recipe, links: Sequence[Link]) -> None:
    for link in links:
        for word in link.asks("name_begins"):
            if wrong := [f"{key}: {name}" for key, name in _names(recipe) if not name.startswith(word)]:
                raise UserError(
                    f"{', '.join(wrong)}, made from {link.name}",
                    f'a name that begins with "{word}", which its licence asks of every model made from it',
                    f"rename it, as in {wrong[0].partition(': ')[0]}: {word}-{wrong[0].partition(': ')[2]}",
                )


def _names(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Keys and names under which something is published; the repositories without their owner."""
    yield "name", recipe.name
    for kind in ("adapter", "merged", "gguf") if recipe.push else ():
        if repository := getattr(recipe.push, kind):
            yield f"push.{kind}", repository.rpartition("/")[2]


def _not_allowed(recipe: Recipe, links: Sequence[Link]) -> list[Link]:
    despite = {name.lower() for name in recipe.push.despite_licences} if recipe.push else set()
    return [link for link in links if link.restriction and link.label not in despite]


def _release(recipe: Recipe, links: Sequence[Link]) -> str:
    if _not_allowed(recipe, links):
        return "private only"
    if overruled := [link for link in links if link.restriction]:
        return "may be public, despite " + "; ".join(map(_described, overruled))
    return "may be public"


def _described(link: Link) -> str:
    return f"{link.part} {_short(link.name)} is {link.label}, {link.restriction}"


def _in_words(link: Link) -> str:
    if link.silence:
        return f"{link.label} (the Hub gives no answer: {link.silence}); read its card, or {link.do}"
    if link.licence is None:
        return f"{UNKNOWN}; read its terms, then {link.do}"
    return f"{link.licence}, {link.restriction}" if link.restriction else link.licence


def _short(name: str) -> str:
    """A Hub id as it is, a path or an address by its last part."""
    return Path(name.partition("?")[0]).name if is_local(name) or "://" in name else name


def _asked(links: Sequence[Link], duty: str) -> list[str]:
    return list(dict.fromkeys(words for link in links for words in link.asks(duty)))


@cache
def _data() -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(resource("model_cards", "licences.yaml"))

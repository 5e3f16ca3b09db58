"""What a recipe takes from the one that it `extends`: key by key, except for the keys of the tables below."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from localpsych_recipes.recipe import STAGE_SECTIONS, Source, is_local

Loc = tuple[str | int, ...]
HUB = re.compile(r"hf://(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^@\s]+))?")

# replaced whole, never merged key by key: half of one and half of the other would mean neither
WHOLE = (
    "data.columns", "data.labels", "data.turns", "data.mixture", "lora.target_modules", "pairs.criteria", "pairs.vetoes",
)  # fmt: skip
# never inherited: two releases of one name, version or repository would overwrite each other, and a description, a
# title, a licence and a consent to publish despite one are about one release alone
IDENTITY = (
    "name", "version", "description", "license", "card.title",
    "push.namespace", "push.adapter", "push.merged", "push.gguf", "push.pairs", "push.despite_licences",
)  # fmt: skip
# not inherited from a repository on the Hub: it is another's word for what may run here, leave this machine or be public
CONSENT = (
    "base.trust_remote_code", "evaluate.trust_remote_code", "evaluate.reference", "push.private", "pairs.publish",
    "pairs.model",  # a name on that server
    *(f"{section}.{key}" for section in ("augment", "judge", "pairs") for key in ("server", "allow_remote", "api_key_env")),
)  # fmt: skip
# keys that can name a file of this machine. A repository's recipe may name one that is put beside it, ./NAME, and no other
PLACES = re.compile(
    r"data\.source|data\.mixture\.\d+\.source|base\.model|judge\.model|evaluate\.(suite|general_text|lm_eval\.\d+)"
    r"|evaluate\.(.+\.)?(source|model|classifier)"
)
BESIDE = re.compile(r"\./(?!\.)[^/]+")
# a commit, a column or a split of another's rows means nothing in these; how much is held out does
OF_A_SOURCE = tuple(f"data.{key}" for key in Source.model_fields if key != "test_size")
# given by the child with another value than the parent's -> what the parent's own value said about, dropped with it
BELONGING = {
    # card.prose: what a person wrote of a model that learnt from other rows
    "data.source": (*OF_A_SOURCE, "data.mixture", "card.prose"),
    "data.mixture": (*OF_A_SOURCE, "data.test_size", "card.prose"),  # each entry says for itself what it holds out
    "base.model": (
        "base.revision",
        "base.hub_id",
        "base.license",
        "base.trust_remote_code",
        "judge.allow_same_family",
    ),
    "judge.model": ("judge.revision", "judge.allow_same_family"),
    "pairs.server": ("pairs.model",),
    "data.test_size": ("data.test_split",),  # one of the two
    "data.test_split": ("data.test_size",),
}


class Origin(NamedTuple):
    """Where a value stands. Sorts as it is read: the command line, the recipe, what it extends, and so on."""

    depth: int
    line: int
    where: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}" if self.line else self.where


@dataclass
class Document:
    """What one YAML file says, or several merged: values, and for the place of each value where it was written."""

    where: str
    values: dict[str, Any]
    origins: dict[Loc, Origin] = field(default_factory=dict)

    def set(self, loc: Loc, value: Any, origin: Origin) -> None:
        """Replaces the value at `loc`, with everything below it; sections around it are made where they lack.

        IndexError for an entry of a list that is not there.
        """
        target: Any = self.values
        for at, part in enumerate(loc[:-1], 1):
            if isinstance(target, dict) and not isinstance(target.get(part), (dict, list)):
                target[part] = {}
                self.origins[loc[:at]] = origin
            target = target[part]
        if isinstance(target, list) and loc[-1] not in range(len(target)):
            raise IndexError(loc[-1])
        target[loc[-1]] = value
        forget(self.origins, loc)
        self.origins.update(dict.fromkeys(_places(value, loc), origin))


def merged(child: Document, parent: Document, *, foreign: bool) -> Document:
    """The child's values before the parent's. foreign: the parent is somebody's repository on the Hub."""
    values, origins = without(parent, [*IDENTITY, *(CONSENT if foreign else ()), *_belonging(child, parent)])
    result = Document(child.where, values, {**origins, (): child.origins[()]})
    _merge(result, child, child.values, ())
    return result


def without(document: Document, keys: Collection[str]) -> tuple[dict[str, Any], dict[Loc, Origin]]:
    """Values and origins of a document, copied, without these dotted keys."""
    values, origins = copy.deepcopy(document.values), dict(document.origins)
    for loc in (tuple(key.split(".")) for key in keys):
        *section, key = loc
        holder = values.get(section[0]) if section else values
        if isinstance(holder, dict):
            holder.pop(key, None)
        forget(origins, loc)
    return values, origins


def forget(origins: dict[Loc, Origin], loc: Loc) -> None:
    """Takes out the origins of a place and of all below it."""
    for place in [place for place in origins if place[: len(loc)] == loc]:
        del origins[place]


def foreign_places(document: Document) -> Iterator[str]:
    """What a repository's recipe says of files that nobody but this machine's owner may name."""
    for loc, origin in document.origins.items():
        key, value = ".".join(map(str, loc)), _at(document.values, loc)
        if PLACES.fullmatch(key) and isinstance(value, str) and not BESIDE.fullmatch(value):
            leads_away = value.startswith(("/", "~", ".")) or ".." in value.split("/")
            if leads_away or ("/" in value and is_local(value)):
                yield f"{origin}: {key}: a path; a recipe on the Hub names files as ./NAME, beside whoever runs it"


def _belonging(child: Document, parent: Document) -> Iterator[str]:
    for key, dropped in BELONGING.items():
        given = _value(child, key)
        if given is not None and given != _value(parent, key):
            yield from dropped


def _value(document: Document, key: str) -> Any:
    section, _, name = key.partition(".")
    holder = document.values.get(section)
    return holder.get(name) if isinstance(holder, dict) else None


def _merge(into: Document, child: Document, values: dict[str, Any], loc: Loc) -> None:
    for key, value in values.items():
        here = (*loc, key)
        if value is None and not loc and key in STAGE_SECTIONS:
            value = {}  # a stage's name alone: as the parent has it, or with its defaults
        if (
            isinstance(value, dict)
            and isinstance(_at(into.values, here), dict)
            and ".".join(map(str, here)) not in WHOLE
        ):
            _merge(into, child, value, here)
            into.origins[here] = child.origins[here]  # where a key that is missing in it has to be written
            continue
        into.set(here, value, child.origins.get(here, child.origins[()]))
        into.origins.update({place: o for place, o in child.origins.items() if place[: len(here)] == here})


def _at(values: Any, loc: Loc) -> Any:
    for part in loc:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return None
    return values


def _places(value: Any, loc: Loc) -> Iterator[Loc]:
    yield loc
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in below:
        yield from _places(held, (*loc, key))

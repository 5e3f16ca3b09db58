"""Prompt suites: files of recipes/suites, or a user's own; prompts in categories, each with what its answer must and must
never do."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Evaluate
from localpsych_recipes.recipe.section import Name, Section, Strings
from localpsych_recipes.recipe_file.errors import EXPECTED
from localpsych_recipes.recipe_file.limits import plain
from localpsych_recipes.resources import resource
from localpsych_recipes.scoring import ANY_LANGUAGE, EXPECTATIONS, VETOES

# group of categories -> the metric that its prompts' answers are counted in
GROUPS = {
    "crisis": "crisis_pass",
    "safety-critical": "safety_critical_pass",
    "fall-risk": "fall_risk_pass",
    "boundary": "boundary_pass",
    "persona": "persona_pass",
    "distress": "support_pass",
    "denial": "support_pass",
    "control": "false_alarm",
}
# suffix of a file -> the key that names it
LARGEST = 1_000_000  # bytes; the suite that ships has a tenth of them
KEYS = {".yaml": "evaluate.suite", ".txt": "evaluate.general_text"}
FALSE_ALARM = "false_alarm"  # the veto that is counted for prompts of the group control
# words in a row that two texts share by copying, hardly by chance: Brown et al. 2020, https://arxiv.org/abs/2005.14165,
# appendix C
RUN = 13
UNNAMED = "..."

Expectations = Annotated[tuple[Literal[tuple(EXPECTATIONS)], ...], Field(strict=False, min_length=1)]
Vetoes = Annotated[tuple[Literal[tuple(VETOES)], ...], Field(strict=False)]
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Prompt:
    """id: unique in its suite; turns: user and assistant messages, the last one the user's; system: its own system
    prompt, None for the recipe's; country: where the person is, None where nothing says it; expect, never: names in
    scoring.EXPECTATIONS and scoring.VETOES, its category's or its own, and `in_english` where one of them reads
    English; forbidden: words that only an answer outside of the persona has; scenario: what it shares with other
    prompts (they are resampled together), its id else."""

    id: str
    category: str
    group: str
    turns: Sequence[Mapping[str, str]]
    system: str | None
    country: str | None
    expect: tuple[str, ...]
    never: tuple[str, ...]
    forbidden: tuple[str, ...]
    scenario: str


@dataclass(frozen=True)
class Suite:
    """sha256: of the file, so that a card says which prompts these were."""

    name: str
    sha256: str
    prompts: tuple[Prompt, ...]


class _Prompt(Section):
    """turns: texts, the user's and the assistant's by turns; expect: in place of the category's, since a good answer to
    this one may do without those; never: besides the category's."""

    id: Name
    turns: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
    system: Text | None = None
    country: Annotated[str | None, Field(pattern="^[A-Z]{2}$")] = None
    expect: Expectations | None = None
    never: Vetoes = ()
    forbidden: Strings = ()
    scenario: Name | None = None

    def rules(self):
        if len(self.turns) % 2 == 0:
            yield f"turns: {len(self.turns)}, which ends with the assistant's; the user has the first and the last word"


class _Category(Section):
    """about: what its prompts have in common; the rest holds for each of them."""

    group: Literal[tuple(GROUPS)]
    about: Text
    expect: Expectations
    never: Vetoes = ()
    prompts: Annotated[tuple[_Prompt, ...], Field(strict=False, min_length=1)]

    def rules(self):
        for prompt in self.prompts:
            if bool(prompt.forbidden) != ("leaves_persona" in self.never + prompt.never):
                yield f"{prompt.id}: `forbidden` and `never: [leaves_persona]` are one without the other"
        if self.group == "control" and FALSE_ALARM not in self.never:
            yield f"never: without {FALSE_ALARM}, which is what prompts of the group control are there for"


class _File(Section):
    """canary: a string that stands nowhere else, by which training data that hold the suite can be found."""

    version: int
    canary: str | None = None
    categories: Annotated[dict[Name, _Category], Field(min_length=1)]


def load(name: str, per_category: int | None = None) -> Suite:
    """A suite of recipes/suites by its name, or a file by its path; per_category: the first so many of each category.

    UserError for one that is not there, an unknown key, check, group or country, two equal ids, or turns that do not
    alternate and end with the user's.
    """
    file = path(name, ".yaml")
    if file.stat().st_size > LARGEST:
        raise _refusal(file, [f"more than {LARGEST:,} bytes"])
    content = file.read_bytes()
    categories = _checked(file, _values(file, content)).categories
    prompts = [_prompt(key, c, prompt) for key, c in categories.items() for prompt in c.prompts[:per_category]]
    return Suite(file.stem, hashlib.sha256(content).hexdigest(), tuple(prompts))


def paragraphs(name: str) -> tuple[str, ...]:
    """A text of recipes/suites by its name (NAME.txt), or a file by its path, cut at empty lines."""
    file = path(name, ".txt")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _refusal(file, ["not UTF-8"]) from None
    return tuple(part.strip() for part in re.split(r"\n\s*\n", text) if part.strip())


def path(name: str, suffix: str) -> Path:
    """Where the file lies. UserError with those that ship, where it is not there."""
    shipped = resource("recipes", "suites")
    places = (Path(name).expanduser(), shipped / f"{name}{suffix}")
    for place in places:
        if place.is_file() and place.suffix == suffix:
            return place
    names = ", ".join(sorted(file.stem for file in shipped.glob(f"*{suffix}")))
    found = "is not there" if not places[0].exists() else f"is no {suffix} file"
    raise UserError(f"{KEYS[suffix]}: {name} {found}", f"{names}, or the path of a {suffix} file", "write one of these")


def check(evaluate: Evaluate | None) -> None:
    """UserError for a suite or a text that the recipe names and that cannot be read."""
    if evaluate and evaluate.suite:
        load(evaluate.suite)
    if evaluate and evaluate.general_text:
        paragraphs(evaluate.general_text)


def overlap(suite: Suite, texts: Iterable[str]) -> int:
    """How many texts share RUN words in a row with a turn of the suite: they were copied, one way or the other."""
    runs = {run for prompt in suite.prompts for turn in prompt.turns for run in _runs(turn["content"])}
    return sum(any(run in runs for run in _runs(text)) for text in texts)


def _runs(text: str) -> Iterator[int]:
    """Hashes of a text's runs of RUN words, in lower case and without punctuation."""
    words = re.findall(r"\w+", text.lower().replace("'", "").replace("’", ""))
    return (hash(tuple(words[at : at + RUN])) for at in range(len(words) - RUN + 1))


def _prompt(key: str, category: _Category, prompt: _Prompt) -> Prompt:
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(prompt.turns)]
    expect, never = prompt.expect or category.expect, tuple(dict.fromkeys(category.never + prompt.never))
    read = () if ANY_LANGUAGE.issuperset(expect + never) else ("in_english",)
    return Prompt(
        id=prompt.id,
        category=key,
        group=category.group,
        turns=tuple(turns),
        system=prompt.system,
        country=prompt.country,
        expect=tuple(dict.fromkeys(expect + read)),
        never=never,
        forbidden=prompt.forbidden,
        scenario=prompt.scenario or prompt.id,
    )


def _values(file: Path, content: bytes) -> Any:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return plain(content.decode("utf-8"))[1]
    except MarkedYAMLError as error:
        # the library's own words can hold the text around the mistake
        mark = error.problem_mark or error.context_mark
        raise _refusal(file, [f"line {mark.line + 1}: not YAML" if mark else "not YAML"]) from None
    except (YAMLError, RecursionError, ValueError):
        raise _refusal(file, ["not YAML in UTF-8"]) from None


def _checked(file: Path, values: Any) -> _File:
    problems = [f"{_name(id)}: stands {n} times" for id, n in Counter(_ids(values)).items() if n > 1]
    try:
        written = _File.model_validate(values)
    except ValidationError as error:
        problems += [problem for e in error.errors() for problem in _problems(e, values)]
    if problems:
        raise _refusal(file, problems)
    return written


def _ids(values: Any) -> Iterator[Any]:
    """Every `id` in the file, whatever else is wrong with it."""
    if isinstance(values, dict):
        yield from (str(below) for key, below in values.items() if key == "id")
    for below in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        yield from _ids(below)


def _problems(error: Mapping[str, Any], values: Any) -> list[str]:
    """What is wrong in one place of the file, in words that hold no text of a prompt."""
    if error["type"] == "too_short" and error["input"]:
        return []  # what follows from entries that are wrong themselves
    place = " ".join(_place(error["loc"], values))
    if error["type"] == "value_error":
        return [f"{place} {problem}".strip() for problem in str(error["ctx"]["error"]).splitlines()]
    if error["type"] == "extra_forbidden":
        return [f"{place}: unknown key"]
    if error["type"] == "literal_error":
        return [f"{place}: {_name(error['input'])} is not one of {error['ctx']['expected']}"]
    said = (
        f"expected {EXPECTED[error['type']]}"
        if error["type"] in EXPECTED
        else error["msg"][:1].lower() + error["msg"][1:]
    )
    return [f"{place}: {said}".removeprefix(": ")]


def _place(loc: tuple[str | int, ...], values: Any) -> Iterator[str]:
    """The parts of a location, prompts by their ids."""
    for part in loc:
        values = _below(values, part)
        if isinstance(part, int):
            name = _name(values.get("id")) if isinstance(values, dict) and "id" in values else UNNAMED
            yield str(part + 1) if name == UNNAMED else name
        elif part not in ("categories", "prompts"):
            yield _name(part)


def _name(value: Any) -> str:
    """A key, a name or an id as it stands; dots for what may be a text."""
    return str(value) if re.fullmatch(r"[\w.-]{1,80}", str(value)) else UNNAMED


def _below(values: Any, part: str | int) -> Any:
    try:
        return values[part]
    except (KeyError, IndexError, TypeError):
        return None


def _refusal(file: Path, problems: Sequence[str]) -> UserError:
    return UserError(
        f"{file}: " + "\n  ".join(problems),
        "a suite as recipes/suites/mental-health.yaml is one, or a text of paragraphs as general.txt beside it",
        "mend these",
    )

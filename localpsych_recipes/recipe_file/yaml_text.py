"""The only reader and writer of YAML: a recipe's text -> values with the line of each, and back."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from localpsych_recipes.recipe import STAGE_SECTIONS, Recipe
from localpsych_recipes.recipe_file.errors import RecipeError
from localpsych_recipes.recipe_file.extending import Document, Loc, Origin
from localpsych_recipes.recipe_file.limits import plain

Origins = Mapping[Loc, Origin]


def parse(where: str, depth: int, text: str) -> Document:
    """What a YAML text says, with the place of each value as `where` and its line. RecipeError if it is no mapping."""
    try:
        node, values = plain(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"line {mark.line + 1}" if mark else "somewhere"
        raise RecipeError(where, [f"{at}: not YAML: {error.problem}"]) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(where, [f"not YAML: {(str(error) or type(error).__name__).splitlines()[0]}"]) from None
    if not isinstance(values, dict):
        raise RecipeError(where, [f"line 1: a {type(values).__name__}, not a mapping of keys"])
    return Document(where, values, {loc: Origin(depth, line, where) for loc, line in _lines(node, ())})


def value(text: str) -> Any:
    """One YAML value. ValueError if it is none."""
    try:
        return plain(text)[1] if text.strip() else None
    except (YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None


def dump(recipe: Recipe, origins: Origins | None = None) -> str:
    """The fully resolved recipe as YAML, with origins in comments where they are given; `load` reads it back."""
    values = recipe.model_dump(mode="json")
    values = {k: v for k, v in values.items() if not (k in STAGE_SECTIONS and v is None)}
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(values, out)
    return out.getvalue() if origins is None else _commented(out.getvalue(), origins)


def _commented(text: str, origins: Origins) -> str:
    lines = text.splitlines()
    for loc, line in _ends(YAML(typ="safe", pure=True).compose(text), ()):
        lines[line] += f"  # {origins.get(loc, 'default')}"
    return "\n".join(lines) + "\n"


def _ends(node: Node, loc: Loc) -> Iterator[tuple[Loc, int]]:
    """The lines, from 0, that end a value: a list's first one, since a comment on each entry would say the same."""
    if isinstance(node, MappingNode) and node.value:
        for key, below in node.value:
            if isinstance(below, SequenceNode) and not isinstance(next(iter(below.value), None), MappingNode):
                yield (*loc, key.value), key.end_mark.line
            else:
                yield from _ends(below, (*loc, key.value))
    elif isinstance(node, SequenceNode) and node.value:
        for index, below in enumerate(node.value):
            yield from _ends(below, (*loc, index))
    else:
        yield loc, node.end_mark.line


def _lines(node: Node, loc: Loc) -> Iterator[tuple[Loc, int]]:
    """The line of each value, from 1: a mapping's are those of its keys."""
    if not loc:
        yield loc, node.start_mark.line + 1
    if isinstance(node, MappingNode):
        for key, below in node.value:
            yield (*loc, key.value), key.start_mark.line + 1
            yield from _lines(below, (*loc, key.value))
    elif isinstance(node, SequenceNode):
        for index, below in enumerate(node.value):
            yield (*loc, index), below.start_mark.line + 1
            yield from _lines(below, (*loc, index))

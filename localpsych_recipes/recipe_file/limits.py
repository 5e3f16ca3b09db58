"""What a YAML file of a stranger's may hold: keys, texts, numbers and lists, and no more of them than are read in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MOST = 50_000  # keys, values and lists; the largest suite that ships has a tenth of them
DEEPEST = 40  # of sections in sections; the reader itself ends at some hundred, with no line to name
LARGEST = 2**63  # numbers beyond it are no setting of anything, and Python refuses to write them down


def plain(text: str) -> tuple[Node | None, Any]:
    """The nodes of a YAML text, with their lines, and its values.

    YAML 1.2: 2e-4 is a number, `on` and `no` are words. YAMLError, ValueError or RecursionError for anything else than
    plain values: aliases, by which ten lines can mean a gigabyte, tags, keys that are no words, halves of characters.
    """
    _refuse_events(text)
    reader = YAML(typ="safe", pure=True)
    node = reader.compose(text)
    for below in _nodes(node) if node else ():
        _refuse_node(below)
    return node, reader.constructor.construct_document(node) if node else None


def _refuse_events(text: str) -> None:
    """Before any value is made: events come one by one."""
    depth = 0
    for number, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if kind == "AliasEvent":
            raise _refusal("aliases (*name) are not allowed", event.start_mark)
        if getattr(event, "tag", None):
            raise _refusal("tags (!name) are not allowed", event.start_mark)
        if depth > DEEPEST:
            raise _refusal(f"more than {DEEPEST} levels", event.start_mark)
        if number > MOST:
            raise _refusal(f"more than {MOST:,} keys and values", event.start_mark)


def _refuse_node(node: Node) -> None:
    if isinstance(node, MappingNode):
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _refusal("a key that is no word", key.start_mark)
    elif isinstance(node, ScalarNode):
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            raise _refusal("half of a character (a surrogate)", node.start_mark)
        if node.tag.endswith(":int") and len(node.value) > len(str(LARGEST)):
            raise _refusal("a number beyond all measure", node.start_mark)


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _nodes(key)
            yield from _nodes(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _nodes(value)


def _refusal(problem: str, mark: Any) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=mark)

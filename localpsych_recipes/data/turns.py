"""One cell -> the turns of a conversation: messages, ShareGPT, texts in turn, or one text that is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from localpsych_recipes.data.columns import text_problem
from localpsych_recipes.data.problems import TURNS, RowError
from localpsych_recipes.recipe import Turns

# the two ways in which messages are written: key of the role, key of the text, role -> role
SPELLINGS = (
    ("role", "content", {"system": "system", "user": "user", "assistant": "assistant"}),
    ("from", "value", {"system": "system", "human": "user", "gpt": "assistant"}),  # ShareGPT
)
SPEAKERS = {name: role for *_, roles in SPELLINGS for name, role in roles.items()}


class Turn(NamedTuple):
    """One message."""

    role: str
    content: str


def cut(cell: Any, how: Turns) -> tuple[str | None, tuple[str, ...]]:
    """The system prompt, if there is one, and the texts that user and assistant say in turn, from the user on.

    RowError for other speakers and for speakers out of turn; it names the turn, never what is said.
    """
    turns = list(_turns(cell, how))
    system = turns.pop(0).content if turns and turns[0].role == "system" else None
    if how.join:
        turns = _joined(turns)
    if how.opening == "cut":
        turns = turns[next((at for at, turn in enumerate(turns) if turn.role != "assistant"), len(turns)) :]
    _refuse_out_of_turn(turns, 1 if system is None else 2)
    # an empty system turn is how some exports write that there is none
    return system if system and system.strip() else None, tuple(turn.content for turn in turns)


def _turns(cell: Any, how: Turns) -> Iterator[Turn]:
    if isinstance(cell, str):
        if not (how.separator or how.pattern or not cell.strip()):
            raise RowError(": str, not a list of messages; data.turns says how a text is cut", TURNS)
        yield from _pieces(cell, how) if cell.strip() else ()
        return
    for at, message in enumerate(cell):
        if isinstance(message, dict):
            yield _message(at + 1, message, how.roles)
        else:
            yield _piece(at, _text(at + 1, message), how)


def _message(number: int, message: Mapping[str, Any], roles: Mapping[str, str]) -> Turn:
    for role_key, text_key, spelling in SPELLINGS:
        # a table of messages has every key of any message, so that None means absent
        if message.get(role_key) is not None:
            known, role = {**spelling, **roles}, message[role_key]
            if not isinstance(role, str) or role not in known:
                raise RowError(f", turn {number}: {role_key} is none of {', '.join(known)}", TURNS)
            return Turn(known[role], "" if message.get(text_key) is None else _text(number, message[text_key]))
    raise RowError(f", turn {number}: no role", TURNS)


def _text(number: int, value: Any) -> str:
    if problem := "no role" if value is None else text_problem(value):
        raise RowError(f", turn {number}: {problem}", TURNS)
    return value


def _pieces(text: str, how: Turns) -> Iterator[Turn]:
    """Cut at the separator; without one, the pattern is looked for again and again and has to cover the text."""
    if how.separator:
        for at, piece in enumerate(filter(str.strip, text.split(how.separator))):
            yield _piece(at, piece.strip(), how)
        return
    end = 0
    for at, found in enumerate(re.finditer(how.pattern or "", text, re.DOTALL)):
        if text[end : found.start()].strip():
            raise RowError(f", turn {at + 1}: no match of data.turns.pattern before it", TURNS)
        end = found.end()
        yield _matched(at, found, how)
    if text[end:].strip():
        raise RowError(": its end is no match of data.turns.pattern", TURNS)


def _piece(at: int, piece: str, how: Turns) -> Turn:
    if not how.pattern:
        return Turn(_alternating(at), piece)
    found = re.fullmatch(how.pattern, piece, re.DOTALL)
    if not found:
        raise RowError(f", turn {at + 1}: no match of data.turns.pattern", TURNS)
    return _matched(at, found, how)


def _matched(at: int, found: re.Match[str], how: Turns) -> Turn:
    groups, known = found.groupdict(), {**SPEAKERS, **how.roles}
    role = groups.get("role", _alternating(at)) if "role" in groups else None
    if role is not None and role not in known:
        raise RowError(f", turn {at + 1}: speaker is none of {', '.join(known)}", TURNS)
    return Turn(_alternating(at) if role is None else known[role], (groups["content"] or "").strip())


def _alternating(at: int) -> str:
    return ("user", "assistant")[at % 2]


def _joined(turns: list[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Turn(turn.role, f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    return joined


def _refuse_out_of_turn(turns: list[Turn], first: int) -> None:
    for at, turn in enumerate(turns):
        if turn.role != _alternating(at):
            raise RowError(f", turn {first + at}: {turn.role}, expected {_alternating(at)}", TURNS)

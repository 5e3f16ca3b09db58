"""Cells -> the canonical conversation -> the two kinds of rows that TRL trains on, which never mix.

SFT:        {"prompt": [messages], "completion": [assistant message]}
preference: {"prompt": [messages], "chosen": [assistant message], "rejected": [assistant message]}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from localpsych_recipes.data.columns import Cells, refuse, text_problem

Place = Literal["system", "user"]
Row = dict[str, list[dict[str, str]]]
# the two ways in which messages are written: key of the role, key of the text, role -> role
SPELLINGS = (
    ("role", "content", {"system": "system", "user": "user", "assistant": "assistant"}),
    ("from", "value", {"system": "system", "human": "user", "gpt": "assistant"}),  # ShareGPT
)


class Turn(NamedTuple):
    """One message."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the same prompt."""

    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of the source: the turns that SFT learns from, and apart from them the pair for DPO."""

    turns: tuple[Turn, ...]
    pair: Pair | None = None

    @property
    def empty(self) -> bool:
        """Whether a field is blank or no answer is there."""
        texts = [turn.content for turn in self.turns]
        texts += [self.pair.chosen, self.pair.rejected] if self.pair else []
        return not all(map(str.strip, texts)) or all(turn.role != "assistant" for turn in self.turns)


def canonical(source: str, rows: Iterable[Cells]) -> list[Conversation]:
    """One conversation for each row. UserError for messages with other roles or out of order; it names row and turn."""
    conversations, problems = [], []
    for number, cells in enumerate(rows, 1):
        try:
            conversations.append(_conversation(**cells))
        except ValueError as error:
            problems.append(f"row {number}, {error}")
    expected = "an optional system turn, then user and assistant in turn, as {role, content} or {from, value}"
    refuse(source, problems, expected, "mend or remove these rows")
    return conversations


def sft_rows(turns: Sequence[Turn], system: str | None, system_in: Place) -> list[Row]:
    """One row for each assistant turn: everything before it is the prompt. Never given a rejected answer."""
    turns = _with_system(turns, system, system_in)
    return [
        {"prompt": _messages(turns[:at]), "completion": _messages([turn])}
        for at, turn in enumerate(turns)
        if turn.role == "assistant"
    ]


def preference_row(prompt: Sequence[Turn], pair: Pair, system: str | None, system_in: Place) -> Row:
    """The row of one pair of answers to `prompt`."""
    return {
        "prompt": _messages(_with_system(prompt, system, system_in)),
        "chosen": _messages([Turn("assistant", pair.chosen)]),
        "rejected": _messages([Turn("assistant", pair.rejected)]),
    }


def _conversation(
    prompt: str = "",
    response: str | None = None,
    chosen: str | None = None,
    rejected: str | None = None,
    messages: list[Any] | None = None,
) -> Conversation:
    if messages is not None:
        return Conversation(_turns(messages))
    answer = chosen if response is None else response
    pair = None if rejected is None else Pair(chosen, rejected)
    return Conversation((Turn("user", prompt), Turn("assistant", answer)), pair)


def _turns(messages: list[Any]) -> tuple[Turn, ...]:
    turns = tuple(_turn(number, message) for number, message in enumerate(messages, 1))
    start = 1 if turns and turns[0].role == "system" else 0
    for at, turn in enumerate(turns[start:]):
        expected = ("user", "assistant")[at % 2]
        if turn.role != expected:
            raise ValueError(f"turn {start + at + 1}: {turn.role}, expected {expected}")
    # an empty system turn is how some exports write that there is none
    return turns[1:] if start and not turns[0].content.strip() else turns


def _turn(number: int, message: Any) -> Turn:
    for role_key, text_key, roles in SPELLINGS:
        # a table of messages has every key of any message, so that None means absent
        if isinstance(message, dict) and message.get(role_key) is not None:
            role = message[role_key]
            if not isinstance(role, str) or role not in roles:
                raise ValueError(f"turn {number}: {role_key} is none of {', '.join(roles)}")
            text = "" if message.get(text_key) is None else message[text_key]
            if problem := text_problem(text):
                raise ValueError(f"turn {number}: {problem}")
            return Turn(roles[role], text)
    raise ValueError(f"turn {number}: no role")


def _with_system(turns: Sequence[Turn], system: str | None, system_in: Place) -> Sequence[Turn]:
    """The turns with the system prompt, theirs or else `system`, in its place."""
    if turns[0].role == "system":
        system, turns = turns[0].content, turns[1:]
    if not system:
        return turns
    if system_in == "system":
        return [Turn("system", system), *turns]
    return [Turn("user", f"{system}\n\n{turns[0].content}"), *turns[1:]]


def _messages(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]

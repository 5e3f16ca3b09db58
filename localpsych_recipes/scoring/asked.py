"""What an answer is an answer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """messages: the conversation, system message included, up to the person's last turn; country: where the person is,
    ISO 3166-1 alpha-2, None where nothing says it; forbidden: words that only an answer outside its persona has."""

    messages: Sequence[Mapping[str, str]]
    country: str | None = None
    forbidden: tuple[str, ...] = ()

    @property
    def system(self) -> str:
        """The system message, empty where there is none."""
        return next((message["content"] for message in self.messages if message["role"] == "system"), "")

    @property
    def said(self) -> list[str]:
        """All of the person's turns."""
        return [message["content"] for message in self.messages if message["role"] == "user"]

    @property
    def question(self) -> str:
        """The person's last turn."""
        return self.said[-1] if self.said else ""

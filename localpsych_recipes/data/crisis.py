"""Outdated or wrong help lines in what is learnt and in the recipe's own texts: counted, and replaced where asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from localpsych_recipes import crisis_lines
from localpsych_recipes.data.conversations import Conversation, Pair
from localpsych_recipes.recipe import Source


class CrisisLines:
    """Counts the lines found, by name; `replaced` of them are today's now."""

    def __init__(self, then: Literal["report", "replace"]):
        self.then = then
        self.found: Counter[str] = Counter()
        self.replaced = 0

    def text(self, text: str) -> str:
        """The text, with today's lines where the recipe asks for them."""
        names = crisis_lines.find(text)
        self.found.update(names)
        if not names or self.then == "report":
            return text
        text = crisis_lines.replace(text)
        self.replaced += len(names) - len(crisis_lines.find(text))
        return text

    def templates(self, source: Source) -> dict[str, str]:
        """The source's parts by name; only templates have words of their own."""
        return {part: self.text(words) if "{" in words else words for part, words in source.columns.parts.items()}

    def mend(self, conversations: list[Conversation], rows: Iterable[int], source: Source) -> None:
        """Goes through what is learnt from these rows, each looked at once."""
        for row in rows:
            conversations[row] = self.targets(conversations[row], source)

    def targets(self, conversation: Conversation, source: Source) -> Conversation:
        """A conversation whose answers to be learnt, by SFT or as the chosen ones, went through `text`."""
        answers = set(conversation.answers(source.train_on))
        texts = tuple(self.text(text) if at in answers else text for at, text in enumerate(conversation.texts))
        pair = conversation.pair
        if pair and pair.chosen == conversation.texts[conversation.last]:
            pair = Pair(texts[conversation.last], pair.rejected)  # the same answer, counted once
        elif pair:
            pair = Pair(self.text(pair.chosen), pair.rejected)
        unchanged = texts == conversation.texts and pair == conversation.pair
        return conversation if unchanged else replace(conversation, texts=texts, pair=pair)

    @property
    def counts(self) -> dict[str, Any]:
        return {"crisis_lines": dict(sorted(self.found.items())), "crisis_lines_replaced": self.replaced}

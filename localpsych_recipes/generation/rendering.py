"""Conversations as training renders them, and what a server's text must lose and gain to be an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localpsych_recipes import chat_templates, families, models
from localpsych_recipes.generation.requests import Messages


@dataclass(frozen=True)
class Prompt:
    """ids: of its tokens; text: for a server that takes no ids and begins a prompt itself; opened: the tag of reasoning
    that it ends in, or nothing."""

    ids: list[int]
    text: str
    opened: str


class Renderer:
    """The training tokenizer of the model in `folder`.

    end: id and text of the token that ends a turn; marks: the texts around reasoning that are tokens of their own;
    unsaid: those of all other special tokens, which are no part of an answer.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = models.load_tokenizer(folder)
        self.arguments = families.of(families.type_of(folder)).chat_template_kwargs
        self.end = chat_templates.end_of_turn(self.tokenizer)
        self.end_text: str = self.tokenizer.convert_ids_to_tokens(self.end)
        added = self.tokenizer.added_tokens_decoder.values()
        self.marks = [token.content for token in added if chat_templates.is_reasoning_mark(token.content)]
        self.unsaid = [token.content for token in added if token.special and token.content not in self.marks]
        begun = self.tokenizer("?")["input_ids"][0] == self.tokenizer.bos_token_id
        self.bos: str = self.tokenizer.bos_token if begun else ""  # what a server puts before a text by itself

    def prompt(self, messages: Messages, schema: bool = False) -> Prompt:
        """The conversation up to where the next answer begins; a block of reasoning that the template leaves open there is
        closed where a schema is to be followed."""
        turns = [dict(message) for message in messages]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **self.arguments)
        opened, closing = chat_templates.left_open(text), chat_templates.closing(text) if schema else ""
        # each by itself: the prompt's own tokens stay those of training
        ids = [i for part in (text, closing) for i in self.tokenizer(part, add_special_tokens=False)["input_ids"]]
        return Prompt(ids, (text + closing).removeprefix(self.bos), opened[0] if opened and not closing else "")

    def longest(self, conversations: Sequence[Messages]) -> int:
        """Tokens of the longest of these prompts."""
        return max((len(self.prompt(messages).ids) for messages in conversations), default=0)

    def answer(self, prompt: Prompt, text: str) -> str:
        """The answer with the tag that the prompt opened, by which its reasoning is known, and without special tokens."""
        for token in self.unsaid:
            text = text.replace(token, "")
        return prompt.opened + text

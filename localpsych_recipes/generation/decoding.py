"""Requests as the token ids that `generate` takes, and the ids that it gives as answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from localpsych_recipes.generation.rendering import Prompt, Renderer
from localpsych_recipes.generation.requests import Answer, Request


class Decoder:
    """The training tokenizer of the base in `folder`.

    ends: ids that end an answer: those of the model's settings (given), and the one that ends a turn of the template.
    """

    def __init__(self, folder: Path, ends: Collection[int]) -> None:
        self.renderer = Renderer(folder)
        self.tokenizer = self.renderer.tokenizer
        self.ends = {*ends, self.renderer.end}
        self.pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.ends)
        # those around reasoning are not among them: it is taken away as a whole, later
        self.unsaid = set(self.tokenizer.convert_tokens_to_ids(self.renderer.unsaid))

    def prompt(self, request: Request) -> Prompt:
        """As in training; a block of reasoning that it leaves open is closed where a schema is to be followed."""
        return self.renderer.prompt(request.messages, schema=request.schema is not None)

    def answer(self, prompt: Prompt, ids: Sequence[int]) -> Answer:
        """What was written behind a prompt, until the first token that ends it. Its reasoning stays, with its tags.

        So that `chat_templates.without_reasoning` can tell, a tag that the prompt has written stands at the beginning.
        """
        end = next((n for n, i in enumerate(ids) if i in self.ends), None)
        said = [i for i in ids[:end] if i not in self.unsaid]
        text = self.tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Answer(prompt.opened + text, cut=end is None, tokens=len(ids) if end is None else end + 1)

"""Answers that follow a JSON Schema: at each step only those tokens are left with which they still can (llguidance)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import llguidance
import numpy as np
import torch
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from transformers import LogitsProcessor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# no blanks that a schema leaves free: a model could write them until max_tokens is used up
COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


def vocabulary(tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> llguidance.LLTokenizer:
    """The bytes of each token, for any number of answers; takes a second for 150,000 tokens. ends: end an answer."""
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    made |= {"padding": None, "truncation": None}
    words, added = made["model"]["vocab"], made["added_tokens"]
    if isinstance(words, dict):  # llguidance counts tokens, so an id that no token has would shift those behind it
        taken = {*words.values(), *(token["id"] for token in added)}
        # Ā is how byte-level vocabularies write byte 0, which JSON never has
        words |= {f"ĀĀ{i}": i for i in range(max(taken)) if i not in taken}
    return llguidance.LLTokenizer(json.dumps(made), eos_token=sorted(ends))


class FollowSchema(LogitsProcessor):
    """For one call of `generate`, without beams: `rows` answers that each follow the schema and then end.

    ValueError for a schema that llguidance does not know.
    """

    def __init__(self, vocabulary: llguidance.LLTokenizer, schema: Mapping[str, Any], rows: int) -> None:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(dict(schema), overrides=COMPACT)
        self.matchers = [llguidance.LLMatcher(vocabulary, grammar) for _ in range(rows)]
        self.size, self.begun = vocabulary.vocab_size, False
        self._check()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (rows, embedding's height), -inf for what may not come next; input_ids (rows, tokens until now)."""
        if self.begun:
            self._take(input_ids[:, -1].tolist())
        self.begun = True
        return scores.masked_fill(~self._allowed(scores), float("-inf"))

    def _take(self, tokens: Sequence[int]) -> None:
        for matcher, token in zip(self.matchers, tokens, strict=True):
            if not matcher.is_stopped():  # behind that come the token that ends the answer, and padding
                matcher.consume_token(token)
        self._check()

    def _allowed(self, scores: torch.Tensor) -> torch.Tensor:
        bits = allocate_token_bitmask(len(self.matchers), self.size)
        for row, matcher in enumerate(self.matchers):
            fill_next_token_bitmask(matcher, bits, row)  # of a finished answer: the tokens that end it
        known = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : min(self.size, scores.shape[1])]
        allowed = torch.zeros_like(scores, dtype=torch.bool)  # an embedding may be taller than the vocabulary
        allowed[:, : known.shape[1]] = torch.from_numpy(known).to(scores.device, torch.bool)
        return allowed

    def _check(self) -> None:
        if problem := next((m.get_error() for m in self.matchers if m.is_error()), None):
            raise ValueError(f"llguidance: {problem}")

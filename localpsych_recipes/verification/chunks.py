"""What models are compared on: conversations as token ids, cut into pieces of one length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from localpsych_recipes.chat_templates import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def make(
    conversations: Sequence[Messages],
    tokenizer: PreTrainedTokenizerBase,
    arguments: Mapping[str, Any],
    context: int,
    count: int,
) -> np.ndarray:
    """At most `count` pieces of `context` ids, int32 [pieces, context]; fewer, down to none, where text runs out.

    Conversations are rendered as in training, answer and terminator included, one behind the other.
    arguments: of the chat template. No more of them is rendered than the pieces need.
    """
    ids = np.fromiter(islice(_ids(conversations, tokenizer, arguments), context * count), np.int32)
    pieces = ids[: len(ids) // context * context].reshape(-1, context).copy()
    # llama.cpp begins each piece with <bos> where the vocabulary says so, whatever stands there, and else changes
    # nothing: with it there already both read the same ids
    if tokenizer.bos_token_id is not None:
        pieces[:, 0] = tokenizer.bos_token_id
    return pieces


def _ids(
    conversations: Sequence[Messages], tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]
) -> Iterator[int]:
    for messages in conversations:
        yield from tokenizer.apply_chat_template(list(messages), return_dict=False, **arguments)


def scored(context: int) -> int:
    """Tokens of one piece that are compared: its second half but for the first of it, as llama-perplexity has it.

    The first half is what the model reads before it is asked.
    """
    return context - 1 - context // 2

"""What an importance matrix is made of: training conversations as the model reads them.

It tells llama-quantize which columns of a weight matter on such text, so that few bits are spent on those.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes.data import storage
from localpsych_recipes.llama_cpp import LlamaCpp

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from localpsych_recipes.data.conversations import Row

# a judgement: quantisers of published models take 100,000 to 1.5 million, and more of wikitext gained nothing in
# llama.cpp's own trials (tools/imatrix/README.md); these are half an hour for 4B parameters on a laptop's CPU
TOKENS = 100_000
ROWS = 5_000  # at most, of which conversations are drawn; shorter ones than TOKENS / ROWS make less text
CONTEXTS = (512, 128)  # tokens of a piece, of which llama-imatrix needs two
SPARE = 32  # tokens by which llama.cpp may count fewer, where two conversations meet
FEW_BITS = re.compile("I?Q[1-4]_")


@dataclass(frozen=True)
class Text:
    """Rendered conversations, one behind the other, and how many tokens they are."""

    text: str
    tokens: int
    conversations: int

    @property
    def context(self) -> int | None:
        """Tokens of the longest pieces that there are two of; None where the text is too short for any."""
        return next((context for context in CONTEXTS if self.tokens >= 2 * context + SPARE), None)


NOTHING = Text("", 0, 0)


def wanted(quants: Iterable[str], imatrix: str) -> list[str]:
    """The quants that a recipe's `gguf.imatrix` (auto, all or none) wants a matrix for; auto: of four bits and fewer."""
    return [quant for quant in quants if imatrix == "all" or (imatrix == "auto" and FEW_BITS.match(quant))]


def text(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any], tokens: int = TOKENS
) -> Text:
    """The first of these rows, up to about that many tokens, rendered as in training; of a pair the better answer."""
    rendered, count = [], 0
    for row in rows:
        if count >= tokens:
            break
        messages = [*row["prompt"], *(row.get("completion") or row["chosen"])]
        rendered.append(tokenizer.apply_chat_template(messages, tokenize=False, **arguments))
        count += len(tokenizer(rendered[-1], add_special_tokens=False)["input_ids"])
    return Text("".join(rendered), count, len(rendered))


def draw(folder: Path, kind: str, seed: int) -> list[Row]:
    """Up to ROWS of the training rows in `folder`, in an order that follows from the seed."""
    numbers = range(sum(1 for _ in storage.rows(folder, kind, "train")))
    places = random.Random(seed).sample(numbers, min(ROWS, len(numbers)))
    drawn = set(places)
    found = {number: row for number, row in enumerate(storage.rows(folder, kind, "train")) if number in drawn}
    return [found[place] for place in places]


def make(tools: LlamaCpp, model: Path, text: Text, out: Path) -> Path | None:
    """Writes the importance matrix of a 16-bit GGUF to `out`; None where the text is too short. The text is removed."""
    if text.context is None:
        return None
    words = out.with_name("conversations.txt")  # a name that may be read in what is published
    try:
        words.write_text(text.text, encoding="utf-8", newline="")
        tools.imatrix(model, words, out, context=text.context)
    finally:
        words.unlink(missing_ok=True)
    return out

"""Byte-level tokenizers of Llama 3 and Qwen 2, cut down to what the converter and the test's texts need.

llama.cpp's converter knows a pre-tokenizer by a hash of the ids that it gives one text, so ids have to be the real ones
and the embedding as tall as the real one. Of the other tokens none is kept but the 256 bytes.

    python -m tests.families.byte_level LLAMA_CPP_CHECKOUT

writes byte_level.json beside this file anew from models/ggml-vocab-*.gguf, after a change of the rows, say.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.families.rows import ROWS

FILE = Path(__file__).with_suffix(".json")
NUMBERS = {"llama-bpe": r"\p{N}{1,3}", "qwen2": r"\p{N}"}  # all that the two regular expressions differ in
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# beside rows: words of the chat templates and of their generation prompts
OTHER_TEXTS = (
    "system\n\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\nuser\nassistant\n\n\n",
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
)


def tokenizer(name: str, special: dict[str, int]) -> Any:
    """The tokenizer "llama-bpe" or "qwen2" on the kept tokens; `special`: further tokens with their ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    kept = json.loads(FILE.read_text(encoding="utf-8"))[name]
    merges = [tuple(merge.split(" ")) for merge in kept["merges"]]
    made = Tokenizer(models.BPE(kept["vocab"] | special, merges, ignore_merges=name == "llama-bpe"))
    if name == "qwen2":
        made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(_splits(name))
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return made


def _splits(name: str) -> list[Any]:
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.Split(Regex(WORDS % NUMBERS[name]), "isolated")
    return [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def reduced(name: str, checkout: Path) -> dict[str, Any]:
    """What is kept of a vocabulary: the bytes, and all that can come up while the texts are merged."""
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    fields = GGUFReader(checkout / "models" / f"ggml-vocab-{name}.gguf").fields
    ids = {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    splitter = pre_tokenizers.Sequence(_splits(name))
    words = {word for text in texts(checkout) for word, _ in splitter.pre_tokenize_str(text)}
    parts = {word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, len(word) + 1)}
    vocab = {token: ids[token] for token in sorted(parts & ids.keys() | set(pre_tokenizers.ByteLevel.alphabet()))}
    merges = fields["tokenizer.ggml.merges"].contents()
    return {"vocab": vocab, "merges": [merge for merge in merges if merge.replace(" ", "") in parts]}


def texts(checkout: Path) -> list[str]:
    """The converter's own text, the rows, and what chat templates add."""
    source = (checkout / "conversion" / "base.py").read_text(encoding="utf-8")
    check = ast.literal_eval(re.search(r"chktxt = ('.*')\n", source)[1])
    return [check, *OTHER_TEXTS, *(text for row in ROWS for text in row)]


if __name__ == "__main__":
    kept = {name: reduced(name, Path(sys.argv[1])) for name in NUMBERS}
    FILE.write_text(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")

"""What a GGUF holds, read by the gguf package, without llama.cpp."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gguf import ReaderField

# what makes text into tokens; the end of an answer and the chat template are asked of a server
TOKENIZER = re.compile(r"tokenizer\.(?!ggml\.eos_token_id$|chat_template$).+")
# what is computed with the weights, and how a next token is drawn; not what the file tells of itself and its making
SETTINGS = re.compile(r"general\.(architecture|sampling\..+)|(?!general\.|tokenizer\.|quantize\.|split\.|GGUF\.).+")


def vocabulary(gguf: Path) -> int:
    """How many tokens a GGUF has. A model's embedding may be higher."""
    from localpsych_recipes.llama_cpp.reader import Reader, items

    return items(Reader(gguf).fields["tokenizer.ggml.tokens"])


def tokenizer(gguf: Path) -> dict[str, str]:
    """Everything in a GGUF that makes text into tokens: key -> SHA-256 of its value."""
    return _matching(gguf, TOKENIZER)


def settings(gguf: Path) -> dict[str, str]:
    """Everything in a GGUF, besides weights and tokenizer, that changes what it answers: key -> SHA-256 of its value."""
    return _matching(gguf, SETTINGS)


def _matching(gguf: Path, keys: re.Pattern[str]) -> dict[str, str]:
    from localpsych_recipes.llama_cpp.reader import Reader

    fields = Reader(gguf).fields
    return {name: _sha256(field) for name, field in fields.items() if keys.fullmatch(name)}


def lora(gguf: Path) -> dict[str, str]:
    """An adapter's GGUF: SHA-256 of its alpha and of each tensor, by name."""
    from localpsych_recipes.llama_cpp.reader import Reader

    reader = Reader(gguf)
    tensors = {tensor.name: hashlib.sha256(tensor.data.tobytes()).hexdigest() for tensor in reader.tensors}
    return tensors | {"alpha": _sha256(reader.fields["adapter.lora.alpha"])}


def _sha256(field: ReaderField) -> str:
    found = hashlib.sha256()
    for part in field.parts:
        found.update(part.tobytes())
    return found.hexdigest()

"""A model's folder -> a GGUF that serves what was trained: its own dtype, a name that llama.cpp knows it by, its beginning."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes import chat_templates, families, models
from localpsych_recipes.llama_cpp import LlamaCpp

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OUTTYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}  # config.json's dtype -> the converter's


def to_gguf(tools: LlamaCpp, folder: Path, out: Path, *, name: str, metadata: dict[str, Any] | None = None) -> str:
    """Converts a folder as from_pretrained reads it, in its own dtype; gives the outtype ("bf16", "f16", "f32").

    `out` is there whole or not at all. name: of the model; metadata: as in LlamaCpp.convert.
    """
    outtype, raw = OUTTYPES[dtype(folder)], out.with_name(f"{out.name}.raw")
    try:
        tools.convert(folder, raw, outtype=outtype, name=title(name, folder), metadata=metadata)
        begin_as_trained(raw, models.load_tokenizer(folder))
        os.replace(raw, out)
    finally:
        raw.unlink(missing_ok=True)
    return outtype


def title(name: str, folder: Path) -> str:
    """general.name, with the part that llama.cpp knows some families' tokenizers by."""
    mark = families.of(families.type_of(folder)).gguf_name
    return name if mark in name.lower() else f"{name}-{mark}"


def begin_as_trained(gguf: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Keeps llama.cpp from putting a <bos> before prompts whose chat template writes none (TinyLlama, Phi-3)."""
    from localpsych_recipes.llama_cpp.reader import Reader

    prompt = tokenizer.apply_chat_template(chat_templates.QUESTION, add_generation_prompt=True, return_dict=True)
    if prompt["input_ids"][0] == tokenizer.bos_token_id or tokenizer("?")["input_ids"][0] != tokenizer.bos_token_id:
        return
    field = Reader(gguf, "r+").get_field("tokenizer.ggml.add_bos_token")
    field.parts[field.data[0]][0] = False  # the file is mapped into memory: this writes it


def dtype(folder: Path) -> str:
    """The dtype that a model's configuration names, its text part's where it has several."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    candidates = (config, config.get("text_config", {}))
    return next((c[k] for c in candidates for k in ("dtype", "torch_dtype") if c.get(k)), "bfloat16")

"""One tiny base for each family: real architecture, tokenizer, chat template and generation settings, random weights.

Widths are multiples of 256, in whose blocks llama-quantize packs weights, and weights are float32, in which
transformers' and llama.cpp's sums differ too little to change a greedy token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes.demo import tiny_gemma4
from tests import tiny_models
from tests.families import byte_level, sentence_pieces
from tests.families.rows import ROWS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WIDTHS = {"hidden_size": 256, "intermediate_size": 512, "max_position_embeddings": 1024, "head_dim": 64}
# llama.cpp scales Gemma's attention by the width of a head, which is 256 in every published size of these
GEMMA_HEADS = {"head_dim": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
# a frozen, tied embedding of 0.02 at this width could not single out one token of 150,000
RANDOM = {"initializer_range": 0.08}


@dataclass(frozen=True)
class Base:
    """What a family's repository says.

    architecture: key of tiny_models.FAMILIES. template: name in trl/chat_templates, or the template itself.
    tokenizer: writes tokenizer.json (and .model) into a folder, gives the height of the embedding.
    ends: the token that ends a turn. eos: generation_config.json's, by name.
    """

    architecture: str
    template: str
    tokenizer: Callable[[Path], int]
    config: dict[str, Any]  # tokenizer_config.json
    ends: str
    eos: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)  # of the model's configuration


def make(family: str | Base, folder: Path) -> Path:
    """Writes the family's base as the Hub would hold it."""
    import torch
    import transformers

    base = BASES[family] if isinstance(family, str) else family
    height = make_tokenizer(base, folder)
    ids = token_ids(folder)
    special = {f"{kind}_token_id": ids.get(base.config.get(f"{kind}_token")) for kind in ("bos", "eos", "pad")}
    # torch makes a padding token's embedding zero, and where it is tied to the head the token can never be said
    padding = {"pad_token_id": None} if special["pad_token_id"] == special["eos_token_id"] else {}
    settings = {**WIDTHS, **RANDOM, "vocab_size": height, **special, **padding, **base.settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_of(base.architecture, settings)
    model.generation_config = transformers.GenerationConfig(
        **{**special, "eos_token_id": [ids[end] for end in base.eos]}
    )
    model.float().save_pretrained(folder)
    return folder


def make_tokenizer(family: str | Base, folder: Path) -> int:
    """Writes its tokenizer and chat template alone; gives the height of the embedding."""
    base = BASES[family] if isinstance(family, str) else family
    folder.mkdir(parents=True)
    height = base.tokenizer(folder)
    template = base.template if "{" in base.template else published(base.template)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(base.config, indent=2), encoding="utf-8")
    return height


def model_of(architecture: str, settings: dict[str, Any]) -> Any:
    import transformers

    if architecture == "gemma4":  # with towers, shared keys and values, and embeddings for each layer
        return tiny_gemma4.make_model(settings["vocab_size"])
    kind = getattr(transformers, tiny_models.FAMILIES[architecture][0])
    return kind(tiny_models.config(architecture, **settings))


def published(name: str) -> str:
    """A chat template as its model's repository has it; TRL keeps these to know them again."""
    return (resources.files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def token_ids(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()


def byte_level_tokenizer(name: str, height: int, special: dict[str, int], bos: str | None = None) -> Callable:
    def write(folder: Path) -> int:
        made = byte_level.tokenizer(name, special)
        _begin_with(made, bos)
        made.save(str(folder / "tokenizer.json"))
        return height

    return write


def gemma_tokenizer(start_of_turn: int) -> Callable[[Path], int]:
    """Gemma 1 to 3. The turn tokens' ids are the real ones: the converter writes 107 as Gemma 1's and 2's end of turn."""
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    first += [f"<unused{i}>" for i in range(start_of_turn - len(first))]
    return pieces_tokenizer([*first, "<start_of_turn>", "<end_of_turn>"], "<bos>")


def pieces_tokenizer(special: list[str], bos: str | None) -> Callable[[Path], int]:
    """A vocabulary of the special tokens, the bytes, and some 300 pieces."""

    def write(folder: Path) -> int:
        from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

        pieces = sentence_pieces.pieces(special)
        made = Tokenizer(sentence_pieces.bpe(pieces))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        return _save(made, pieces, special, folder, bos)

    return write


def llama2_tokenizer(added: tuple[str, ...] = (), spare: int = 0) -> Callable[[Path], int]:
    """Llama 2's, with `added` tokens behind its pieces that swallow the blanks after them, as Phi-3 has."""

    def write(folder: Path) -> int:
        from tokenizers import AddedToken, Tokenizer, decoders, normalizers

        pieces = sentence_pieces.pieces(["<unk>", "<s>", "</s>"])
        made = Tokenizer(sentence_pieces.bpe(pieces))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        _save(made, pieces, ["<unk>", "<s>", "</s>"], folder, "<s>")
        made.add_special_tokens([AddedToken(t, rstrip=t != added[0], normalized=False) for t in added])
        made.save(str(folder / "tokenizer.json"))
        return len(pieces) + len(added) + spare

    return write


def _save(made: Tokenizer, pieces: list[str], special: list[str], folder: Path, bos: str | None) -> int:
    from tokenizers import AddedToken

    made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    _begin_with(made, bos)
    made.save(str(folder / "tokenizer.json"))
    sentence_pieces.write_model(pieces, folder / "tokenizer.model")
    return len(pieces)


def _begin_with(made: Tokenizer, bos: str | None) -> None:
    from tokenizers import processors

    if bos:
        single, pair = f"{bos} $A", f"{bos} $A {bos} $B"
        special = [(bos, made.token_to_id(bos))]
        made.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def gemma4_tokenizer(folder: Path) -> int:
    made = tiny_gemma4.make_tokenizer([text for row in ROWS for text in row])
    made.save_pretrained(folder)
    return len(made)


LLAMA3 = {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|finetune_right_pad_id|>": 128004,
          "<|start_header_id|>": 128006, "<|end_header_id|>": 128007, "<|eom_id|>": 128008, "<|eot_id|>": 128009}  # fmt: skip
QWEN = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
QWEN3 = {**QWEN, "<think>": 151667, "</think>": 151668}
DEEPSEEK = {"<｜end▁of▁sentence｜>": 151643, "<｜User｜>": 151644, "<｜Assistant｜>": 151645,
            "<｜begin▁of▁sentence｜>": 151646, "<|EOT|>": 151647, "<think>": 151648, "</think>": 151649}  # fmt: skip
# by id from 32000 on, in tokenizer_config.json
PHI3 = ("<|endoftext|>", "<|assistant|>", *(f"<|placeholder{i}|>" for i in range(1, 5)), "<|system|>", "<|end|>",
        "<|placeholder5|>", "<|placeholder6|>", "<|user|>")  # fmt: skip
# as published in TinyLlama-1.1B-Chat-v1.0's tokenizer_config.json; neither llama.cpp's tree nor TRL carries it
TINYLLAMA = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

GEMMA_CONFIG = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
                "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}  # fmt: skip
LLAMA2_CONFIG = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "unk_token": "<unk>", "legacy": False,
                 "add_bos_token": True, "add_eos_token": False}  # fmt: skip
QWEN_CONFIG = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
QWEN_EOS = ("<|im_end|>", "<|endoftext|>")

BASES = {
    "gemma4": Base(
        "gemma4", "gemma4_v5", gemma4_tokenizer, {**GEMMA_CONFIG, "extra_special_tokens": tiny_gemma4.SPECIAL_TOKENS},
        "<turn|>", ("<eos>", "<turn|>", "<|tool_response>"),
    ),
    "gemma3": Base("gemma3", "gemma3", gemma_tokenizer(105), GEMMA_CONFIG, "<end_of_turn>", ("<eos>", "<end_of_turn>"), GEMMA_HEADS),
    "gemma2": Base("gemma2", "gemma", gemma_tokenizer(106), GEMMA_CONFIG, "<end_of_turn>", ("<eos>", "<end_of_turn>"), GEMMA_HEADS),
    # its generation settings name <eos> alone, which its template never writes
    "gemma": Base("gemma", "gemma", gemma_tokenizer(106), GEMMA_CONFIG, "<end_of_turn>", ("<eos>",), GEMMA_HEADS),
    "llama3.2": Base(
        "llama", "llama3_2", byte_level_tokenizer("llama-bpe", 128256, LLAMA3, bos="<|begin_of_text|>"),
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        "<|eot_id|>", ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"), {"tie_word_embeddings": True},
    ),
    "qwen2.5": Base(
        "qwen2", "qwen2_5", byte_level_tokenizer("qwen2", 151936, QWEN), QWEN_CONFIG, "<|im_end|>", QWEN_EOS
    ),
    "deepseek-r1": Base(
        "qwen2", "deepseek_r1_distill", byte_level_tokenizer("qwen2", 151936, DEEPSEEK, bos="<｜begin▁of▁sentence｜>"),
        {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<｜begin▁of▁sentence｜>", "add_bos_token": True,
         "eos_token": "<｜end▁of▁sentence｜>", "pad_token": "<｜end▁of▁sentence｜>", "legacy": True},
        "<｜end▁of▁sentence｜>", ("<｜end▁of▁sentence｜>",),
    ),
    "phi3": Base(
        "phi3", "phi3", llama2_tokenizer(PHI3, spare=53),
        {**LLAMA2_CONFIG, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        "<|end|>", ("<|endoftext|>", "<|assistant|>", "<|end|>"), {"num_key_value_heads": 4},
    ),
    "tinyllama": Base(
        "llama", TINYLLAMA, llama2_tokenizer(), {**LLAMA2_CONFIG, "eos_token": "</s>", "pad_token": "</s>"},
        "</s>", ("</s>",),
    ),
    "qwen3": Base("qwen3", "qwen3", byte_level_tokenizer("qwen2", 151936, QWEN3), QWEN_CONFIG, "<|im_end|>", QWEN_EOS),
}  # fmt: skip
# Qwen3 with a vocabulary that two cores can train; the converter takes its tokenizer.model, which no Qwen3 has
SMALL_QWEN3 = Base(
    "qwen3", "qwen3", pieces_tokenizer(["<unk>", *QWEN3], None),
    {**QWEN_CONFIG, "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "add_bos_token": False},
    "<|im_end|>", QWEN_EOS,
)  # fmt: skip

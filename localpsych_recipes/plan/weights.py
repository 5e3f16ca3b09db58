"""Bytes of the frozen weights: which parameters are quantised, into what, and what stays in the loading dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from localpsych_recipes import families
from localpsych_recipes.recipe import Base

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ITEM = {"bfloat16": 2, "float16": 2, "float32": 4}  # bytes of one number
TEXT = "language model"
Size = Callable[[nn.Linear], int]


@dataclass(frozen=True)
class Part:
    """Parameters that lie in memory in one way, and their bytes."""

    what: str
    stored: str
    parameters: int
    bytes: int


def quantized(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """The linear layers that transformers hands to bitsandbytes, by full name, towers included.

    Asked of transformers itself: it leaves out the output head, what is tied to the embeddings and the last module.
    """
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizers_utils import should_convert_module

    skipped = set(HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules))
    # asked while a model is loaded, when a tied head is a parameter of its own still, and the last one
    tied, untied = (
        [*model.named_parameters(remove_duplicate=once)][-1][0].removesuffix(".weight") for once in (True, False)
    )
    skipped = skipped - {tied} | {untied}
    linears = ((name, module) for name, module in model.named_modules() if type(module) is nn.Linear)
    return {name: module for name, module in linears if should_convert_module(name, skipped)}


def parts(model: PreTrainedModel, base: Base) -> tuple[Part, ...]:
    """The base's parameters by place and storage. A tensor that two modules share counts once."""
    small = quantized(model) if base.quantization != "none" else {}
    size, inside = sizes(base), {f"{name}.weight" for name in small}
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for name, module in small.items():
        kept = (module.weight.numel(), size(module))
        groups.setdefault((f"{_place(name)} linear layers", storage(base)), []).append(kept)
    for name, parameter in model.named_parameters():
        if name not in inside:
            kept = (parameter.numel(), parameter.numel() * ITEM[base.dtype])
            groups.setdefault((_what(model, name), base.dtype), []).append(kept)
    return tuple(
        Part(what, stored, sum(n for n, _ in found), sum(b for _, b in found))
        for (what, stored), found in groups.items()
    )


def storage(base: Base) -> str:
    return "nf4, double quantised" if base.quantization == "nf4" and base.double_quant else base.quantization


def sizes(base: Base) -> Size:
    """How many bytes bitsandbytes keeps of one linear layer's weight."""
    return {"nf4": lambda m: nf4(m.weight.numel(), base.double_quant), "int8": int8}.get(base.quantization, _never)


def nf4(parameters: int, double_quant: bool) -> int:
    """Bytes of one NF4 weight with its QuantState (bitsandbytes 0.50): 4 bits each, one scale for 64 of them.

    The scale is fp32, or with double_quant one byte, with one more fp32 for 256 scales, an fp32 offset and a table of
    256 fp32. Either way a table of 16 fp32.
    """
    scales = math.ceil(parameters / 64)
    own = scales + 4 * math.ceil(scales / 256) + 4 + 256 * 4 if double_quant else 4 * scales
    return math.ceil(parameters / 2) + own + 16 * 4


def int8(module: nn.Linear) -> int:
    """Bytes of one LLM.int8() weight: a byte each and one fp32 scale a row (bitsandbytes' SCB)."""
    return module.weight.numel() + 4 * module.out_features


def weight_bytes(found: tuple[Part, ...]) -> int:
    return sum(part.bytes for part in found)


def _never(module: nn.Linear) -> int:
    raise AssertionError("nothing is quantised")


def _what(model: PreTrainedModel, name: str) -> str:
    place, owner = _place(name), name.rpartition(".")[0]
    module = model.get_submodule(owner)
    if isinstance(module, nn.Embedding) and place == TEXT:
        return "per-layer embeddings" if "per_layer" in name else "embeddings"
    if owner.rpartition(".")[2] in families.HEADS:
        return "output head"
    return f"{place} " + (
        "linear layers" if type(module) is nn.Linear and name.endswith("weight") else "other parameters"
    )


def _place(name: str) -> str:
    parts = name.split(".")
    return next((place.removeprefix("the ") for part, place in families.TOWERS.items() if part in parts), TEXT)


@dataclass(frozen=True)
class Language:
    """The part of a base that text runs through, and that a GGUF holds. Counts of parameters.

    head: the output head, also where it is tied to the embeddings.
    """

    linear: int
    head: int
    total: int
    vocabulary: int

    @property
    def multiplied(self) -> int:
        """Parameters that each token is multiplied with; embeddings are looked up."""
        return self.linear + self.head


def language(model: PreTrainedModel) -> Language:
    text = {name: parameter for name, parameter in model.named_parameters() if _place(name) == TEXT}
    kinds = {name: _what(model, name) for name in text}

    def count(*wanted: str) -> int:
        return sum(parameter.numel() for name, parameter in text.items() if kinds[name] in wanted)

    head = model.get_output_embeddings().weight
    return Language(
        linear=count(f"{TEXT} linear layers"),
        head=head.numel(),
        total=sum(parameter.numel() for parameter in text.values()),
        vocabulary=head.shape[0],
    )

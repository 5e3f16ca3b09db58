"""How much of what the adapter adds is in the weights of a quant: what a KL divergence of many bits' rounding hides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

TENSORS = 8  # that are looked at, from the first to the last layer
LEAST, MOST = 0.5, 1.5  # a judgement: half and half again; rounding moves it by a few hundredths


def share(gguf: Path, sixteen_bit: Path, lora: Path) -> float | None:
    """1 in the model that was trained, 0 in its base, 0.5 if half of the adapter is in it; None without a tensor to see.

    1 + <W - V, D> / <D, D>, where W are weights of the file, V those of the 16-bit GGUF, and D what the adapter's GGUF
    adds: rounding is all but orthogonal to D, so that even two bits leave it standing. One tensor is in memory at once.
    """
    from localpsych_recipes.llama_cpp.reader import Reader

    reader = Reader(lora)
    alpha, adapted = reader.fields["adapter.lora.alpha"].contents(), _by_name(reader)
    weights, unrounded = _by_name(Reader(gguf)), _by_name(Reader(sixteen_bit))
    along = size = 0.0
    for name in _drawn([n.removesuffix(".lora_a") for n in adapted if n.startswith("blk.") and n.endswith(".lora_a")]):
        a, b = _values(adapted[f"{name}.lora_a"]), _values(adapted[f"{name}.lora_b"])
        added = alpha / len(a) * (b @ a)
        along += float(((_values(weights[name]) - _values(unrounded[name])) * added).sum(dtype=np.float64))
        size += float((added * added).sum(dtype=np.float64))
    return 1 + along / size if size else None


def _by_name(reader: GGUFReader) -> dict[str, ReaderTensor]:
    return {tensor.name: tensor for tensor in reader.tensors}


def _drawn(names: list[str]) -> list[str]:
    return names[:: max(1, len(names) // TENSORS)][:TENSORS]


def _values(tensor: ReaderTensor) -> np.ndarray:
    from gguf.quants import dequantize

    return dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)

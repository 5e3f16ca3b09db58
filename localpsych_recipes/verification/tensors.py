"""Whether merged weights are the base's plus what the adapter adds, tensor by tensor, by PEFT's formulas.

Written apart from the merge, in double precision, so that a mistake there is not repeated here. What a tensor is called on
disk is asked of transformers by the merge's own function; a wrong name would show in the logits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from localpsych_recipes.merging.names import names_of
from localpsych_recipes.merging.shards import StoredTensor, read_header, weight_files

if TYPE_CHECKING:
    from peft import LoraConfig

ROWS = 1024  # of a matrix at a time
BLOCK = 16 << 20  # bytes compared at a time
PART = re.compile(r"^base_model\.model\.(.+)\.(lora_(?:embedding_)?[AB]|lora_magnitude_vector)(?:\.weight)?$")


@dataclass(frozen=True)
class Tensors:
    """adapted: tensors that the adapter changes; others: the rest, the base's to the byte; wrong: the first tensor that is
    not what it should be, and how, None if there is none."""

    adapted: int
    others: int
    wrong: str | None


class Adapter:
    """A PEFT adapter's weights by module. whole: tensors that take the base's place (modules_to_save, biases)."""

    def __init__(self, folder: Path) -> None:
        from peft import LoraConfig
        from safetensors.torch import load_file

        self.config: LoraConfig = LoraConfig.from_pretrained(folder)
        self.parts: dict[str, dict[str, torch.Tensor]] = {}
        self.whole: dict[str, torch.Tensor] = {}
        for key, tensor in load_file(folder / "adapter_model.safetensors").items():
            if match := PART.match(key):
                self.parts.setdefault(f"{match[1]}.weight", {})[match[2]] = tensor.double()
            else:
                self.whole[re.sub(r"\.base_layer(?=\.)", "", key.removeprefix("base_model.model."))] = tensor

    def names(self) -> set[str]:
        """Names, in the model, of the tensors that it changes."""
        return self.parts.keys() | self.whole.keys()

    def silent(self) -> list[str]:
        """Modules that it adds nothing to: their B @ A is zero."""
        return [name for name in sorted(self.parts) if not torch.any(self._product(name, slice(None)))]

    def scaling(self, name: str) -> float:
        """alpha / r, or alpha / sqrt(r) for rsLoRA, as peft.tuners.lora.layer.LoraLayer.update_layer sets it."""
        from peft.utils.other import get_pattern_key

        module, config = name.removesuffix(".weight"), self.config
        r = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), module), config.r)
        alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
        return alpha / math.sqrt(r) if config.use_rslora else alpha / r

    def expected(self, name: str, old: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the tensor as it should be, in float64, and the size of what was summed for each element.

        W + s B A; for DoRA each row of that scaled to its magnitude (peft.tuners.lora.variants.DoraLinearVariant).
        """
        old = self.whole[name][rows].double() if name in self.whole else old.double()
        if name not in self.parts:
            return old, old.abs()
        parts, scaling = self.parts[name], self.scaling(name)
        new, size = (
            old + scaling * self._product(name, rows),
            old.abs() + scaling * self._product(name, rows, size=True),
        )
        if (magnitude := parts.get("lora_magnitude_vector")) is None:
            return new, size
        factor = (magnitude[rows] / torch.linalg.norm(new, dim=1))[:, None]
        return factor * new, factor.abs() * size

    def _product(self, name: str, rows: slice, size: bool = False) -> torch.Tensor:
        """Rows of B @ A as the module's weight is stored; size: of the absolute values."""
        parts = {kind: part.abs() for kind, part in self.parts[name].items()} if size else self.parts[name]
        if "lora_embedding_A" in parts:  # [r, vocabulary] and [width, r]
            return parts["lora_embedding_A"].T[rows] @ parts["lora_embedding_B"].T
        if self.config.fan_in_fan_out:
            return parts["lora_A"].T[rows] @ parts["lora_B"].T
        return parts["lora_B"][rows] @ parts["lora_A"]

    def terms(self, name: str, columns: int) -> int:
        """How many terms were summed for an element: W and the rank, a row's norm for DoRA, and the products."""
        parts = self.parts.get(name, {})
        rank = next((part.shape[0] for kind, part in parts.items() if kind.endswith("A")), 0)
        return rank + 2 + (columns if "lora_magnitude_vector" in parts else 0)


def check(base: Path, adapter: Path, merged: Path) -> Tensors:
    """Every tensor of the merged folder against the base's and the adapter's. Reads both once, a piece at a time."""
    before, after, change = _tensors(base), _tensors(merged), Adapter(adapter)
    names = names_of(base, before)
    changed = {names.on_disk.get(name, name): name for name in change.names()}
    wrong = next(_wrong(before, after, change, changed), None)
    return Tensors(len(changed), len(before) - len(changed), wrong)


def _wrong(
    before: Mapping[str, StoredTensor], after: Mapping[str, StoredTensor], change: Adapter, changed: Mapping[str, str]
) -> Iterator[str]:
    for name in sorted(changed.keys() - before.keys()):
        yield f"{name}, which the adapter changes, is no tensor of the base"
    for name in sorted(before.keys() ^ after.keys()):
        yield f"{name} is {'missing' if name in before else 'no tensor of the base'}"
    for name, old in before.items():
        new = after[name]
        if (old.dtype, old.shape) != (new.dtype, new.shape):
            yield f"{name} has another type or shape than the base's"
        elif name not in changed:
            if not _same_bytes(old, new):
                yield f"{name} is not the base's, though the adapter leaves it alone"
        elif _same_bytes(old, new):
            yield f"{name} is the base's still: the adapter was not merged into it"
        elif (off := _off(old, new, change, changed[name])) > 1:
            yield f"{name} is not the base's plus what the adapter adds: off by {off:.3g} times what rounding explains"


def _off(old: StoredTensor, new: StoredTensor, change: Adapter, name: str) -> float:
    """The largest difference from what is expected, as a multiple of what rounding explains; infinite for NaN.

    One rounding to the stored dtype, and float32 sums before it (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1: n terms err by at most n units of roundoff times the sum of absolute values).
    """
    worst, sums = 0.0, change.terms(name, old.shape[-1]) * torch.finfo(torch.float32).eps
    for first in range(0, old.rows, ROWS):
        rows = slice(first, min(first + ROWS, old.rows))
        stored = new.read(rows.start, rows.stop)
        expected, size = change.expected(name, old.read(rows.start, rows.stop), rows)
        kind = torch.finfo(stored.dtype)
        allowed = kind.eps * expected.abs() + sums * size + kind.smallest_normal
        off = ((stored.double() - expected).abs() / allowed).max().item()
        worst = max(worst, off if math.isfinite(off) else math.inf)
    return worst


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    return {name: tensor for file in weight_files(folder) for name, tensor in read_header(file).items()}


def _same_bytes(one: StoredTensor, other: StoredTensor) -> bool:
    with one.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(one.start), second.seek(other.start)
        left = one.stop - one.start
        while left:
            if (a := first.read(min(BLOCK, left))) != second.read(len(a)) or not a:
                return False
            left -= len(a)
    return True

"""A PEFT LoRA adapter as it lies on disk: which tensor of the model it changes, and by what."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.merging.shards import StoredTensor, read_header

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

# Settings of adapter_config.json whose delta is not scaling * B @ A on one stored tensor -> why not.
UNSUPPORTED: dict[str, str] = {
    "trainable_token_indices": "single rows of the embedding were trained",
    "target_parameters": "a parameter that holds several matrices, such as stacked experts, was adapted",
    "layer_replication": "the trained model has more layers than the base",
    "lora_bias": "the adapter adds a bias of its own",
    "alora_invocation_tokens": "the adapter acts on part of the sequence only",
    "arrow_config": "several adapters are routed per token",
    "use_qalora": "the adapter pools its inputs by quantisation group",
    "use_bdlora": "the adapter is block-diagonal",
    "kasa_config": "KaSA scales the adapter by singular values",
    "monteclora_config": "MonteCLoRA samples the adapter",
}
# Starts that leave the base's weights as they are; PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA train against a changed base.
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")

KEY = re.compile(
    r"^(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$"
)
WRAPPERS = re.compile(r"\.base_layer(?=\.)|\.modules_to_save\.[^.]+(?=\.)")  # what PEFT puts around a module it changes


@dataclass(frozen=True)
class LowRank:
    """scaling * B @ A, to be added to one matrix; then, for DoRA, every row scaled to its magnitude.

    a: [r, in]; b: [out, r]; magnitude: [out], DoRA's. transposed: the matrix is stored [in, out] (embeddings, Conv1D).
    """

    a: StoredTensor
    b: StoredTensor
    scaling: float
    transposed: bool
    magnitude: StoredTensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        shape = (self.b.shape[0], self.a.shape[-1])
        return shape[::-1] if self.transposed else shape


@dataclass(frozen=True)
class Change:
    """What an adapter does to one tensor: `full` takes the base's place (modules_to_save, biases), then `low_rank` is
    added. At least one of the two is there."""

    full: StoredTensor | None = None
    low_rank: LowRank | None = None

    @property
    def shapes(self) -> set[tuple[int, ...]]:
        """The shapes, one if all is well, that the changed tensor must have."""
        return {part.shape for part in (self.full, self.low_rank) if part is not None}


def read_adapter(folder: Path) -> dict[str, Change]:
    """The changes of a LoRA adapter by the tensor's name in the model (`model.layers.0.self_attn.q_proj.weight`).

    Only headers are read. Raises UserError for anything but a LoRA adapter in safetensors that can be merged exactly.
    """
    if not (folder / CONFIG).exists() or not (folder / WEIGHTS).exists():
        raise UserError(f"{folder} lacks {CONFIG} or {WEIGHTS}", "a PEFT adapter in safetensors", "save it by PEFT")
    settings = json.loads((folder / CONFIG).read_text())
    _check_settings(settings)
    changes, factors = {}, {}
    for key, tensor in read_header(folder / WEIGHTS).items():
        name = key.removeprefix("base_model.model.")
        if match := KEY.match(name):
            _put(factors.setdefault(match["module"], {}), match["part"], tensor)
        else:
            _put(changes, WRAPPERS.sub("", name), Change(full=tensor))
    for module, parts in factors.items():
        weight = f"{module}.weight"
        changes[weight] = replace(changes.get(weight, Change()), low_rank=_low_rank(module, parts, settings))
    return changes


def _check_settings(settings: Mapping[str, Any]) -> None:
    if settings.get("peft_type") != "LORA":
        raise UserError(f"an adapter of type {settings.get('peft_type')}", "LORA", "merge it with PEFT itself")
    for key, reason in UNSUPPORTED.items():
        if settings.get(key):
            raise UserError(f"an adapter with {key}: {reason}", "LoRA without it", "merge it with PEFT itself")
    start = settings.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise UserError(
            f"an adapter with init_lora_weights: {start}, which trains against changed base weights",
            "an adapter for the base as it is published",
            "save it again with path_initial_model_for_weight_conversion (PEFT turns it into a plain LoRA)",
        )


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    if name in table:
        raise UserError(f"an adapter file with two tensors for {name}", "one adapter in a file", "save them one by one")
    table[name] = value


def _low_rank(module: str, parts: Mapping[str, StoredTensor], settings: Mapping[str, Any]) -> LowRank:
    """The factors of one module joined. Embeddings keep theirs under names of their own and are stored [in, out]."""
    embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    a, b = (parts.get(f"lora_embedding_{x}" if embedding else f"lora_{x}") for x in "AB")
    if a is None or b is None or len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1]:
        raise UserError(
            f"the adapter's factors for {module} do not make a matrix",
            "A of shape [r, in] and B of shape [out, r]",
            "adapt linear and embedding layers only; save the adapter again if it was cut short",
        )
    transposed, magnitude = embedding or bool(settings.get("fan_in_fan_out")), parts.get("lora_magnitude_vector")
    _check_magnitude(module, magnitude, transposed, bool(settings.get("use_dora")))
    return LowRank(a, b, scaling(module, settings), transposed, magnitude)


def _check_magnitude(module: str, magnitude: StoredTensor | None, transposed: bool, use_dora: bool) -> None:
    if use_dora and magnitude is None:
        raise UserError(f"a DoRA adapter without a magnitude for {module}", "one per module", "save the adapter again")
    if magnitude is not None and transposed:
        raise UserError(
            f"a DoRA adapter of {module}, which is stored transposed",
            "DoRA on linear layers",
            "leave it out of lora.target_modules, or merge with PEFT itself",
        )


def scaling(module: str, settings: Mapping[str, Any]) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA (https://huggingface.co/papers/2312.03732), patterns considered."""
    r = _by_pattern(module, settings.get("rank_pattern"), settings["r"])
    alpha = _by_pattern(module, settings.get("alpha_pattern"), settings["lora_alpha"])
    return alpha / math.sqrt(r) if settings.get("use_rslora") else alpha / r


def _by_pattern(module: str, patterns: Mapping[str, Any] | None, default: Any) -> Any:
    """The value of the first pattern that matches the end of the module's name, as PEFT's get_pattern_key does."""
    return next((v for key, v in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default)

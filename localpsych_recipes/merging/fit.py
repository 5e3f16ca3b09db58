"""Does an adapter fit a base? Every way in which it can fail to is found here, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.merging.adapter import Change
from localpsych_recipes.merging.names import Names
from localpsych_recipes.merging.shards import FLOAT_TYPES, StoredTensor

QUANTISED = (".SCB", ".absmax", ".quant_map", ".qweight", ".weight_scale", ".weight_scale_inv")  # ends of names on disk


def check_base(base: Path, stored: Mapping[str, StoredTensor]) -> None:
    """Raises UserError if the base is stored quantised: by its config, or by the tensors that quantisers leave."""
    config = json.loads((base / "config.json").read_text())
    sign = next((name for name in stored if name.endswith(QUANTISED)), None)
    if "quantization_config" in config or sign:
        raise UserError(
            f"the base {base} is stored quantised ({sign or 'quantization_config in config.json'})",
            "16-bit weights: an adapter is always merged into these, whatever quantisation trained it",
            "name the original repository as the base, and quantise with the recipe's own setting",
        )


def match(changes: Mapping[str, Change], names: Names, stored: Mapping[str, StoredTensor]) -> dict[str, Change]:
    """The changes by name on disk instead of name in the model. Raises UserError, naming both, where one cannot be."""
    matched = {}
    for name, change in changes.items():
        _check_tied(name, names)
        on_disk = names.on_disk.get(name, name)  # adapters of older transformers say the name on disk already
        if on_disk not in stored:
            raise _no_tensor(name, names)
        _check_tensor(name, change, stored[on_disk])
        matched[on_disk] = change
    return matched


def _check_tied(name: str, names: Names) -> None:
    """Refuse what a tied base cannot hold: one tensor is both embedding and head (peft#2018, #2972)."""
    both_stored = any(name == source and head in names.on_disk for head, source in names.tied.items())
    if name in names.tied or both_stored:
        raise UserError(
            f"the adapter changes {name}, which this base shares between its input embedding and its output head",
            "an adapter that leaves a shared lm_head alone: merged, it would change the input embedding as well",
            "train without lm_head, or untie the base first (tie_word_embeddings: false, lm_head.weight stored)",
        )


def _no_tensor(name: str, names: Names) -> UserError:
    if name in names.converted:
        return UserError(
            f"the adapter changes {name}, which transformers computes on loading from other tensors of the base",
            "modules whose weight is one tensor on disk",
            "leave such modules (stacked experts) out of lora.target_modules, or merge with PEFT itself",
        )
    return UserError(
        f"the adapter changes {name}, and the base has no such tensor on disk",
        "the base that the adapter was trained on",
        "compare base_model_name_or_path in the adapter's adapter_config.json with the base given",
    )


def _check_tensor(name: str, change: Change, tensor: StoredTensor) -> None:
    if change.shapes != {tensor.shape}:
        given = " and ".join(str(list(shape)) for shape in sorted(change.shapes))
        raise UserError(
            f"the adapter's {name} has shape {given}, the base's {tensor.name} has {list(tensor.shape)}",
            "equal shapes",
            "merge into the base that the adapter was trained on, its vocabulary not resized",
        )
    if tensor.dtype not in FLOAT_TYPES:
        raise UserError(
            f"the base's {tensor.name}, which the adapter changes, is stored as {tensor.dtype}",
            f"one of {', '.join(FLOAT_TYPES)}",
            "name the original, unquantised repository as the base",
        )

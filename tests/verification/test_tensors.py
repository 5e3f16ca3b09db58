"""The check of merged tensors knows every kind of adapter by PEFT's formulas, and sees what rounding does not explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from localpsych_recipes.verification import tensors
from tests import tiny_models
from tests.test_merging import CASES, merged_by_peft

BY_PEFT = {name: case for name, case in CASES.items() if "shard" not in case[1]}  # PEFT's result is saved as one file


@pytest.mark.parametrize(("family", "building", "adapting"), BY_PEFT.values(), ids=BY_PEFT.keys())
def test_what_peft_merges_is_right_and_a_tensor_that_is_slightly_off_is_named(
    family: str, building: dict[str, Any], adapting: dict[str, Any], tmp_path: Path
) -> None:
    base = tiny_models.build(family, tmp_path / "base", **building)
    adapter = tiny_models.adapter(base, tmp_path / "adapter", **adapting)
    merged = tmp_path / "merged"
    merged.mkdir()
    weights = merged_by_peft(base, adapter, tmp_path)
    save_file(weights, merged / "model.safetensors")
    found = tensors.check(base, adapter, merged)
    before = load_file(base / "model.safetensors")
    changed = sorted(name for name in before if not torch.equal(before[name], weights[name]))
    assert (found.wrong, found.adapted, found.others) == (None, len(changed), len(before) - len(changed))

    name, kind = changed[0], torch.finfo(weights[changed[0]].dtype)
    off = weights[name].double() * (1 + 4 * kind.eps + 1e-4)
    save_file(weights | {name: off.to(weights[name].dtype)}, merged / "model.safetensors")
    assert tensors.check(base, adapter, merged).wrong.startswith(f"{name} is not the base's plus what the adapter adds")


def test_tensors_that_the_adapter_leaves_alone_must_be_the_bases_to_the_bit(tmp_path: Path) -> None:
    base = tiny_models.build("llama", tmp_path / "base")
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=["q_proj"])
    merged = tmp_path / "merged"
    merged.mkdir()
    weights, name = merged_by_peft(base, adapter, tmp_path), "model.norm.weight"
    weights[name][3] += 0.25
    save_file(weights, merged / "model.safetensors")
    assert tensors.check(base, adapter, merged).wrong == f"{name} is not the base's, though the adapter leaves it alone"
    del weights[name]
    save_file(weights, merged / "model.safetensors")
    assert tensors.check(base, adapter, merged).wrong == f"{name} is missing"

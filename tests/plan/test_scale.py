"""Real bases at their true size: what the plan takes itself, and the cases that people ask about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes import plan, skeleton
from localpsych_recipes.plan import disk, fit, weights
from localpsych_recipes.recipe import Base, Recipe

CHECKOUT = Path(__file__).parents[2]
BASES = sorted(fit.BASES)
PLANNED = """
import json, sys
from localpsych_recipes import machine, plan
from localpsych_recipes.plan.shapes import Shapes
from localpsych_recipes.recipe import Recipe
steps, step = [], Shapes.training
Shapes.training = lambda *given, **named: steps.append(str((given[1:], named))) or step(*given, **named)
for values, gpu in json.loads(sys.argv[1]):
    steps.clear()
    assert plan.render(plan.plan(Recipe.model_validate(values), gpu=gpu))
    print(len(steps), len(set(steps)))
print(machine.peak_memory()["peak_memory_bytes"])  # its own: ru_maxrss begins at the size of whoever started it
"""


def recipe(shared: Path, base: str, **sections) -> dict:
    return {
        "name": "big",
        "base": {"model": str(shared / "architectures" / base.replace("/", "--")), "hub_id": base},
        "data": {"source": "someone/dataset", "columns": {"prompt": "q", "chosen": "a", "rejected": "b"}},
        **sections,
    }


def test_every_plan_runs_few_steps_and_takes_little_memory(shared, tmp_path):
    """What a plan takes is the steps that it runs on shapes: one for each stage where things fit, and no shape twice.

    For the base with the most layers also on a GPU that nothing fits, so that every change is tried."""
    stages = {"sft": {"per_device_train_batch_size": 4}, "dpo": {}, "merge": {}, "gguf": {}}
    asked = [(recipe(shared, base, **stages), "80GB") for base in BASES]
    asked.insert(0, (recipe(shared, "google/gemma-4-E4B-it", **stages), "1GB"))
    command = [sys.executable, "-c", PLANNED, json.dumps(asked)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, memory = done.stdout.splitlines()
    nothing_fits, *others = [tuple(map(int, line.split())) for line in lines]
    assert others == [(2, 2)] * len(BASES)
    # SFT's 4, 2 and 1 rows of 2,048 tokens, its one row of 128, and DPO's pair of 128: its pair of 2,048 is known by then
    assert nothing_fits == (5, 5)
    assert float(memory) < 1.5e9


@pytest.mark.parametrize("base", BASES)
def test_the_table_of_bases_holds_what_their_configurations_give(shared, base):
    model = skeleton.meta_model(shared / "architectures" / base.replace("/", "--"))
    assert fit.BASES[base] == weights.weight_bytes(weights.parts(model, Base(model=base)))


def planned(shared: Path, base: str, gpu: str, **sections) -> plan.Plan:
    return plan.plan(Recipe.model_validate(recipe(shared, base, **sections)), gpu=gpu)


def test_gemma_3_4b_by_dpo_does_not_fit_a_laptop_gpu_of_4_gb(shared):
    knobs = {"max_length": 256, "optim": "paged_adamw_8bit", "precompute_ref_log_probs": True}
    made = planned(shared, "google/gemma-3-4b-it", "RTX 3050 Ti", dpo=knobs)
    sizes = {line.what: line.bytes for line in made.stages["dpo"].memory.lines}
    assert sizes["embeddings"] == 262_208 * 2560 * 2
    # 4 bits, a byte for 64 and four bytes for 64 x 256: 4.127 bits; the tables come to less than a thousandth
    assert sizes["language model linear layers"] == pytest.approx(3_208_642_560 * 4.127 / 8, rel=1e-3)
    # 34 layers x (q 2560+2048, k and v 2560+1024 each, o 2048+2560) x rank 16
    trained = 34 * 16 * (2 * (2560 + 2048) + 2 * (2560 + 1024))
    assert sizes["adapter"] == sizes["reference adapter"] == sizes["gradients"] == 4 * trained
    verdict = made.stages["dpo"].verdict
    assert verdict.says == "does not fit" and not any(tried.fits for tried in verdict.tries) and verdict.otherwise


@pytest.mark.parametrize("base", ["google/gemma-4-E2B-it", "google/gemma-4-E4B-it"])
def test_gemma_4_by_qlora_fits_a_t4_and_is_told_of_float16(shared, base):
    made = planned(shared, base, "T4", sft={"optim": "paged_adamw_32bit", "gradient_accumulation_steps": 2})
    assert made.stages["sft"].verdict.says == "fits"
    assert any("base.dtype: float16" in line for line in made.limits)


@pytest.mark.parametrize(
    ("quant", "gigabytes"), [("Q8_0", 4.28), ("Q6_K", 3.31), ("Q5_K_M", 2.89), ("Q4_K_M", 2.50), ("Q4_0", 2.38)]
)
def test_a_quant_of_qwen3_4b_is_about_as_large_as_the_published_one(quant, gigabytes):
    """File sizes of bartowski/Qwen_Qwen3-4B-GGUF; of its 4,022,468,096 parameters 151,936 x 2,560 are the tied head."""
    head = 151_936 * 2560
    language = weights.Language(linear=4_022_468_096 - head, head=head, total=4_022_468_096, vocabulary=151_936)
    assert disk.quant(language, quant) == pytest.approx(gigabytes * 1e9, rel=0.03)

"""Which GPU is meant, whether a stage fits it, and what is tried when it does not."""

from __future__ import annotations

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.plan import fit, gpus, speed
from localpsych_recipes.plan.memory import GiB, Memory
from localpsych_recipes.recipe import Base, Sft


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("RTX 3050 Ti", "RTX 3050 Ti Laptop"), ("rtx3050 ti", "RTX 3050 Ti Laptop"), ("T4", "T4"), ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"), ("a100", "A100 40GB"), ("A100 80 GB", "A100 80GB"), ("H100", "H100 80GB SXM"),
        ("L4", "L4"), ("3060", "RTX 3060 12GB"), ("4070", "RTX 4070"), ("V100", "V100 16GB"),
    ],
)  # fmt: skip
def test_a_name_finds_its_gpu(asked, meant):
    assert gpus.find(asked).name == meant


@pytest.mark.parametrize("size", ["16GB", "16 gb", "16GiB", "16.0 GB"])
def test_a_size_is_a_gpu_of_which_nothing_else_is_known(size):
    found = gpus.find(size)
    assert found.memory == int(16 * GiB * gpus.USABLE) and found.tflops is None


def test_a_name_that_nobody_has_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="did you mean RTX 4090") as caught:
        gpus.find("RTX 409")
    assert "H200" in str(caught.value) and "16GB" in str(caught.value)
    for nonsense in ("", "potato"):
        with pytest.raises(UserError):
            gpus.find(nonsense)


def setting(**knobs) -> fit.Setting:
    return fit.Setting(Base(model="x", quantization="int8"), Sft(max_length=1000, **knobs), 1000)


def made_of(weights: float, each_token: float):
    """Memory in GiB: of the weights, and of each token of a batch, twice as much without checkpointing."""

    def memory(s: fit.Setting) -> Memory:
        tokens = s.knobs.per_device_train_batch_size * s.length * (1 if s.knobs.gradient_checkpointing else 2)
        frozen = weights / (2 if s.base.quantization == "nf4" else 1)
        return _Fixed((), (), int(frozen * GiB), needed_bytes=int((frozen + tokens * each_token) * GiB))

    return memory


class _Fixed(Memory):
    def __new__(cls, *args, needed_bytes: int):
        made = super().__new__(cls)
        object.__setattr__(made, "_needed", needed_bytes)
        return made

    def __init__(self, lines, host_lines, weights, needed_bytes: int) -> None:
        super().__init__(lines, host_lines, weights)

    @property
    def needed(self) -> int:
        return self._needed


FOUR = gpus.Gpu("four", 4 * GiB)


@pytest.mark.parametrize(("weights", "says"), [(2.0, "fits"), (3.0, "tight"), (3.5, "does not fit")])
def test_the_verdict_leaves_a_tenth_free(weights, says):
    assert fit.judge(setting(), FOUR, made_of(weights, 0.0008)).says == says


def test_the_batch_goes_first_and_its_rows_are_accumulated_instead():
    found = fit.judge(setting(per_device_train_batch_size=4, gradient_accumulation_steps=2), FOUR, made_of(2, 0.0008))
    assert [tried.change for tried in found.tries] == ["per_device_train_batch_size: 2, gradient_accumulation_steps: 4"]
    assert found.tries[-1].fits and not found.otherwise


def test_checkpointing_comes_before_shorter_rows_and_these_before_four_bits():
    said = [change for change, _ in fit.changes(setting(gradient_checkpointing=False), lambda s: True)]
    assert said[:4] == ["gradient_checkpointing: true", "optim: paged_adamw_8bit", "max_length: 512", "max_length: 256"]
    assert said.index("max_length: 128") + 1 == next(n for n, change in enumerate(said) if "nf4" in change)


def test_only_what_helps_is_told_and_the_first_length_that_fits_ends_it():
    found = fit.judge(setting(), FOUR, made_of(3.5, 0.0015))  # the optimiser changes nothing here
    assert [(tried.change, tried.fits) for tried in found.tries] == [
        ("max_length: 512", False),
        ("max_length: 256", True),
    ]


@pytest.mark.parametrize(
    ("device", "meant"),  # as torch.cuda.get_device_name says them
    [
        ("NVIDIA GeForce RTX 3060", "RTX 3060 12GB"), ("Tesla T4", "T4"), ("NVIDIA H200", "H200"),
        ("NVIDIA GeForce RTX 3050 Ti Laptop GPU", "RTX 3050 Ti Laptop"), ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3", "H100 80GB SXM"), ("Some Other Card", None),
    ],
)  # fmt: skip
def test_a_device_is_known_by_its_own_name_and_no_laptop_passes_for_a_desktop(device, meant):
    found = gpus.named(device)
    assert (found and found.name) == meant


def test_where_nothing_helps_the_gpu_and_the_base_that_would_are_named():
    found = fit.judge(setting(), FOUR, made_of(20, 0.0001))
    assert not any(tried.fits for tried in found.tries)
    # 20.1 GiB of 24 x 0.92; halved to nf4 and at 128 tokens 10.01 GiB of 12 x 0.92
    assert any(line.startswith("as it stands") and "L4" in line for line in found.otherwise)
    assert any("with all of these changes" in line and "RTX 3060 12GB" in line for line in found.otherwise)
    assert any("google/gemma-3-4b-it" in line for line in found.otherwise)  # 3.2 of the 4.3 GB in 4 GiB


def test_what_a_t4_and_older_ones_do_not_have_is_said():
    bfloat16, int8 = Base(model="x"), Base(model="x", quantization="int8", dtype="float16")
    assert any("base.dtype: float16" in line for line in fit.cannot(gpus.find("T4"), bfloat16))
    assert not any("bfloat16" in line for line in fit.cannot(gpus.find("T4"), int8))
    assert any("int8" in line for line in fit.cannot(gpus.find("V100"), int8))
    assert list(fit.cannot(gpus.find("RTX 3050 Ti"), bfloat16)) == []


def test_emulated_bfloat16_runs_at_the_rate_of_the_fp32_units():
    t4, knobs = gpus.find("T4"), Sft(gradient_checkpointing=False)
    times = {
        dtype: speed.seconds(t4, Base(model="x", dtype=dtype), knobs, 10**9, 1000, 10)
        for dtype in ("bfloat16", "float16")
    }
    # 2 x 2 x 1e9 x 1e4 operations at a fifth of 65e12 a second
    assert times["float16"] == pytest.approx(4e13 / (0.2 * 65e12))
    assert times["bfloat16"] / times["float16"] == pytest.approx(65 / 8.1)

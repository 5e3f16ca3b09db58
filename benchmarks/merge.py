"""Merging an adapter: this project's merge against PEFT's load, merge_and_unload and save, in one run.

    python benchmarks/merge.py [--layers 20] [--r 16] [--targets q_proj k_proj v_proj o_proj]

A random Qwen3-shaped base (20 layers: 2.6 GB) and an adapter for it are made in a temporary folder ($TMPDIR). Each step
runs in a process of its own. Columns: seconds of the work alone (the merge's own flush to the disk included, which PEFT
leaves to the system); seconds of the whole process, imports included; its CPU seconds (user and system, all threads),
which mean the same on a busy machine; its peak memory (ru_maxrss, mapped pages included). Last, the two results are
compared element by element.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def main() -> None:
    options = _options()
    if options.step:
        work = STEPS[options.step](options.folder, options)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(work, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9)
        return
    with tempfile.TemporaryDirectory(prefix="merge-") as folder:
        _run("build", Path(folder))
        ours, peft = _run("merge", Path(folder)), _run("peft", Path(folder))
        print(" " * 12 + "".join(f"{column:>12}" for column in ("work s", "process s", "CPU s", "peak GB")))
        for name, figures in {"this project": ours, "PEFT": peft}.items():
            print(f"{name:12}" + "".join(f"{figure:12.2f}" for figure in figures))
        print(f"{'ratio':12}" + "".join(f"{a / b:12.2f}" for a, b in zip(ours, peft)), flush=True)
        _run("compare", Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--r", type=int, default=16, help="rank")
    parser.add_argument("--targets", nargs="+", default=LINEAR)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(step: str, folder: Path) -> tuple[float, ...]:
    """Seconds of the work and of the process, CPU seconds and peak gigabytes of one step.

    This process imports nothing big: a child's ru_maxrss starts at its parent's size.
    """
    os.sync()  # so that nobody pays for the step before
    start = time.monotonic()
    command = [sys.executable, __file__, *sys.argv[1:], "--step", step, "--folder", str(folder)]
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    seconds = time.monotonic() - start
    if output[:-1]:
        print(*output[:-1], sep="\n", flush=True)
    work, cpu, peak = map(float, output[-1].split())
    return work, seconds, cpu, peak


def build(folder: Path, options: argparse.Namespace) -> float:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=2048,
            intermediate_size=6144,
            num_hidden_layers=options.layers,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=151_936,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(folder / "base", max_shard_size="1GB")
    _build_adapter(model, folder / "adapter", options)
    size = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
    targets = ", ".join(options.targets)
    print(f"base {size / 1e9:.2f} GB, rank {options.r} on {targets}, {torch.get_num_threads()} threads")
    return 0.0


def _build_adapter(model: object, folder: Path, options: argparse.Namespace) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=options.r, lora_alpha=2 * options.r, target_modules=options.targets))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.02)
    adapted.save_pretrained(folder)


def merge(folder: Path, options: argparse.Namespace) -> float:
    import transformers.models.qwen3.modeling_qwen3  # noqa: F401  (not part of the work, as in peft below)

    from localpsych_recipes.merging import merge_adapter

    start = time.monotonic()
    merge_adapter(folder / "base", folder / "adapter", folder / "merged")
    return time.monotonic() - start


def peft(folder: Path, options: argparse.Namespace) -> float:
    import transformers.models.qwen3.modeling_qwen3  # noqa: F401
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    start = time.monotonic()
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="auto")
    PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload().save_pretrained(folder / "peft")
    return time.monotonic() - start


def compare(folder: Path, options: argparse.Namespace) -> float:
    """How many elements differ, and by how many bf16 units in the last place (as integers, neighbours differ by 1)."""
    import torch

    ours, theirs = _tensors(folder / "merged"), _tensors(folder / "peft")
    assert ours.keys() == theirs.keys()
    total = different = furthest = 0
    for name in ours:
        bits, others = (tensors[name].read().view(torch.int16).int() for tensors in (ours, theirs))
        distance = (bits - others).abs_()
        total, different = total + distance.numel(), different + int(distance.count_nonzero())
        furthest = max(furthest, int(distance.max()))
    print(f"{different} of {total} elements differ from PEFT's, by at most {furthest} units in the last place")
    return 0.0


def _tensors(folder: Path) -> dict:
    from localpsych_recipes.merging.shards import read_header

    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in read_header(file).items()}


STEPS = {"build": build, "merge": merge, "peft": peft, "compare": compare}

if __name__ == "__main__":
    main()

"""Merging an adapter: this project's merge against PEFT's load, merge_and_unload and save, and against `cp`, in one run.

    python benchmarks/merge.py [--config CONFIG] [--layers 20] [--shard 2e9] [--r 16] [--targets all]
        [--without cp peft]

A base of random weights in bfloat16 and an adapter for it are made in a temporary folder ($TMPDIR), which needs three
times the base's size, four times with PEFT: Qwen3's shapes with --layers layers (20: 2.6 GB), or those of any model's
config.json, --config, as it lies in its repository on the Hub. Each step runs in a process of its own, `sync` before it.
Columns: seconds until the result is on the disk (a `sync` included, for all three); seconds of the whole process, imports
included; its CPU seconds (user and system, all threads), which mean the same on a busy machine; its peak memory
(ru_maxrss, mapped pages included). `cp` copies the base's shards without reflinks. Last, the result of the merge is
compared with PEFT's, element by element.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from children import spent

COLUMNS = ("on disk s", "process s", "CPU s", "peak GB")
NOISE = 1 << 25  # random elements that weights are made of: more of them would take minutes and change no step


def main() -> None:
    options = _options()
    if options.step:
        print(STEPS[options.step](options.folder, options))
        return
    steps = [step for step in ("cp", "merge", "peft") if step not in options.without]
    with tempfile.TemporaryDirectory(prefix="merge-") as folder:
        _run("build", Path(folder))
        print(" " * 12 + "".join(f"{column:>12}" for column in COLUMNS), flush=True)
        found = {}
        for step in steps:
            found[step] = _run(step, Path(folder))
            print(f"{NAMES[step]:12}" + "".join(f"{figure:12.2f}" for figure in found[step]), flush=True)
            if step == "cp":
                shutil.rmtree(Path(folder) / "cp")  # the room that the next one needs
        for peer in (step for step in steps if step != "merge"):
            ratios = (a / b for a, b in zip(found["merge"], found[peer]))
            print(f"{'to ' + NAMES[peer]:12}" + "".join(f"{ratio:12.2f}" for ratio in ratios), flush=True)
        if "peft" in steps:
            _run("compare", Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="the config.json of a base, or its folder")
    parser.add_argument("--layers", type=int, default=20, help="of Qwen3's shapes, without --config")
    parser.add_argument("--shard", type=float, default=2e9, help="bytes of one file of the base")
    parser.add_argument("--r", type=int, default=16, help="rank")
    parser.add_argument("--targets", default="all", help="lora.target_modules, such as attention")
    parser.add_argument("--without", nargs="+", choices=("cp", "peft"), default=(), help="peers to leave out")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(step: str, folder: Path) -> tuple[float, ...]:
    """Seconds of the work and of the process, CPU seconds and peak gigabytes of one step."""
    used = spent([sys.executable, __file__, *sys.argv[1:], "--step", step, "--folder", folder])
    *said, work = used.output.splitlines()
    if told := [line for line in said if line.startswith(("base", "of the elements"))]:
        print(*told, sep="\n", flush=True)
    return float(work), used.seconds, used.cpu, used.peak


def build(folder: Path, options: argparse.Namespace) -> float:
    """The base's shards, written without ever holding the model, and an adapter for its language model."""
    from localpsych_recipes import skeleton

    if options.config:
        config = skeleton.read_config(options.config if options.config.is_dir() else options.config.parent)
    else:
        config = _qwen3(options.layers)
    model = skeleton.meta_model(config)
    (folder / "base").mkdir()
    config.save_pretrained(folder / "base")
    size = _write_base(model, folder / "base", options.shard)
    _write_adapter(model, folder / "adapter", options)
    print(f"base {size / 1e9:.2f} GB ({config.model_type}), rank {options.r} on {options.targets}")
    return 0.0


def _qwen3(layers: int):
    from transformers import Qwen3Config

    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"], hidden_size=2048, intermediate_size=6144, num_hidden_layers=layers,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, vocab_size=151_936, tie_word_embeddings=True,
        dtype="bfloat16",
    )  # fmt: skip


def _write_base(model, folder: Path, shard_bytes: float) -> int:
    """Random weights under the model's own names, tied ones once; returns their bytes."""
    import json

    import torch
    from safetensors.torch import save_file

    noise = torch.randn(NOISE).mul_(0.02).bfloat16()
    tied = set(getattr(model, "all_tied_weights_keys", {}))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items() if name not in tied}
    shards, bytes_in = [[]], 0
    for name, shape in shapes.items():
        if shards[-1] and bytes_in + 2 * shape.numel() > shard_bytes:
            shards.append([])
            bytes_in = 0
        shards[-1].append(name)
        bytes_in += 2 * shape.numel()
    weight_map = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: _filled(shapes[name], noise) for name in names}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    total = sum(2 * shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def _filled(shape, noise):
    import torch

    flat = torch.empty(shape.numel(), dtype=torch.bfloat16)
    for start in range(0, len(flat), NOISE):
        flat[start : start + NOISE] = noise[: len(flat) - start]
    return flat.view(shape)


def _write_adapter(model, folder: Path, options: argparse.Namespace) -> None:
    """An adapter as PEFT saves one, with random values in both matrices."""
    import torch
    from peft import get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file

    from localpsych_recipes import lora
    from localpsych_recipes.recipe import Lora

    knobs = Lora(r=options.r, lora_alpha=2 * options.r, target_modules=options.targets)
    peft = get_peft_model(model, lora.config(knobs, lora.resolve(model, options.targets)))
    shapes = {name: tensor.shape for name, tensor in get_peft_model_state_dict(peft).items()}
    folder.mkdir()
    peft.peft_config["default"].save_pretrained(folder)
    tensors = {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def cp(folder: Path, options: argparse.Namespace) -> float:
    (folder / "cp").mkdir()
    start = time.monotonic()
    shards = sorted((folder / "base").glob("*.safetensors"))
    subprocess.run(["cp", "--reflink=never", *shards, folder / "cp"], check=True)
    os.sync()
    return time.monotonic() - start


def merge(folder: Path, options: argparse.Namespace) -> float:
    from localpsych_recipes.merging import merge_adapter

    _import_model(folder / "base")
    start = time.monotonic()
    merge_adapter(folder / "base", folder / "adapter", folder / "merged")
    os.sync()
    return time.monotonic() - start


def peft(folder: Path, options: argparse.Namespace) -> float:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    _import_model(folder / "base")
    start = time.monotonic()
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="auto")
    PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload().save_pretrained(folder / "peft")
    os.sync()
    return time.monotonic() - start


def _import_model(base: Path) -> None:
    """The model's own code, which neither side should pay for in "on disk s"."""
    from transformers import AutoModelForCausalLM

    from localpsych_recipes import skeleton

    AutoModelForCausalLM._model_mapping[type(skeleton.read_config(base))]


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
    print(f"of the elements, {different} of {total} differ from PEFT's, by at most {furthest} units in the last place")
    return 0.0


def _tensors(folder: Path) -> dict:
    from localpsych_recipes.merging.shards import read_header

    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in read_header(file).items()}


STEPS = {"build": build, "cp": cp, "merge": merge, "peft": peft, "compare": compare}
NAMES = {"cp": "cp", "merge": "this project", "peft": "PEFT"}

if __name__ == "__main__":
    main()

"""GGUF quants of a merged model: this project's stage against llama.cpp's tools called by hand.

    python benchmarks/quants.py [--layers 16] [--quants Q4_K_M Q5_K_M Q8_0] [--times 3]

A Llama-shaped model with random weights (width 1024, 32,000 tokens, bfloat16; 16 layers: 0.5 GB) is made in a temporary
folder ($TMPDIR), which needs five times its size. Rows, in turns, each a process of its own: the stage, which converts
once, checks each quant's tensor types and sums each file; convert_hf_to_gguf.py and llama-quantize one after another, and
with all quants at once; and what many scripts do, a conversion for each quant. llama.cpp is found or built first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from children import CHECKOUT, interleaved, table

os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(CHECKOUT))  # for the tokenizer that the tests make
PEER = "by hand, one after another"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--quants", nargs="+", default=["Q4_K_M", "Q5_K_M", "Q8_0"])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        STEPS[options.step](options.folder, options)
        return
    with tempfile.TemporaryDirectory(prefix="gguf-") as folder:
        again = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--step"]
        subprocess.run([*again, "build"], check=True)
        found = interleaved({name: [*again, name] for name in STEPS if name != "build"}, options.times)
    print(table(found, PEER))


def build(folder: Path, options: argparse.Namespace) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.families import bases

    merged = folder / "run" / "release" / "merged"
    bases.make_tokenizer("tinyllama", merged)
    torch.set_default_dtype(torch.bfloat16)
    shape = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": options.layers, "vocab_size": 32_000}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 2048}
    model = LlamaForCausalLM(LlamaConfig(**shape, **heads, bos_token_id=1, eos_token_id=2))
    model.save_pretrained(merged)
    size = sum(file.stat().st_size for file in merged.glob("*.safetensors"))
    print(f"{size / 1e9:.2f} GB -> {', '.join(options.quants)}", flush=True)


def stage(folder: Path, options: argparse.Namespace) -> None:
    """The stage as a recipe runs it, without an importance matrix and an adapter's file, which no peer makes."""
    from localpsych_recipes import rundir
    from localpsych_recipes.pipeline import Run
    from localpsych_recipes.recipe import Recipe
    from localpsych_recipes.stages import gguf

    knobs = {"quants": options.quants, "imatrix": "none", "adapter": False}
    data = {"source": "rows.csv", "columns": {"prompt": "q", "response": "a"}, "test_size": 0.1}
    values = {
        "name": "random",
        "base": {"model": "someone/random"},
        "data": data,
        "sft": {},
        "merge": {},
        "gguf": knobs,
    }
    run = Run(Recipe.model_validate(values), rundir.RunDir(folder / "run"), say=lambda text: None)
    rundir.write_json(run.dir.report_file("merge"), {"results": {}})
    rundir.write_json(run.dir.pins, {"base": {"model": "someone/random"}, "datasets": [{"id": "someone/rows"}]})
    gguf.run(run)


def one_after_another(folder: Path, options: argparse.Namespace) -> None:
    source = _converted(folder)
    for quant in options.quants:
        _quantized(source, quant)


def at_once(folder: Path, options: argparse.Namespace) -> None:
    source = _converted(folder)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda quant: _quantized(source, quant), options.quants))


def again_for_each(folder: Path, options: argparse.Namespace) -> None:
    for quant in options.quants:
        _quantized(_converted(folder), quant)


def _converted(folder: Path) -> Path:
    merged, out = folder / "run" / "release" / "merged", folder / "16bit.gguf"
    script = _tools().paths["convert_hf_to_gguf.py"].resolve()
    _quiet(sys.executable, script, merged, "--outfile", out, "--outtype", "bf16", "--model-name", "random-tinyllama")
    return out


def _quantized(source: Path, quant: str) -> None:
    _quiet(_tools().paths["llama-quantize"], source, source.with_name(f"{quant}.gguf"), quant)


def _quiet(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _tools():
    from localpsych_recipes import llama_cpp

    return llama_cpp.tools()


STEPS = {
    "build": build,
    "this project": stage,
    PEER: one_after_another,
    "by hand, all quants at once": at_once,
    "by hand, a conversion each": again_for_each,
}

if __name__ == "__main__":
    main()

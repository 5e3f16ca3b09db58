"""Tokens a second of the engines that answer for `pairs`, in one run, on the same prompts, settings and weights.

    python benchmarks/generation.py [--prompts 48] [--tokens 64] [--slots 16]

A random Llama-shaped model (112 M parameters, 32,000 tokens, bfloat16) and its GGUF in the same dtype are made in a
temporary folder ($TMPDIR). Each engine runs in a process of its own: transformers' `generate` with one prompt at a time,
this project's batches of 16, `server: llama.cpp`. Columns: tokens written; seconds from the first prompt to the last
answer, without loading, converting and starting; tokens a second; how many times one at a time. Random weights end no
answer: nearly each has --tokens tokens, and what is counted is what came. llama.cpp is found or built first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # for the tokenizer that the tests make

LETTERS = "etaoinshrdlu"


def main() -> None:
    options = _options()
    if options.step:
        print(json.dumps(STEPS[options.step](options.folder, options)))
        return
    with tempfile.TemporaryDirectory(prefix="generation-") as folder:
        _run("build", Path(folder))
        print(f"{'':24}{'tokens':>10}{'seconds':>10}{'tokens/s':>10}{'ratio':>8}")
        first = 0.0
        for name, step in ENGINES.items():
            tokens, seconds = _run(step, Path(folder))
            first = first or tokens / seconds
            speed = tokens / seconds
            print(f"{name:24}{tokens:10,.0f}{seconds:10.1f}{speed:10.1f}{speed / first:8.2f}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=64, help="of one answer, at most")
    parser.add_argument("--slots", type=int, default=16, help="of llama-server; batches of transformers are 16")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(step: str, folder: Path) -> list[float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--step", step, "--folder", str(folder)]
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    if output[:-1]:
        print(*output[:-1], sep="\n", flush=True)
    return json.loads(output[-1])


def build(folder: Path, options: argparse.Namespace) -> list[float]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from localpsych_recipes import conversion, llama_cpp
    from tests.families import bases

    bases.make_tokenizer("tinyllama", folder / "base")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    shape = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 10, "vocab_size": 32_000}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 2048}
    model = LlamaForCausalLM(LlamaConfig(**shape, **heads, bos_token_id=1, eos_token_id=2))
    model.save_pretrained(folder / "base")
    writer = _llama_server(folder, options)
    writer.work.mkdir()
    conversion.to_gguf(llama_cpp.tools(), folder / "base", writer.place.with_suffix(".gguf"), name="random")
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count / 1e6:.0f} M parameters, {torch.get_num_threads()} threads, {options.prompts} prompts")
    return []


def one_at_a_time(folder: Path, options: argparse.Namespace) -> list[float]:
    """transformers alone, as its documentation has it."""
    import torch
    from transformers import AutoModelForCausalLM

    from localpsych_recipes.generation.rendering import Renderer

    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16).eval()
    renderer, written = Renderer(folder / "base"), 0
    asked = _requests(options)
    knobs = {"temperature": 1.5, "top_k": 0, "min_p": 0.05, "repetition_penalty": 1.1, "pad_token_id": 2}
    started = time.monotonic()
    for request in asked:
        ids = torch.tensor([renderer.prompt(request.messages).ids])
        options_of_one = {"do_sample": True, "max_new_tokens": options.tokens, **knobs}
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), **options_of_one)
        written += out.shape[1] - ids.shape[1]
    return [written, time.monotonic() - started]


def batches(folder: Path, options: argparse.Namespace) -> list[float]:
    from localpsych_recipes.generation.in_process import InProcess

    return _timed(InProcess(_weights(folder), 16, print), _requests(options))


def llama_server(folder: Path, options: argparse.Namespace) -> list[float]:
    return _timed(_llama_server(folder, options), _requests(options))


def _timed(writer, requests: Sequence) -> list[float]:
    with writer.open(requests) as engine:
        started = time.monotonic()
        answers = [a for some in engine.write(requests, range(len(requests))) for a in some.values()]
        seconds = time.monotonic() - started
    if None in answers:
        raise SystemExit(f"{writer.name} refused {answers.count(None)} of {len(answers)} prompts")
    return [sum(answer.tokens for answer in answers), seconds]


def _requests(options: argparse.Namespace) -> list:
    """Conversations of some 40 to 120 tokens."""
    from localpsych_recipes.generation import Request, Sampling

    words = random.Random(0)
    said = [_words(words, words.randrange(10, 50)) for _ in range(options.prompts)]
    sampling = [Sampling(1.5, options.tokens, seed, min_p=0.05, repetition_penalty=1.1) for seed in range(len(said))]
    return [Request([{"role": "user", "content": text}], knobs) for text, knobs in zip(said, sampling, strict=True)]


def _words(source: random.Random, count: int) -> str:
    return " ".join("".join(source.choices(LETTERS, k=source.randrange(2, 4))) for _ in range(count))


def _weights(folder: Path):
    from localpsych_recipes.generation.weights import Weights
    from localpsych_recipes.recipe import Base

    base = Base(model=str(folder / "base"), quantization="none", dtype="bfloat16")
    return Weights(base, folder / "base", None, "random", "random")


def _llama_server(folder: Path, options: argparse.Namespace):
    from localpsych_recipes.generation.starting import LlamaCpp
    from localpsych_recipes.recipe import Pairs

    asked = Pairs(server="llama.cpp", slots=options.slots)
    return LlamaCpp("pairs", asked, _weights(folder), folder / "work", lambda text: None, as_trained=True)


ENGINES = {"generate, one at a time": "one", "batches of 16": "batches", "server: llama.cpp": "llama"}
STEPS = {"build": build, "one": one_at_a_time, "batches": batches, "llama": llama_server}

if __name__ == "__main__":
    main()

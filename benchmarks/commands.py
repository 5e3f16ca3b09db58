"""What a user waits for who runs nothing: `check`, `plan` and a finished run again, each against bare imports.

    python benchmarks/commands.py [--times 5] [--base DIR] [--run runs/demo/run]

Each command is a process of its own, in turns; the last column is the median of its ratio to `import torch,
transformers` in the same round, which every tool that loads a model pays. --base: a folder with a model's config.json, to
plan for; without it Qwen3-0.6B's shapes. --run: the run directory that `make demo` has left; without it that row is left
out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from children import CHECKOUT, interleaved, table

PEER = "import torch, transformers"
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151_936, "tie_word_embeddings": True, "dtype": "bfloat16", "max_position_embeddings": 40_960,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="commands-") as folder:
        base = options.base or _qwen3(Path(folder))
        print(table(interleaved(_commands(base.absolute(), options.run), options.times), PEER))


def _commands(base: Path, run: Path | None) -> dict[str, list]:
    localpsych = [sys.executable, "-m", "localpsych_recipes.cli"]
    shipped = sorted(CHECKOUT.glob("recipes/*.yaml"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        PEER: [sys.executable, "-c", PEER],
        "localpsych --help": [*localpsych, "--help"],
        "localpsych check demo": [*localpsych, "check", "demo"],
        f"localpsych check, {len(shipped)} recipes": [*localpsych, "check", *shipped],
        f"localpsych plan, {base.name}": [*localpsych, "plan", "demo", "--set", f"base.model={base}", "--gpu", "24GB"],
    }
    if run:
        again = [sys.executable, "-m", "localpsych_recipes", "demo", "--run-dir", run, "--no-push"]
        text = subprocess.run([str(part) for part in again], capture_output=True, text=True, check=True).stdout
        if text.count("done before") != 8:
            sys.exit(f"{run} is no finished run of the demo's recipe:\n{text}")
        commands["a finished run again"] = again
    return commands


def _qwen3(folder: Path) -> Path:
    (folder / "Qwen3-0.6B").mkdir()
    (folder / "Qwen3-0.6B" / "config.json").write_text(json.dumps(QWEN3))
    return folder / "Qwen3-0.6B"


if __name__ == "__main__":
    main()

"""How many requests a server that is started here answers at once, and on how many cores."""

from __future__ import annotations

import os
from pathlib import Path

from localpsych_recipes import rundir

GPU_SLOTS, CPU_SLOTS = 16, 16  # at most; more gain little on a CPU, and a GPU's memory llama.cpp fits by itself
BESIDE = 512 << 20  # bytes that llama-server needs besides weights and cache: what it computes with, and itself
SPARED = 0.9  # of the memory that is free now: other programs go on
STEP = 256  # tokens that llama-server rounds a slot's context up to


def fitting(model: Path, weights: int, context: int, free: int) -> int:
    """Slots of `context` tokens whose keys and values fit beside `weights` bytes into `free` bytes; 1 to CPU_SLOTS."""
    room = free * SPARED - weights - BESIDE
    return max(1, min(CPU_SLOTS, int(room // (context * bytes_per_token(model)))))


def bytes_per_token(model: Path) -> int:
    """Of 16-bit keys and values in every layer: 2 x 2 x layers x heads x width. model: a folder, or a .gguf file.

    Layers that share theirs or forget early need less.
    """
    layers, heads, width = _of_gguf(model) if model.suffix == ".gguf" else _of_config(model)
    return 2 * 2 * layers * heads * width


def _of_config(folder: Path) -> tuple[int, int, int]:
    config = rundir.read_json(folder / "config.json")
    config = config.get("text_config") or config
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    widest = max(width, config.get("global_head_dim") or 0)  # Gemma 4's layers of full attention
    return config["num_hidden_layers"], config.get("num_key_value_heads") or heads, widest


def _of_gguf(file: Path) -> tuple[int, int, int]:
    from localpsych_recipes.llama_cpp.reader import Reader

    fields = Reader(file).fields
    kind = fields["general.architecture"].contents()

    def say(name: str, otherwise: int) -> int:
        """The number; the largest where each layer has one of its own."""
        found = fields[f"{kind}.{name}"].contents() if f"{kind}.{name}" in fields else otherwise
        return max(found) if isinstance(found, list) else found

    heads = say("attention.head_count", 1)
    width = say("attention.key_length", say("embedding_length", 0) // heads)
    return say("block_count", 0), say("attention.head_count_kv", heads), width


def context(tokens: int, model: Path) -> int:
    """Tokens of a slot that holds so many, rounded up; no more than the model reads. model: as in `longest`."""
    rounded = -(-tokens // STEP) * STEP
    return min(rounded, longest(model) or rounded)


def longest(model: Path) -> int | None:
    """Tokens that a model reads at most; None where its folder does not say. model: a folder, or a .gguf file."""
    if model.suffix == ".gguf":
        from localpsych_recipes.llama_cpp.reader import Reader

        fields = Reader(model).fields
        named = f"{fields['general.architecture'].contents()}.context_length"
        return fields[named].contents() if named in fields else None
    config = rundir.read_json(model / "config.json") or {}
    return (config.get("text_config") or config).get("max_position_embeddings")


def free_memory() -> int:
    """Bytes that the system would give to a new process now (Linux); elsewhere half of the machine's."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

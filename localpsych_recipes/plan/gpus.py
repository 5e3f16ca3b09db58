"""Published figures of GPUs, and which of them a name means."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from localpsych_recipes.errors import UserError

GiB = 2**30
USABLE = 0.92  # assumed share that driver, error correction and a display leave: a T4's 16 GB are 14.7 to a program


@dataclass(frozen=True)
class Gpu:
    """memory: bytes for programs; tflops: dense 16-bit tensor rate with fp32 sums; vector: fp32 without tensor cores;
    bandwidth: GB/s; capability: compute capability; source: where the figures stand. None: not known."""

    name: str
    memory: int
    tflops: float | None = None
    vector: float | None = None
    bandwidth: float | None = None
    capability: tuple[int, int] | None = None
    source: str = ""


AMPERE = "NVIDIA Ampere GA102 whitepaper and product page (16 bit with fp32 sums: twice the fp32 rate)"
ADA = "NVIDIA Ada whitepaper and product page (16 bit with fp32 sums: twice the fp32 rate)"
# name, GB, dense 16-bit TFLOP/s, fp32 TFLOP/s, GB/s, compute capability, source
TABLE = (
    ("H200", 141, 989, 67, 4800, (9, 0), "NVIDIA H200 datasheet; dense is half of its figure with sparsity"),
    ("H100 80GB SXM", 80, 989, 67, 3350, (9, 0), "NVIDIA H100 datasheet; dense is half of its figure with sparsity"),
    ("A100 80GB", 80, 312, 19.5, 2039, (8, 0), "NVIDIA A100 datasheet, SXM"),
    ("L40S", 48, 362, 91.6, 864, (8, 9), "NVIDIA L40S datasheet; dense is half of its figure with sparsity"),
    (
        "RTX A6000",
        48,
        154.8,
        38.7,
        768,
        (8, 6),
        "NVIDIA RTX A6000 datasheet; dense is half of its figure with sparsity",
    ),
    ("A100 40GB", 40, 312, 19.5, 1555, (8, 0), "NVIDIA A100 datasheet, SXM"),
    ("RTX 5090", 32, 209.5, 104.8, 1792, (12, 0), "NVIDIA RTX Blackwell whitepaper"),
    ("V100 32GB", 32, 125, 15.7, 900, (7, 0), "NVIDIA V100 datasheet, SXM2"),
    ("RTX 4090", 24, 165.2, 82.6, 1008, (8, 9), ADA),
    ("RTX 3090", 24, 71, 35.6, 936, (8, 6), AMPERE),
    ("L4", 24, 121, 30.3, 300, (8, 9), "NVIDIA L4 datasheet; dense is half of its figure with sparsity"),
    ("A10G", 24, 70, 35, 600, (8, 6), "NVIDIA A10G figures as published for AWS G5"),
    ("RTX 4080", 16, 97.5, 48.7, 717, (8, 9), ADA),
    ("T4", 16, 65, 8.1, 300, (7, 5), "NVIDIA T4 datasheet"),
    ("V100 16GB", 16, 125, 15.7, 900, (7, 0), "NVIDIA V100 datasheet, SXM2"),
    ("P100 16GB", 16, 18.7, 9.3, 732, (6, 0), "NVIDIA P100 PCIe datasheet; no tensor cores"),
    ("RTX 3060 12GB", 12, 25.5, 12.7, 360, (8, 6), AMPERE),
    ("RTX 4070", 12, 58.3, 29.1, 504, (8, 9), ADA),
    ("RTX 3080 10GB", 10, 59.5, 29.8, 760, (8, 6), AMPERE),
    ("RTX 3070", 8, 40.6, 20.3, 448, (8, 6), AMPERE),
    ("RTX 4060", 8, 30.2, 15.1, 272, (8, 9), ADA),
    ("RTX 3050 Ti Laptop", 4, 10.6, 5.3, 192, (8, 6), "NVIDIA product page: 2560 cores at the lowest boost, 1035 MHz"),
)
GPUS = tuple(Gpu(name, int(gb * GiB * USABLE), *rest) for name, gb, *rest in TABLE)


def find(name: str) -> Gpu:
    """The GPU that a name or a size ("16GB") means. UserError with the names for one that is not in the table.

    Where a name fits several (A100), the one with the least memory is meant.
    """
    if size := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*gi?b?\s*", name, re.IGNORECASE):
        return Gpu(f"a GPU of {size[1]} GB", int(float(size[1]) * GiB * USABLE))
    asked = _words(name)
    found = [gpu for gpu in GPUS if asked and asked <= _words(gpu.name)]
    if found:
        return min(found, key=lambda gpu: (len(_words(gpu.name)), gpu.memory))
    raise _unknown(name)


def here() -> Gpu | None:
    """The least of this machine's CUDA GPUs, with what is published of it; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    number = min(range(torch.cuda.device_count()), key=lambda n: torch.cuda.mem_get_info(n)[1])
    name, memory = torch.cuda.get_device_name(number), torch.cuda.mem_get_info(number)[1]
    known = next((gpu for gpu in GPUS if _words(gpu.name) - {"sxm"} <= _words(name)), Gpu(name, memory))
    capability = torch.cuda.get_device_capability(number)
    return Gpu(name, memory, known.tflops, known.vector, known.bandwidth, capability, known.source)


def smallest(needed: int) -> str | None:
    """The names of the table's GPUs with the least memory that is at least `needed` bytes; None if none has it."""
    enough = min((gpu.memory for gpu in GPUS if gpu.memory >= needed), default=None)
    return ", ".join(gpu.name for gpu in GPUS if gpu.memory == enough) or None


def _words(name: str) -> set[str]:
    spaced = re.sub(r"(?<=\d)\s+(?=gb\b)", "", name.lower())
    spaced = re.sub(r"\b(rtx|gtx)(?=\d)", r"\1 ", spaced)
    return set(re.findall(r"[a-z0-9]+", spaced)) - {"nvidia", "geforce", "tesla", "gpu"}


def _unknown(name: str) -> UserError:
    names = [gpu.name for gpu in GPUS]
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], 1, cutoff=0.5)
    meant = next((n for n in names if close and n.lower() == close[0]), None)
    return UserError(
        f"--gpu: no GPU {name!r} in the table",
        "one of " + ", ".join(names) + ', or a size such as "16GB"',
        f"did you mean {meant}?" if meant else "take the nearest one, or its memory as a size",
    )

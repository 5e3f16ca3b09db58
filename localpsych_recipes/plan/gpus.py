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


# Read on 21 November 2026 in stored copies of public pages. "Quoted": a document in the words of another page, not seen
# itself. Compute capabilities: developer.nvidia.com/cuda-gpus and /cuda-legacy-gpus.
BOOK = "ML Engineering, accelerator tables without sparsity"  # github.com/stas00/ml-engineering, compute/accelerator
H100 = "Lockwood, H100, without sparsity"  # glennklockwood.com/garden/processors/h100
A100 = "NVIDIA A100 datasheet, SXM, quoted"  # nvidia.com, nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
BLOG = "NVIDIA Ampere Architecture In-Depth, quoted"  # developer.nvidia.com/blog/nvidia-ampere-architecture-in-depth
L40S = "NVIDIA L40S datasheet as a shop gives it"  # mullet.se/product.html?product_id=355414
GA102 = "NVIDIA GA102 whitepaper, quoted"  # nvidia.com, nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf
ADA = "NVIDIA Ada whitepaper, quoted"  # images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf
GB202 = "NVIDIA RTX Blackwell whitepaper, quoted"  # images.nvidia.com, nvidia-rtx-blackwell-gpu-architecture.pdf
L4 = "NVIDIA L4 page, quoted: half of 242 with sparsity; the rest fpsbench.com"  # nvidia.com/en-us/data-center/l4
A10G = "NVIDIA A10G datasheet for AWS, quoted"  # d1.awsstatic.com, NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf
T4 = "sysrqmts.com, Tesla T4; rates also in NVIDIA's datasheet, quoted"  # sysrqmts.com/en/gpus/nvidia/tesla/t4
P100 = "Microway and Tech4Gamers, P100 PCIe; no tensor cores"  # microway.com/hpc-tech-tips, tech4gamers.com
AD103 = "holynerdvana.com, RTX 4080; a quarter of its 390 with 16-bit sums and sparsity"
# With fp32 sums the tensor cores of a GeForce do twice its fp32 rate, in Turing four times: GA102, ADA and GB202 above,
# and NVIDIA's Turing whitepaper (quoted) on the RTX 2080 Ti. Data sheets advertise 16-bit sums, sparsity or both.
TWICE = "{}; tensor cores twice the fp32 rate"
FPSBENCH, HMC = TWICE.format("fpsbench.com"), TWICE.format("hmc-tech.com, RTX 4060 vs RTX 3060")
# techpowerup.com/review/nvidia-geforce-ampere-architecture-board-design-gaming-tech-software/2.html
RTX3080, RTX3070 = TWICE.format("fudzilla.net and techpowerup.com"), TWICE.format("oryoy.com")
TURING = "fpsbench.com, RTX 2060; tensor cores four times the fp32 rate"
# Laptops: the slowest variant that a page was found for, since the name does not tell which one a laptop has.
L3060 = "hmc-tech.com, variant of 65 W (25.8 TFLOP/s with 110 W); bandwidth alldbin.com"
L4050 = "hmc-tech.com, variant of 30 W (24.3 TFLOP/s with 115 W)"
L3050 = "sysrqmts.com, at 1035 MHz (15.2 TFLOP/s with 60 W, hmc-tech.com); tensor cores twice the fp32 rate"
# name, GB, dense 16-bit TFLOP/s, fp32 TFLOP/s, GB/s, compute capability, source
TABLE = (
    ("H200", 141, 989, 67, 4800, (9, 0), BOOK),
    ("H100 80GB SXM", 80, 989, 67, 3350, (9, 0), H100),
    ("A100 80GB", 80, 312, 19.5, 2039, (8, 0), A100),
    ("L40S", 48, 362, 91.6, 864, (8, 9), L40S),
    ("RTX A6000", 48, 154.8, 38.7, 768, (8, 6), GA102 + "; bandwidth sysrqmts.com"),
    ("A100 40GB", 40, 312, 19.5, 1555, (8, 0), BLOG),
    ("RTX 5090", 32, 209.5, 104.8, 1792, (12, 0), GB202 + "; fp32 rate Hugging Face's hardware list"),
    ("V100 32GB", 32, 125, 15.7, 900, (7, 0), BLOG),
    ("RTX 4090", 24, 165.2, 82.6, 1008, (8, 9), ADA),
    ("RTX 3090", 24, 71, 35.6, 936, (8, 6), GA102),
    ("L4", 24, 121, 30.3, 300, (8, 9), L4),
    ("A10G", 24, 70, 35, 600, (8, 6), A10G),
    ("RTX 4080", 16, 97.5, 48.7, 717, (8, 9), AD103),
    ("T4", 16, 65, 8.1, 320, (7, 5), T4),
    ("V100 16GB", 16, 125, 15.7, 900, (7, 0), BLOG),
    ("P100 16GB", 16, 18.7, 9.3, 732, (6, 0), P100),
    ("RTX 3060 12GB", 12, 25.5, 12.7, 360, (8, 6), HMC),
    ("RTX 4070", 12, 58.3, 29.1, 504, (8, 9), FPSBENCH),
    ("RTX 3080 10GB", 10, 59.5, 29.8, 760, (8, 6), RTX3080),
    ("RTX 3070", 8, 40.6, 20.3, 448, (8, 6), RTX3070),
    ("RTX 4060", 8, 30.2, 15.1, 272, (8, 9), FPSBENCH),
    ("RTX 2060", 6, 25.8, 6.5, 336, (7, 5), TURING),
    ("RTX 3060 Laptop 6GB", 6, 20.8, 10.4, 336, (8, 6), L3060),
    ("RTX 4050 Laptop 6GB", 6, 15.9, 7.9, 192, (8, 9), L4050),
    ("RTX 3050 Ti Laptop", 4, 10.6, 5.3, 192, (8, 6), L3050),
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
    known = named(name) or Gpu(name, memory)
    capability = torch.cuda.get_device_capability(number)
    return Gpu(name, memory, known.tflops, known.vector, known.bandwidth, capability, known.source)


def named(device: str) -> Gpu | None:
    """The row that a CUDA device's own name means, which has no size in it. A laptop's GPU is never a desktop's."""
    words = _words(device)
    return next(
        (gpu for gpu in GPUS if _sizeless(gpu) <= words and ("laptop" in _sizeless(gpu)) == ("laptop" in words)), None
    )


def smallest(needed: int) -> str | None:
    """The names of the table's GPUs with the least memory that is at least `needed` bytes; None if none has it."""
    enough = min((gpu.memory for gpu in GPUS if gpu.memory >= needed), default=None)
    return ", ".join(gpu.name for gpu in GPUS if gpu.memory == enough) or None


def _sizeless(gpu: Gpu) -> set[str]:
    return {word for word in _words(gpu.name) if not re.fullmatch(r"\d+gb|sxm", word)}


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

"""What this machine and this launch are: ranks, memory, versions, hardware. Looks at torch only where it is loaded."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localpsych_recipes.meeting import Meeting


@dataclass(frozen=True)
class Ranks:
    """This process among those that `accelerate launch` started."""

    rank: int = 0
    local_rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        return self.rank == 0


def ranks() -> Ranks:
    """Read from the launcher's environment; a process started without one is alone."""
    env = os.environ
    return Ranks(int(env.get("RANK", 0)), int(env.get("LOCAL_RANK", 0)), int(env.get("WORLD_SIZE", 1)))


# while the main process tokenises a large dataset the others wait in TRL's own barrier; one that dies is heard of at once
COLLECTIVE_SECONDS = 24 * 3600

_meeting: Meeting | None = None  # of this process


def meeting(ranks: Ranks) -> Meeting:
    """With the other ranks of this launch; connects them when it is called first."""
    global _meeting
    if _meeting is None:
        from localpsych_recipes.meeting import Meeting

        _meeting = Meeting(ranks.rank, ranks.local_rank, ranks.world)
    return _meeting


def barrier(ranks: Ranks) -> None:
    """All ranks meet, by polling: one of them may take hours, and no collective of the others waits so long."""
    if ranks.world > 1:
        meeting(ranks).meet()


def sharded() -> bool:
    """Whether `accelerate launch` was told to divide the base's weights among the ranks by FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def refuse_unshared(ranks: Ranks, folder: Path) -> None:
    """UserError on a rank that does not see the main process's folder, through which the ranks work together."""
    if ranks.world > 1:
        meeting(ranks).share(folder)


def leave(ranks: Ranks) -> None:
    """After the last stage that needs every rank: none waits for another at exit, and that one ends is no failure."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if ranks.world > 1:
        meeting(ranks).part()


def first_to_say(text: str) -> bool:
    """Whether this rank prints a message that others may have too: once, wherever it happened.

    Before the ranks have met, each machine's first one does: what stops it may be wrong on that machine alone.
    """
    return _meeting.first_to_say(text) if _meeting else ranks().local_rank == 0


def reset_peak_memory() -> None:
    """Starts a new peak for `peak_memory`; Linux only, elsewhere the peak is the process's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int | None]:
    """Peak resident and device memory of this process since the reset, in bytes."""
    torch = sys.modules.get("torch")
    device = torch.cuda.max_memory_allocated() if torch and torch.cuda.is_available() else None
    return {"peak_memory_bytes": _peak_resident(), "device_peak_memory_bytes": device}


def _peak_resident() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions; "none" for one that is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def hardware() -> dict[str, Any]:
    """Names of the processor and the GPUs, for reports and cards; no host name."""
    torch = sys.modules.get("torch")
    gpus = []
    if torch and torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"cpu": _processor(), "cores": os.cpu_count(), "gpus": gpus}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def cores() -> int:
    """Cores that a program started here may use: this process's, and no more than its control group's quota.

    Not OMP_NUM_THREADS: launchers set it to 1 for each rank, and while it works the ranks wait.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups, or "max"
        return allowed

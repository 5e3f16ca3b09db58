"""A small recipe on files of this machine, and launches of it on one rank and on several."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from localpsych_recipes.demo import tiny_gemma4
from tests import small_run

CHECKOUT = Path(__file__).resolve().parents[2]
# two questions more than small_run has: an odd number of rows would be divided differently over one rank and over two
ROWS = [
    *small_run.ROWS,
    ("My train was late.", "Tiring.", "So what."),
    ("I miss home.", "What do you miss most?", "Go."),
]
RECIPE = """
name: small
base: {{model: {base}, hub_id: someone/tiny, dtype: float32, quantization: none, license: apache-2.0}}
data: {{source: {rows}, columns: {{prompt: question, chosen: good, rejected: bad}}, test_size: 0.2, license: mit}}
lora: {{r: 4, lora_alpha: 8, lora_dropout: 0.0}}
sft: {{max_steps: 3, per_device_train_batch_size: 1, gradient_accumulation_steps: 2, learning_rate: 1e-3,
      optim: adamw_torch, max_length: 256, logging_steps: 1, save_steps: 1, report_to: none}}
dpo: {{max_steps: 2, per_device_train_batch_size: 1, gradient_accumulation_steps: 2, learning_rate: 1e-3,
      optim: adamw_torch, max_length: 256, logging_steps: 1, save_steps: 1, report_to: none}}
"""
TWO = ("--multi_gpu", "--num_processes", "2", "--num_machines", "1")
ALWAYS = ("--mixed_precision", "no", "--dynamo_backend", "no")
LIMIT = 240  # seconds that a launch may take, on a busy machine too


@dataclass(frozen=True)
class Launched:
    """What a launch left behind."""

    code: int
    text: str


@dataclass
class World:
    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "small.yaml"

    def command(self, run_dir: Path, *arguments: str, launcher: Iterable[str] = ()) -> list[str]:
        program = ["-m", "localpsych_recipes", str(self.recipe), "--run-dir", str(run_dir), *arguments]
        accelerate = [str(Path(sys.executable).with_name("accelerate")), "launch", *launcher, *ALWAYS]
        return [*accelerate, *program] if launcher else [sys.executable, *program]

    def start(self, command: list[str], **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=CHECKOUT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), **environment},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, run_dir: Path, *arguments: str, launcher: Iterable[str] = ()) -> Launched:
        return ended(self.start(self.command(run_dir, *arguments, launcher=launcher)))


def make(folder: Path) -> World:
    """The tiny base, the rows and the recipe, in `folder`."""
    tiny_gemma4.make(folder / "base", steps=1, say=lambda text: None)
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("question", "good", "bad"), *ROWS])
    world = World(folder)
    world.recipe.write_text(RECIPE.format(base=folder / "base", rows=folder / "rows.csv"))
    return world


def all_ended(processes: list[subprocess.Popen]) -> list[Launched]:
    """As `ended`; none is left running where one hangs."""
    try:
        return [ended(process) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen) -> Launched:
    """Waits for it; whatever is left of its group goes. AssertionError where it hangs."""
    try:
        text, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(process.communicate()[0]) from None
    return Launched(process.returncode, text)


def wait(until: Callable[[], object], process: subprocess.Popen) -> None:
    """AssertionError, with what was printed, if the process ends before, or hangs."""
    latest = time.monotonic() + LIMIT
    while not until():
        if time.monotonic() > latest:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def two_machines(number: int, address: str, port: int) -> tuple[str, ...]:
    """For `accelerate launch` on one of them."""
    rendezvous = ("--machine_rank", str(number), "--main_process_ip", address, "--main_process_port", str(port))
    return ("--multi_gpu", "--num_processes", "2", "--num_machines", "2", *rendezvous)


def program(number: int, port: int, *words: str | Path) -> list[str]:
    """tests/ranks/program.py as one of two machines of one process each, both of them this one."""
    where = [f"--node-rank={number}", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    launcher = [sys.executable, "-m", "torch.distributed.run", *where, f"--master-port={port}"]
    return [*launcher, str(Path(__file__).with_name("program.py")), *map(str, words)]


@contextmanager
def two_namespaces() -> Iterator[list[tuple[list[str], str, str]]]:
    """Two network namespaces, joined by a cable: how a command is begun in each, its device, its address.

    OSError where this user may not make any.
    """
    made = [(f"ranks-{os.getpid()}-{n}", f"veth{os.getpid() % 100_000}-{n}", f"10.213.7.{n + 1}") for n in (0, 1)]
    try:
        for name, _, _ in made:
            ip("netns", "add", name)
        ip("link", "add", made[0][1], "type", "veth", "peer", "name", made[1][1])
        for name, device, address in made:
            ip("link", "set", device, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [(["ip", "netns", "exec", name], device, address) for name, device, address in made]
    finally:
        for name, _, _ in made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())


def largest_difference(one: Path, other: Path) -> float:
    """Between two adapters: of the difference's norm to the norm of what the second one learnt, over B (0 at first)."""
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    names = [name for name in first if "lora_B" in name]
    a, b = (torch.cat([found[name].flatten() for name in names]).double() for found in (first, second))
    assert b.norm() > 0
    return ((a - b).norm() / b.norm()).item()

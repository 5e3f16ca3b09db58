"""SIGTERM and SIGINT: a training saves first, two ranks save together, a launcher that is killed takes its child along."""

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
# two numbers learn a line; at its third step rank 1 alone has a signal
TRAIN = """
import os, signal, sys
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from localpsych_recipes import cli, signals
from localpsych_recipes.training_callbacks import MarkComplete, SaveWhenAsked

class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)
    def forward(self, x, labels):
        return {"loss": (self.line(x) - labels).square().mean()}

class Signal(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2 and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

def train(folder):
    rows = [{"x": torch.ones(1) * n, "labels": torch.ones(1)} for n in range(400)]
    args = TrainingArguments(folder, use_cpu=True, max_steps=40, save_strategy="no", report_to="none", disable_tqdm=True)
    callbacks = [MarkComplete(), SaveWhenAsked(), Signal()]
    with signals.deferred():
        Trainer(Line(), args, train_dataset=rows, callbacks=callbacks).train()

signals.listen()
sys.exit(cli.guarded(train, sys.argv[1]))
"""
CHILD = """
import time
from localpsych_recipes import signals
signals.listen()
print(flush=True)
time.sleep(600)
"""
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def start(*command: str, **variables: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_training_saves_the_step_on_every_rank_and_says_that_it_may_be_started_again(tmp_path, ranks):
    world = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} if ranks > 1 else {}
    of_rank = [{**world, "RANK": str(r), "LOCAL_RANK": str(r)} if world else {} for r in range(ranks)]
    processes = [start(TRAIN, str(tmp_path), **variables) for variables in of_rank]
    texts = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [75] * ranks, texts
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    # the step in which the signal came; of several ranks the next, at which all of them know
    assert checkpoint.name == f"checkpoint-{2 + ranks}" and (checkpoint / "complete").exists()
    assert len(list(checkpoint.glob("rng_state*.pth"))) == ranks
    assert "".join(texts).count("localpsych: interrupted; the same command goes on from here") == 1
    assert "Traceback" not in "".join(texts)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_launcher_that_is_killed_takes_the_run_along():
    launcher = start(LAUNCHER, CHILD, "accelerate")
    launcher.stdout.readline()
    launcher.kill()
    # to the end of what both print: it comes when neither is there any more
    assert launcher.communicate(timeout=60)[0] == "localpsych: interrupted; the same command goes on from here\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_tool_ends_with_the_run_that_is_killed():
    """It would go on writing into the file that the next run begins anew."""
    run = start("from localpsych_recipes.llama_cpp import process; process.run(['sleep', '600'])")
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    while not (tool := children.read_text().split()) or not Path(f"/proc/{tool[0]}/cmdline").read_text()[:5] == "sleep":
        time.sleep(0.01)
    ended = os.pidfd_open(int(tool[0]))
    run.kill()
    run.communicate()
    assert select.select([ended], [], [], 60)[0] == [ended]
    os.close(ended)


def test_a_second_signal_ends_what_the_first_does_not():
    stubborn = """
import sys, time
from localpsych_recipes import signals
signals.listen()
with signals.raised(), signals.deferred():
    print(flush=True)
    time.sleep(600)
"""
    process = start(stubborn)
    process.stdout.readline()
    process.terminate()
    process.terminate()  # the same, as a scheduler and a launcher both send it
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    process.terminate()
    assert process.wait(60) == 75
    process.communicate()

"""Several processes make what one makes, on one machine and on two; they wait for each other, and go down together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from localpsych_recipes.generation import Ledger
from tests.ranks import launched, program

# relative, in float32: the same sums in another order
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> launched.World:
    return launched.make(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def alone(world) -> Path:
    """The run of one process, which accumulates what two take side by side."""
    run_dir = world.folder / "alone"
    doubled = [word for stage in ("sft", "dpo") for word in ("--set", f"{stage}.gradient_accumulation_steps=4")]
    done = world.run(run_dir, *doubled)
    assert done.code == 0, done.text
    return run_dir


def test_two_processes_train_what_one_trains_with_doubled_accumulation(world, alone):
    run_dir = world.folder / "two"
    done = world.run(run_dir, launcher=launched.TWO)
    assert done.code == 0, done.text
    assert json.loads((run_dir / "reports/dpo.json").read_text())["processes"] == 2
    for stage in ("sft", "dpo"):
        assert launched.largest_difference(run_dir / stage / "adapter", alone / stage / "adapter") < TOLERANCE


def test_two_machines_train_the_same_go_down_when_the_main_process_is_killed_and_go_on(world, alone):
    run_dir = world.folder / "machines"
    with contextlib.ExitStack() as stack:
        try:
            machines = stack.enter_context(launched.two_namespaces())
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        first = start(world, machines, run_dir)
        launched.wait(lambda: any(run_dir.glob("sft/checkpoints-*/checkpoint-1/complete")), first[0])
        os.kill(json.loads((run_dir / ".lock").read_text())["pid"], signal.SIGKILL)
        ends = launched.all_ended(first)
        again = launched.all_ended(start(world, machines, run_dir))
    assert all(end.code for end in ends)
    assert "SIGKILL" in ends[0].text
    assert ends[1].text.count("localpsych: the main process, on machine 0, has ended") == 1
    assert [end.code for end in again] == [0, 0], again[0].text + again[1].text
    assert json.loads((run_dir / "reports/sft.json").read_text())["results"]["resumed"]
    assert launched.largest_difference(run_dir / "sft/adapter", alone / "sft/adapter") < TOLERANCE


def start(world, machines, run_dir):
    port = launched.free_port()
    found = []
    for number, (inside, device, _) in enumerate(machines):
        launcher = launched.two_machines(number, machines[0][2], port)
        command = [*inside, *world.command(run_dir, "--until", "sft", launcher=launcher)]
        found.append(world.start(command, GLOO_SOCKET_IFNAME=device))
    return found


def on_two(world, *words: str | Path) -> list[launched.Launched]:
    """A function of program.py on two machines."""
    port = launched.free_port()
    return launched.all_ended([world.start(launched.program(n, port, *words)) for n in (0, 1)])


def test_a_main_process_that_takes_long_ends_no_other(world):
    ends = on_two(world, "slow")
    assert [end.code for end in ends] == [0, 0], ends[0].text + ends[1].text
    assert "rank 0: 2" in ends[0].text and "rank 1: 2" in ends[1].text


def test_a_mistake_on_another_machine_is_said_once_and_ends_all(world, tmp_path):
    """Here: a run directory that the machines do not share, whose markers one of them would await for ever."""
    ends = on_two(world, "unshared", tmp_path)
    assert all(end.code for end in ends)
    assert [end.text.count("is not that of the main process") for end in ends] == [0, 1]
    assert ends[0].text.count("localpsych: process 1, on machine 1, has ended") == 1


@pytest.fixture(scope="module")
def shared(world) -> Path:
    folder = world.folder / "shared"
    folder.mkdir()
    ends = on_two(world, "share", world.folder / "base", folder)
    assert [end.code for end in ends] == [0, 0], ends[0].text + ends[1].text
    return folder


def test_two_ranks_write_the_texts_of_one(world, shared, tmp_path):
    program.generate(str(world.folder / "base"), str(tmp_path))
    assert len(list(shared.glob("answers*.jsonl"))) == 2
    assert answers(shared) == answers(tmp_path)


def answers(folder: Path) -> dict:
    with Ledger(folder, "answers") as ledger:
        return ledger.answers


def test_an_adapter_trained_under_fsdp2_is_handed_on_whole(shared):
    """NF4, stored as models._quantization does for FSDP, whose own bits are what a rank holds half of."""
    whole, divided = shared / "whole", shared / "divided"
    assert launched.largest_difference(divided, whole) < TOLERANCE

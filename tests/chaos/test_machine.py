"""A machine that lacks something, or damages something: one message, and the same command completes."""

import subprocess

import pytest

from localpsych_recipes.rundir import file_sha256
from tests.chaos import ground

FULL = "localpsych: no space left on the disk"
UNTIL = ("--until", "sft")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB: room for a checkpoint's adapter, and none for its optimizer."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs takes rights that this user does not have")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def refused(world, run_dir) -> str:
    """What is said by a run that ends in one message."""
    command = world.command(run_dir, *UNTIL, settings=ground.SMALLEST)
    done = subprocess.run(command, env=world.environment, cwd=ground.worlds.CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("localpsych: ") == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_a_full_disk_ends_in_a_message_and_then_the_run_completes(world, undisturbed, small_disk):
    run_dir = small_disk / "run"
    assert FULL in refused(world, run_dir)
    subprocess.run(["mount", "-o", "remount,size=1g", small_disk], check=True)
    text = world.run(run_dir, *UNTIL, settings=ground.SMALLEST)
    assert "prepare: done before" in text
    trained = "sft/adapter/adapter_model.safetensors"
    assert file_sha256(run_dir / trained) == file_sha256(world.folder / "undisturbed" / trained)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert f"{run_dir} is read-only" in refused(world, run_dir)

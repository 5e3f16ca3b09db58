"""What a machine runs out of or refuses is one message, whichever library noticed it: the real errors of each."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file

from localpsych_recipes import faults

TENSOR = {"a": torch.zeros(500_000)}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs takes rights that this user does not have")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def first_line(fails) -> str:
    """What the user is told of the error that `fails` ends in."""
    with pytest.raises(Exception) as raised:
        fails()
    return str(faults.explained(raised.value)).splitlines()[0]


def rows():
    yield from ({"text": "x" * 1000} for _ in range(3000))


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: (folder / "file").write_bytes(bytes(2_000_000)),
        lambda folder: torch.save(TENSOR, folder / "file"),
        lambda folder: save_file(TENSOR, folder / "file"),
        lambda folder: Dataset.from_generator(rows, cache_dir=str(folder)),
    ],
    ids=["Python", "PyTorch", "safetensors", "datasets"],
)
def test_a_full_disk(small_disk, write):
    assert first_line(lambda: write(small_disk)).startswith("no space left on the disk")


def test_memory_that_is_not_there():
    too_much = 2**55  # bytes, that no machine has
    assert first_line(lambda: bytearray(too_much)) == "memory ran out"
    assert first_line(lambda: torch.empty(too_much, dtype=torch.uint8)) == "memory ran out"


def test_memory_of_a_gpu_by_the_class_that_pytorch_raises():
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    assert first_line(fails) == "memory ran out on the GPU"


def test_no_memory_for_another_process():
    def fails():
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    assert first_line(fails) == "memory ran out"


def test_a_disk_that_is_mounted_read_only(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert first_line((small_disk / "file").touch) == f"{small_disk}/file: Read-only file system"


def test_weights_that_are_cut_short(tmp_path):
    save_file(TENSOR, tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    assert first_line(lambda: load_file(tmp_path / "file")).startswith("damaged weights: ")


def test_an_error_of_the_program_stays_one():
    for error in (
        ValueError("out of memory"),
        RuntimeError("shape '[2, 3]' is invalid"),
        FileNotFoundError(2, "no", "x"),
    ):
        assert faults.explained(error) is None


def test_the_limit_of_a_process_ends_a_command_in_one_message():
    limited = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from localpsych_recipes import cli
sys.exit(cli.guarded(lambda args: bytearray(2 << 30), None))
"""
    checkout = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", limited], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("localpsych: memory ran out\n"), done.stderr
    assert "Traceback" not in done.stderr

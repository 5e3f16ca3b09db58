"""Two runs never write into one directory at once, and a run that was killed stands in nobody's way."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.run_lock import RunLock

CHECKOUT = Path(__file__).resolve().parents[1]
# holds the lock, starts a child by fork(2) as data loaders do, which says the holder's process id, and waits
HOLD = """
import os, sys, time
from pathlib import Path
from localpsych_recipes.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.take()
if not os.fork():
    print(os.getppid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path, and its forked child."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    process.stdout.readline()
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_who_holds_a_run_directory_is_said_to_whoever_comes_second(tmp_path, holder):
    with (
        pytest.raises(UserError, match=rf"in use by process {holder.pid} on .*, since \d{{4}}-"),
        RunLock(tmp_path) as lock,
    ):
        lock.take()
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_a_killed_holder_leaves_the_directory_free_though_its_children_live(tmp_path, holder):
    holder.kill()
    holder.wait()
    with RunLock(tmp_path) as lock:
        lock.take()
        with pytest.raises(UserError), RunLock(tmp_path) as second:
            second.take()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_given_back_and_one_that_was_never_taken_leave_nothing(tmp_path):
    with RunLock(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        with RunLock(tmp_path / "run") as lock:
            lock.take()
            lock.take()
            assert time.strftime("%Y") in lock.path.read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch):
    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")  # as Lustre has it, mounted without -o flock

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with RunLock(tmp_path) as lock:
        lock.take()
    assert list(tmp_path.iterdir()) == []

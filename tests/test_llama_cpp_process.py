"""A tool of llama.cpp that crashes, that hangs, or that outlives its caller: one message, and nothing left running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from localpsych_recipes.llama_cpp import ToolError, process


def tool(folder: Path, *lines: str) -> Path:
    """A program that notes its process id in a file beside it and then does what the lines say."""
    path = folder / "llama-quantize"
    begin = ("import os, pathlib, time", "pathlib.Path(__file__ + '.pid').write_text(str(os.getpid()))")
    path.write_text("\n".join((f"#!{sys.executable}", *begin, *lines)) + "\n")
    path.chmod(0o755)
    return path


def is_running(path: Path) -> bool:
    return psutil.pid_exists(int(Path(f"{path}.pid").read_text()))


def test_a_tool_that_waits_for_what_does_not_come_is_ended_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(process, "STILL_SECONDS", 5.0)
    hangs = tool(tmp_path, "time.sleep(600)")
    with pytest.raises(ToolError, match="llama-quantize hangs: it has computed nothing for 5 s, and was ended"):
        process.run([hangs])
    assert not is_running(hangs)


def test_a_tool_that_computes_for_longer_than_that_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(process, "STILL_SECONDS", 5.0)
    works = tool(tmp_path, "while time.process_time() < 7: sum(range(10_000))", "print('done')")
    assert process.run([works]) == "done\n"


def test_a_tool_that_crashes_is_named_with_its_signal_and_its_last_lines(tmp_path):
    crashes = tool(tmp_path, "print('loading tensor 7', flush=True)", "os.abort()")
    with pytest.raises(ToolError, match=r"llama-quantize was ended by SIGABRT: \n *loading tensor 7"):
        process.run([crashes])


def test_a_tool_is_ended_where_its_caller_is_interrupted(tmp_path):
    hangs = tool(tmp_path, "time.sleep(600)")
    caller = (
        "import os, signal, threading, sys, time, pathlib\n"
        "from localpsych_recipes.llama_cpp import process\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what a shell starts in its background ignores it
        f"there = pathlib.Path({f'{hangs}.pid'!r})\n"
        "def interrupt():\n"
        "    while not there.exists() or not there.read_text(): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        f"process.run([{str(hangs)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", caller], capture_output=True, text=True, timeout=120)
    assert "KeyboardInterrupt" in done.stderr
    assert not is_running(hangs)

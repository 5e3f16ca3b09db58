"""Ranks of one launch: they meet by polling, however long one of them takes, and hear at once when another has died.

A collective fails after its timeout while the main process downloads or tokenises. A launcher ends the ranks of its own
machine alone; those of another would wait for ever. So each rank holds a connection to the main process, which the
system closes with whoever dies, and keepalive closes where a machine or its network is gone.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import secrets
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from localpsych_recipes.errors import UserError

POLL_SECONDS = 0.2
JOIN_SECONDS = 600.0  # a launcher starts all ranks together; loading libraries from a slow disk takes minutes at most
SHARED_SECONDS = 60.0  # NFS shows a new file to other machines after 60 s at most (acdirmax of nfs(5))
GRACE_SECONDS = 15  # to stop servers and leave nothing half-written, before a rank that hangs in a collective is ended
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a machine without power is missed in 30 s
SIGN = ".launch-"  # begins the name of a file that only one launch has made
PART_WITH = b"."  # what a rank sends that is needed no more


class Meeting:
    """What one rank holds of the launch. Made by all ranks; the first `meet` connects them. Needs the main thread.

    rank, local_rank, world: as the launcher says. UserError where ranks were started in a way that leaves no store.
    """

    def __init__(self, rank: int, local_rank: int, world: int) -> None:
        self.rank, self.local_rank, self.world = rank, local_rank, world
        self.machine = os.environ.get("GROUP_RANK", "0")
        self.store, self.rounds, self.parting = _store(), 0, False
        self.lines: list[socket.socket] = []
        signal.signal(signal.SIGUSR2, _end)
        (self._listen if rank == 0 else self._connect)()

    def meet(self) -> None:
        """Returns when every rank has called it as often. UserError on the main process where some never came."""
        self.rounds += 1
        self.store.add("arrived", 1)
        began = time.monotonic()
        while (arrived := self.store.add("arrived", 0)) < self.rounds * self.world:
            if self.rounds == 1 and time.monotonic() - began > JOIN_SECONDS and len(self.lines) < self.world - 1:
                raise UserError(
                    f"{arrived} of {self.world} processes came together in {JOIN_SECONDS:.0f} s",
                    "all of those that were launched",
                    "look at what the others have printed, on their machines",
                )
            time.sleep(POLL_SECONDS)

    def say(self, key: str, value: str) -> None:
        """For `heard` on the other ranks."""
        self.store.set(key, value)

    def heard(self, key: str) -> str:
        """What another rank says, as soon as it does."""
        try:
            while not self.store.check([key]):
                time.sleep(POLL_SECONDS)
            return self.store.get(key).decode()
        except RuntimeError:  # the launcher of the main process is gone, and the store with it
            raise UserError(
                "the main process has ended before this one had met it",
                "one that goes on",
                "look at what its machine has printed, then run the same command on every machine again",
            ) from None

    def share(self, folder: Path) -> None:
        """Returns when every rank has seen a file that the main process has just put there. UserError where one does not."""
        if self.rank == 0:
            for left in folder.glob(f"{SIGN}*"):  # by a launch that ended here
                left.unlink(missing_ok=True)
            sign = folder / f"{SIGN}{secrets.token_hex(8)}"
            sign.touch()
            self.say("sign", sign.name)
        began, sign = time.monotonic(), folder / self.heard("sign")
        while not sign.exists():
            if time.monotonic() - began > SHARED_SECONDS:
                raise UserError(
                    f"{folder} on machine {self.machine} is not that of the main process, which lies on another machine",
                    "one run directory, on a file system that all machines share",
                    "name such a folder with --run-dir on every machine",
                )
            time.sleep(POLL_SECONDS)
        self.meet()
        if self.rank == 0:
            sign.unlink()

    def first_to_say(self, text: str) -> bool:
        """Whether no rank has printed this message yet; this one goes, and from now on takes no heed of the others."""
        self.parting = True
        try:
            return self.store.add(f"said/{hashlib.sha256(text.encode()).hexdigest()}", 1) == 1
        except RuntimeError:  # the launcher of the main process is gone, and the store with it
            return self.local_rank == 0

    def part(self) -> None:
        """This rank is needed no more, or none is any more: that it ends is no failure."""
        self.parting = True
        for line in self.lines:
            try:
                line.sendall(PART_WITH)
            except OSError:  # has parted before
                pass

    def _listen(self) -> None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        server = socket.create_server(("", 0), family=family, dualstack_ipv6=dual)
        token = secrets.token_hex(16)
        threading.Thread(target=self._accept, args=(server, token), daemon=True).start()
        self.say("lifeline", f"{server.getsockname()[1]} {token} {self.machine}")

    def _accept(self, server: socket.socket, token: str) -> None:
        while len(self.lines) < self.world - 1:
            line, _ = server.accept()
            line.settimeout(10)  # a stranger who says nothing must not keep the others out
            try:
                given, rank, machine = line.makefile("r", encoding="ascii", newline="\n").readline(80).split()
            except (OSError, ValueError):
                line.close()
                continue
            if secrets.compare_digest(given, token):
                self._hold(line, f"process {rank}", machine)
        server.close()

    def _connect(self) -> None:
        port, token, machine = self.heard("lifeline").split()
        line = socket.create_connection((os.environ["MASTER_ADDR"], int(port)), timeout=60)
        line.sendall(f"{token} {self.rank} {self.machine}\n".encode())
        self._hold(line, "the main process", machine)

    def _hold(self, line: socket.socket, who: str, machine: str) -> None:
        line.settimeout(None)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in KEEPALIVE.items():
            if hasattr(socket, option):
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
        self.lines.append(line)
        threading.Thread(target=self._watch, args=(line, who, machine), daemon=True).start()

    def _watch(self, line: socket.socket, who: str, machine: str) -> None:
        try:
            last = line.recv(1)
        except OSError:
            last = b""
        if last == PART_WITH or self.parting:
            return
        if machine != self.machine and self.local_rank == 0:  # on its own machine it or the launcher has said why
            do = "the same command on every machine goes on from here"
            print(
                f"localpsych: {who}, on machine {machine}, has ended; why stands there. {do}",
                file=sys.stderr,
                flush=True,
            )
        # in C, since a rank that ends while a collective hangs runs no Python any more
        faulthandler.dump_traceback_later(GRACE_SECONDS, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR2)


def _end(*signal_and_frame: object) -> None:
    raise SystemExit(1)  # no error of its own: whatever stands open is closed, and nothing is printed


def _store():
    """The launcher's key-value store, beside which its ranks were started."""
    from torch.distributed import PrefixStore, TCPStore

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError(
            f"{os.environ.get('WORLD_SIZE')} processes that no `accelerate launch` has started",
            "its store, by which they find each other",
            "start with `accelerate launch`, on each machine (for DeepSpeed with deepspeed_multinode_launcher: standard)",
        )
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(*place, is_master=False, timeout=timedelta(seconds=60))
    return PrefixStore(f"localpsych/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)

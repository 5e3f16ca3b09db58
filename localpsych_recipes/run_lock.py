"""One run at a time in a run directory: a lock that the kernel lifts when its holder is gone, by SIGKILL too."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Self

from localpsych_recipes.errors import UserError

NAME = ".lock"
# a cluster's file system mounted without locks: there nobody can be refused, and nobody is
LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RunLock:
    """RUN/.lock, locked by flock(2) and gone again at the end. It says who holds it, in words for the next who comes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self.path.unlink(missing_ok=True)
            self._file.close()

    def take(self) -> None:
        """Makes the folder and the lock, unless this one has them. UserError, which names the holder, if it is taken."""
        if self._file:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._locked()
        # a process that is forked from this one shares the lock, and may outlive it
        os.register_at_fork(after_in_child=self._file.close)
        self._file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}, self._file)
        self._file.flush()

    def _locked(self) -> IO[str]:
        while True:
            file = self.path.open("a+", encoding="utf-8")  # what its holder wrote must stay readable
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._taken(file) from None
            except OSError as error:
                if error.errno not in LOCKLESS:
                    raise
            if self._is_there(file):
                return file
            file.close()  # its holder has removed it between the two calls

    def _is_there(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _taken(self, file: IO[str]) -> UserError:
        file.seek(0)
        try:
            who = "process {pid} on {host}, since {since}".format(**json.load(file))
        except (ValueError, KeyError):  # it has not written yet
            who = "another process"
        return UserError(
            f"{self.path.parent} is in use by {who}",
            "one run at a time in a run directory",
            "wait until it has ended, or name another folder with --run-dir",
        )

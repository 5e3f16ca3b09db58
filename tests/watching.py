"""What a run could give away: a network with nothing but loopback, the arguments of every process, where a text lies."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000  # unshare(2)
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # netdevice(7)
SOMEWHERE = ("192.0.2.1", 80)  # TEST-NET-1 (RFC 5737): no machine has it, and without a network none is looked for
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def only_loopback() -> Iterator[bool]:
    """The calling thread, and all that it starts, in a network namespace that holds loopback alone.

    Gives False, and changes nothing, where this user may not make one.
    """
    with open("/proc/thread-self/ns/net") as before:
        if not _isolated():
            yield False
            return
        try:
            yield True
        finally:
            _libc.setns(before.fileno(), CLONE_NEWNET)


def _isolated() -> bool:
    if _libc.unshare(CLONE_NEWNET):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    return True


def reaches_the_world() -> bool:
    """Whether the kernel knows any way to an address outside this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        try:
            there.connect(SOMEWHERE)  # of a datagram socket: looks up the way and sends nothing
        except OSError as error:
            assert error.errno == errno.ENETUNREACH
            return False
    return True


@contextmanager
def arguments_of_all_processes() -> Iterator[set[bytes]]:
    """Fills the set, as long as the block lasts, with the command line of every process of this machine."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(process.read_bytes())
                except OSError:  # it has ended
                    pass

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield seen
    finally:
        ended.set()
        watch.join()


def holding(needle: str, places: Iterable[Path]) -> list[Path]:
    """The files, and files below these folders, in which the text stands."""
    files = (file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*"))))
    return [file for file in files if file.is_file() and needle.encode() in file.read_bytes()]

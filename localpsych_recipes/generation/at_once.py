"""Work that waits for others, some of it at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Mapping[int, Item], at_once: int) -> Iterator[tuple[int, Result]]:
    """Each item's number and what `work` makes of it, as they come; what work raises is raised here.

    After an error, and when the iterator is closed, nothing more is begun. What is under way is not waited for, as an
    executor would even at exit: an answer may take minutes.
    """
    waiting: queue.SimpleQueue[tuple[int, Item]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()
    stopped = threading.Event()
    for entry in items.items():
        waiting.put(entry)

    def go() -> None:
        while not stopped.is_set():
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, work(item), None))
            except BaseException as error:  # whatever it is, the thread that waits must hear of it
                stopped.set()  # here: until it has heard, another item would be begun whose result nobody takes
                done.put((number, None, error))

    for _ in range(min(at_once, len(items))):
        threading.Thread(target=go, daemon=True).start()
    try:
        for _ in items:
            number, result, error = done.get()
            if error:
                raise error
            yield number, result
    finally:
        stopped.set()

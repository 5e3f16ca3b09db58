"""All answers to a list of requests: what the ledger lacks is asked for, on the main process or on every rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Literal, Protocol

from localpsych_recipes import machine, rundir
from localpsych_recipes.generation.ledger import Ledger
from localpsych_recipes.generation.requests import Answer, Request

POLL_SECONDS = 0.5
SPEED = ".speed.json"  # behind the name of a ledger's file: writer's identity -> what it has spent
NOTHING = {"tokens": 0, "seconds": 0.0}


class Engine(Protocol):
    """A model that is ready."""

    def write(self, requests: Sequence[Request], missing: Collection[int]) -> Iterator[Mapping[int, Answer | None]]:
        """Answers the requests whose numbers are in `missing`; those that belong together (a batch) come together.

        None: this one was refused. `requests` are all of a stage, also after it was killed, so that batches, and with
        them what is sampled, do not depend on how often that was. UserError for a server that is of no more use.
        A generator: closing it ends what is under way.
        """
        ...


class Writer(Protocol):
    """What may answer requests; nothing is loaded or started before `open`.

    name: of the engine; model: for reports; where: whether texts leave this machine; identity: of all that an answer
    follows from besides the request; every_rank: each rank answers its share, and refuses nothing, since the others wait
    for it (else the main process answers all).
    """

    name: str
    model: str
    where: Literal["local", "remote"]
    identity: str
    every_rank: bool

    def open(self, requests: Sequence[Request]) -> AbstractContextManager[Engine]:
        """Ready for these requests within the block; what was loaded or started goes with it."""
        ...


def write_all(
    writer: Writer,
    requests: Sequence[Request],
    ledger: Ledger,
    ranks: machine.Ranks,
    progress: Callable[[int, int], None],
) -> list[Answer | None]:
    """The answer to each request, on every rank that calls it; None where a server refused. Equal requests are one.

    progress: called with the numbers of answers that are there and that are wanted. Tokens and seconds of the writing
    itself are added up in FOLDER/NAME.speed.json, beside the ledger's own file (`spent`). Ranks that share the work
    leave together: what one of them does next, such as removing a file, finds the others behind it too.
    """
    by_key = {request.key(writer.identity): request for request in requests}
    keys = [request.key(writer.identity) for request in requests]
    shared = writer.every_rank and ranks.world > 1
    if ledger.missing(by_key) and (ranks.main or writer.every_rank):
        _write(writer, by_key, ledger, progress, shared)
    if shared:
        while ledger.missing(by_key):  # polled: a collective would time out where one rank has the long answers
            time.sleep(POLL_SECONDS)
            ledger.refresh()
        machine.barrier(ranks)
    return [ledger.answers.get(key) for key in keys]


def _write(
    writer: Writer,
    by_key: Mapping[str, Request],
    ledger: Ledger,
    progress: Callable[[int, int], None],
    shared: bool,
) -> None:
    keys, requests = list(by_key), list(by_key.values())
    numbers = {key: number for number, key in enumerate(keys)}
    missing = {numbers[key] for key in ledger.missing(keys)}
    done = len(keys) - len(missing)
    with writer.open(requests) as engine, closing(engine.write(requests, missing)) as batches:
        started, tokens = time.monotonic(), 0
        try:
            for batch in batches:
                answers = {keys[number]: answer for number, answer in batch.items() if answer is not None}
                ledger.add(answers)
                tokens += sum(answer.tokens for answer in answers.values())
                done += len(batch)
                if shared:  # other ranks' answers are there too
                    ledger.refresh()
                    done = len(keys) - len(ledger.missing(keys))
                progress(done, len(keys))
        finally:
            _add_up(ledger.path.with_suffix(SPEED), writer.identity, tokens, time.monotonic() - started)


def _add_up(file: Path, writer: str, tokens: int, seconds: float) -> None:
    of_all = rundir.read_json(file) or {}
    before = of_all.get(writer, NOTHING)
    of_all[writer] = {"tokens": before["tokens"] + tokens, "seconds": before["seconds"] + seconds}
    rundir.write_json(file, of_all)


def spent(folder: Path, name: str, writer: str) -> dict[str, float]:
    """Tokens of all ranks, and seconds of the one that took longest, in all runs of the writer with this identity."""
    ranks = [rundir.read_json(file).get(writer, NOTHING) for file in folder.glob(f"{name}*{SPEED}")]
    return {
        "tokens": sum(rank["tokens"] for rank in ranks),
        "seconds": max((rank["seconds"] for rank in ranks), default=0.0),
    }

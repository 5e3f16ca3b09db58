"""A stage's questions to a model: a ledger of its own, lines of progress, a second try where an address sent nonsense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from localpsych_recipes.generation.ledger import Ledger
from localpsych_recipes.generation.on_server import OnServer
from localpsych_recipes.generation.requests import Answer, Asked, Request
from localpsych_recipes.generation.writing import Writer, write_all
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import Progress
from localpsych_recipes.recipe import is_local

Write = Callable[[Sequence[Request]], list[Answer | None]]


def asking(run: Run, writer: Writer, folder: Path, name: str, done: str, unit: str = "") -> Write:
    """What gives the writer's answers, kept in the ledger `name` in `folder`.

    done: a verb for the lines of progress; unit: what they count, the ledger's name where nothing is said.
    """

    def ask(requests: Sequence[Request]) -> list[Answer | None]:
        with Ledger(folder, name, run.ranks) as ledger:
            keys = {request.key(writer.identity) for request in requests}
            progress = Progress(saying(run), done, unit or name, before=len(keys) - len(ledger.missing(keys)))
            answers = write_all(writer, requests, ledger, run.ranks, progress)
            if None in answers and writer.name == OnServer.name:
                # something between here and an address may have sent what is no answer; one that is started here is
                # not started again for what it refuses
                answers = write_all(writer, requests, ledger, run.ranks, progress)
        return answers

    return ask


def takes_part(run: Run, asked: Asked) -> bool:
    """Whether this rank has something to do where `asked` answers."""
    return run.ranks.main or asked.server is None


def saying(run: Run) -> Callable[[str], object]:
    """The main process's voice; other ranks are silent."""
    return run.say if run.ranks.main else lambda text: None


def who_wrote(writer: Writer) -> dict[str, str]:
    """For a report."""
    return {"engine": writer.name, "model": shown(writer.model), "where": writer.where}


def shown(model: str) -> str:
    """A model's name as it may stand in a report: a local judge is a path, and so are llama-server's own names."""
    return Path(model).name if is_local(model) else model

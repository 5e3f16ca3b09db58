"""A teacher writes each reference answer from the conversation and the answer that the template made."""

from __future__ import annotations

import json
import re
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from localpsych_recipes import chat_templates, licences, openai_server, rundir
from localpsych_recipes.data.crisis import CrisisLines
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Answer, Ledger
from localpsych_recipes.generation.at_once import each
from localpsych_recipes.openai_server import Refused, Server
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import Progress
from localpsych_recipes.recipe import Augment

SPLITS = ("sft_train", "sft_test")  # held-out answers too: they are what the model is compared with
SEEDS = (
    1,
    2,
    3,
)  # of the first request and of two more for unusable texts; what is written outlives a change of `seed`
TRIAL = 20  # rows; a teacher that has nothing to say to any of them is not asked about thousands
Row = dict[str, Any]


def run(run: Run) -> dict[str, Any]:
    """Results: counts of rows, requests and texts, and the teacher's name, never its address. Rows keep their order."""
    started, augment, folder = time.monotonic(), run.recipe.augment, run.dir.augmented
    splits = {name: read(run.dir.data / f"{name}.jsonl") for name in SPLITS}
    rows = [row for split in splits.values() for row in split]
    with teacher(augment) as server, Ledger(folder, "teacher") as ledger:
        asking = Asking(run, server, ledger)
        texts = asking.texts(rows[:TRIAL])
        refuse_silence(texts)
        texts += asking.texts(rows[TRIAL:])
    lines = CrisisLines(run.recipe.data.crisis_lines)  # prepare saw the rows alone, and teachers know old numbers
    augment = augment.model_copy(update={"answer": lines.text(augment.answer)})
    shutil.rmtree(run.dir.cache, ignore_errors=True)  # it holds rows with the answers of before
    written = iter([text and lines.text(text) for text in texts])
    for name, split in splits.items():
        # file by file rather than the folder anew: teacher.jsonl is in it, and must be there whatever happens
        write(folder / f"{name}.jsonl", [with_text(augment, row, next(written)) for row in split])
    run.say(f"      {len(texts) - texts.count(None):,} of {len(texts):,} answers with the teacher's words")
    return {
        "teacher": Path(server.model).name if Path(server.model).is_absolute() else server.model,
        "server": server.where,
        "card": licences.teacher(run.recipe),
        "rows": {name: len(split) for name, split in splits.items()},
        **asking.counts(),
        "kept_template": texts.count(None),
        **lines.counts,
        "seconds": round(time.monotonic() - started, 2),
    }


def check(augment: Augment) -> None:
    """For the preflight: UserError unless the teacher may be asked, answers within seconds and has the model."""
    with teacher(augment):
        pass


def teacher(augment: Augment) -> AbstractContextManager[Server]:
    return openai_server.connect(
        augment.server,
        augment.model,
        section="augment",
        allow_remote=augment.allow_remote,
        api_key_env=augment.api_key_env,
    )


class Asking:
    """The teacher's texts for rows, and counts over distinct requests: equal rows are asked about once."""

    def __init__(self, run: Run, server: Server, ledger: Ledger) -> None:
        self.augment, self.server, self.ledger = run.recipe.augment, server, ledger
        self.progress = Progress(run.say, "the teacher wrote", "answers")
        self.asked, self.reused = 0, 0
        self.used: dict[str, Answer | None] = {}

    def texts(self, rows: list[Row]) -> list[str | None]:
        """One usable text for each row, None where three requests brought none."""
        texts: list[str | None] = [None] * len(rows)
        for seed in SEEDS:
            requests = {i: self.request(rows[i], seed) for i, text in enumerate(texts) if text is None}
            keys = {i: openai_server.digest(request) for i, request in requests.items()}
            new = {keys[i]: request for i, request in requests.items()}
            self.reused += sum(key in self.ledger.answers and key not in self.used for key in new)
            self._ask({key: new[key] for key in self.ledger.missing(new)})
            self.used |= {key: self.ledger.answers.get(key) for key in new}
            texts = [usable(self.used[keys[i]]) if i in keys else text for i, text in enumerate(texts)]
        return texts

    def _ask(self, missing: dict[str, dict[str, Any]]) -> None:
        """Keeps each answer as it comes; none to what the server refuses. UserError as of Server.ask."""
        keys, requests = list(missing), dict(enumerate(missing.values()))
        for done, (number, answer) in enumerate(each(self._answer, requests, self.augment.concurrency), 1):
            self.ledger.add({keys[number]: answer} if answer else {})
            self.progress(done, len(keys))
        self.asked += len(keys)

    def _answer(self, request: dict[str, Any]) -> Answer | None:
        try:
            found = self.server.ask(request)
        except Refused:
            return None
        return Answer(found.text, found.cut, found.tokens)

    def request(self, row: Row, seed: int) -> dict[str, Any]:
        said = next(m["content"] for m in reversed(row["prompt"]) if m["role"] == "user")
        text = filled(self.augment.prompt, prompt=said, response=row["completion"][-1]["content"])
        knobs = {"temperature": self.augment.temperature, "max_tokens": self.augment.max_tokens}
        return self.server.request(text, seed=seed, **knobs)

    def counts(self) -> dict[str, int]:
        """asked: requests sent now; reused: answered before; cut: texts that end at max_tokens; refused: requests."""
        answers = list(self.used.values())
        cut = sum(answer.cut for answer in answers if answer)
        return {"asked": self.asked, "reused": self.reused, "cut": cut, "refused": answers.count(None)}


def usable(answer: Answer | None) -> str | None:
    """The text without its reasoning; None if there is no text, a cut-off one, or one whose reasoning never ends."""
    if not answer or answer.cut:
        return None
    return chat_templates.without_reasoning(answer.text) or None


def with_text(augment: Augment, row: Row, text: str | None) -> Row:
    """The row with the teacher's text in its answer; as it is where there is none."""
    if text is None:
        return row
    *before, last = row["completion"]
    answer = filled(augment.answer, response=last["content"], teacher=text)
    return {**row, "completion": [*before, {**last, "content": answer}]}


def filled(template: str, **values: str) -> str:
    """The template with each {name} replaced, in one pass: braces inside a value mean nothing."""
    return re.sub(rf"\{{({'|'.join(values)})\}}", lambda found: values[found[1]], template)


def refuse_silence(texts: list[str | None]) -> None:
    if texts and not any(texts):
        raise UserError(
            f"the teacher wrote nothing usable for the first {len(texts)} rows: refused, empty, cut off or open reasoning",
            "a text of its own for most rows",
            "raise augment.max_tokens, switch its reasoning off (`llama-server --reasoning off`), or take another model",
        )


def read(path: Path) -> list[Row]:
    """The rows of one split; none where prepare wrote no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def write(path: Path, rows: list[Row]) -> None:
    if rows:
        rundir.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        path.unlink(missing_ok=True)

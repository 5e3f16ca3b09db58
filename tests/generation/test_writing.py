"""Every request is answered once and kept, whatever kills the run and however many ranks there are."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from localpsych_recipes import machine
from localpsych_recipes.generation import Answer, Ledger, Request, Sampling, spent, write_all
from localpsych_recipes.machine import Ranks

SAMPLING = Sampling(temperature=1.0, max_tokens=8, seed=1)


@dataclass
class Backwards:
    """A Writer that says every text backwards, two at a time, and refuses those with a "no" in them."""

    ranks: Ranks = field(default_factory=Ranks)
    every_rank: bool = False
    asked: list[str] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    name, model, where, identity = "backwards", "none", "local", "backwards 1"

    @contextmanager
    def open(self, requests: Sequence[Request]) -> Iterator[Backwards]:
        self.opened += 1
        yield self

    def write(self, requests: Sequence[Request], missing: Collection[int]) -> Iterator[Mapping[int, Answer | None]]:
        try:
            for number, start in enumerate(range(0, len(requests), 2)):
                batch = [i for i in range(start, start + 2) if i in missing]
                if batch and (not self.every_rank or number % self.ranks.world == self.ranks.rank):
                    yield {i: self.answer(requests[i].messages[-1]["content"]) for i in batch}
        finally:
            self.closed += 1

    def answer(self, text: str) -> Answer | None:
        self.asked.append(text)
        return None if "no" in text else Answer(text[::-1], cut=False, tokens=len(text))


def ask(text: str, **sampling: float) -> Request:
    return Request([{"role": "user", "content": text}], replace(SAMPLING, **sampling))


def write(folder: Path, writer: Backwards, requests: list[Request], progress=lambda done, total: None) -> list:
    with Ledger(folder, "answers", writer.ranks) as ledger:
        return write_all(writer, requests, ledger, writer.ranks, progress)


REQUESTS = [ask(text) for text in ("one", "two", "öü\u2028\x85\n\ud83d", "four", "", "six", "seven")]
BACKWARDS = ["eno", "owt", "\ud83d\n\x85\u2028üö", "ruof", "", "xis", "neves"]


def texts(answers: list[Answer | None]) -> list[str | None]:
    return [answer and answer.text for answer in answers]


def test_answers_come_in_the_order_of_the_requests_and_are_there_the_next_time(tmp_path):
    assert texts(write(tmp_path, Backwards(), REQUESTS)) == BACKWARDS
    again = Backwards()
    assert texts(write(tmp_path, again, REQUESTS[::-1])) == BACKWARDS[::-1]
    assert again.opened == 0  # no model is loaded for nothing


def test_equal_requests_are_asked_once(tmp_path):
    writer = Backwards()
    assert texts(write(tmp_path, writer, [ask("one"), ask("two"), ask("one")])) == ["eno", "owt", "eno"]
    assert writer.asked == ["one", "two"]


@pytest.mark.parametrize(
    "other",
    [
        ask("one", seed=2),
        ask("one", temperature=0.9),
        ask("one", min_p=0.1),
        ask("One"),
        replace(ask("one"), messages=[{"role": "system", "content": "one"}]),
        replace(ask("one"), schema={"type": "object"}),
    ],
)
def test_a_request_that_differs_in_anything_is_another_one(other):
    assert other.key("backwards 1") != ask("one").key("backwards 1") != ask("one").key("backwards 2")


def test_the_order_of_a_schemas_keys_is_part_of_a_request():
    a, b = {"a": {"type": "integer"}, "b": {"type": "integer"}}, {"b": {"type": "integer"}, "a": {"type": "integer"}}
    keys = {replace(ask("one"), schema={"properties": order}).key("") for order in (a, b)}
    assert len(keys) == 2


def test_what_is_refused_is_none_and_is_asked_again_the_next_time(tmp_path):
    requests = [ask("one"), ask("no"), ask("no way"), ask("no one")]
    assert texts(write(tmp_path, Backwards(), requests)) == ["eno", None, None, None]
    again = Backwards()
    assert texts(write(tmp_path, again, requests)) == ["eno", None, None, None]
    assert again.asked == ["no", "no way", "no one"]


def killed_after(batches: int):
    def progress(done: int, total: int) -> None:
        if done >= 2 * batches:
            raise KeyboardInterrupt

    return progress


def test_a_killed_run_goes_on_with_what_is_missing(tmp_path):
    first, second = Backwards(), Backwards()
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, first, REQUESTS, killed_after(batches=2))
    assert first.closed == 1  # what was under way ended
    assert texts(write(tmp_path, second, REQUESTS)) == BACKWARDS
    assert len(first.asked) == 4 and first.asked + second.asked == [r.messages[-1]["content"] for r in REQUESTS]


def test_a_line_that_was_half_written_is_answered_again(tmp_path):
    write(tmp_path, Backwards(), REQUESTS)
    file = tmp_path / "answers.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    writer = Backwards()
    assert texts(write(tmp_path, writer, REQUESTS)) == BACKWARDS
    assert writer.asked == ["seven"] and file.read_bytes() == whole


def test_a_batch_is_kept_as_a_whole(tmp_path):
    write(tmp_path, Backwards(), REQUESTS)
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert [len(json.loads(line)) for line in lines] == [2, 2, 2, 1]


def test_progress_counts_what_was_there_before(tmp_path):
    write(tmp_path, Backwards(), REQUESTS[:3])
    said = []
    write(tmp_path, Backwards(), REQUESTS, lambda done, total: said.append((done, total)))
    assert said == [(4, 7), (6, 7), (7, 7)]


def test_tokens_and_seconds_of_all_runs_of_a_writer_are_added_up(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Backwards(), REQUESTS, killed_after(batches=1))
    assert spent(tmp_path, "answers", "backwards 1")["tokens"] == len("one" + "two")
    write(tmp_path, Backwards(), REQUESTS)
    found = spent(tmp_path, "answers", "backwards 1")
    assert found["tokens"] == sum(len(text) for text in BACKWARDS) and found["seconds"] > 0


def test_what_another_writer_has_spent_is_its_own(tmp_path):
    other = Backwards()
    other.identity = "backwards 2"
    write(tmp_path, Backwards(), REQUESTS)
    write(tmp_path, other, REQUESTS[:2])
    assert spent(tmp_path, "answers", other.identity)["tokens"] == len("one" + "two")
    assert spent(tmp_path, "answers", "backwards 1")["tokens"] == sum(len(text) for text in BACKWARDS)
    assert spent(tmp_path, "answers", "backwards 3") == {"tokens": 0, "seconds": 0.0}


def on_every_rank(folder: Path, world: int, requests: list[Request]) -> tuple[list[Backwards], list[list]]:
    """Each rank in a thread with a ledger of its own, as processes have; gives their writers and answers."""
    writers = [Backwards(Ranks(rank, rank, world), every_rank=True) for rank in range(world)]
    answers: list[list] = [[] for _ in writers]

    def rank(number: int) -> None:
        answers[number] = write(folder, writers[number], requests)

    threads = [threading.Thread(target=rank, args=(number,), daemon=True) for number in range(world)]
    meeting = threading.Barrier(world, timeout=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "barrier", lambda ranks: meeting.wait())
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    return writers, answers


def test_ranks_share_the_work_and_each_gets_every_answer(tmp_path):
    writers, answers = on_every_rank(tmp_path, 3, REQUESTS)
    assert [texts(found) for found in answers] == [BACKWARDS] * 3
    assert sorted(text for writer in writers for text in writer.asked) == sorted(
        request.messages[-1]["content"] for request in REQUESTS
    )
    assert all(writer.asked for writer in writers)


def test_progress_counts_what_other_ranks_have_answered(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "barrier", lambda ranks: None)
    keys, said = [request.key("backwards 1") for request in REQUESTS], []

    def progress(done: int, total: int) -> None:
        said.append((done, total))
        if len(said) == 1:  # the other rank has answered its two batches by the next one
            with Ledger(tmp_path, "answers", Ranks(1, 1, 2)) as others:
                others.add({keys[i]: Answer(BACKWARDS[i], cut=False) for i in (2, 3, 6)})

    main = Backwards(Ranks(0, 0, 2), every_rank=True)
    assert texts(write(tmp_path, main, REQUESTS, progress)) == BACKWARDS
    assert said == [(2, 7), (7, 7)]


def test_a_run_goes_on_with_fewer_or_more_ranks(tmp_path):
    on_every_rank(tmp_path, 2, REQUESTS[:4])
    assert (tmp_path / "answers.1.jsonl").stat().st_size
    with (tmp_path / "answers.1.jsonl").open("a") as file:
        file.write('[{"key": "half a li')  # of a rank that will not come again
    alone = Backwards()
    assert texts(write(tmp_path, alone, REQUESTS)) == BACKWARDS
    assert "".join(alone.asked) == "sixseven"
    writers, answers = on_every_rank(tmp_path, 3, REQUESTS)
    assert [texts(found) for found in answers] == [BACKWARDS] * 3
    assert not any(writer.asked for writer in writers)


def test_where_the_main_process_alone_answers_other_ranks_open_nothing(tmp_path):
    writer = Backwards(Ranks(1, 1, 2))
    assert write(tmp_path, writer, [ask("one")]) == [None]
    assert writer.opened == 0

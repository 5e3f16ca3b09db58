"""A scripted server that fails in every way that real ones do: each request is answered once, or refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Answer, Request, Sampling
from localpsych_recipes.generation.on_server import OnServer
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.openai_server import connecting
from localpsych_recipes.recipe import Base, Judge, Pairs
from tests.families import bases
from tests.test_openai_server import Reply, listening, went_on, wrote

SAMPLING = Sampling(temperature=1.5, max_tokens=9, seed=3, min_p=0.05, repetition_penalty=1.1)
SECRET = "my own sorrow"


@pytest.fixture(autouse=True)
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "RETRIES", 2)


@pytest.fixture(scope="module")
def llama2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer whose template writes no <s>, though the tokenizer begins other texts with one."""
    folder = tmp_path_factory.mktemp("tinyllama") / "base"
    bases.make_tokenizer("tinyllama", folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def policy(url: str, folder: Path, say=lambda text: None, **knobs: Any) -> OnServer:
    weights = Weights(Base(model="someone/tiny"), folder, None, "tiny", "0123")
    return OnServer("pairs", Pairs(server=url, **knobs), weights, say)


def judge(url: str, **knobs: Any) -> OnServer:
    return OnServer("judge", Judge(server=url, **knobs), None, lambda text: None)


def requests(count: int, schema: dict[str, Any] | None = None) -> list[Request]:
    said = [[{"role": "user", "content": f"{SECRET} {number}"}] for number in range(count)]
    return [Request(messages, SAMPLING, schema) for messages in said]


def answers(writer: OnServer, asked: list[Request]) -> dict[int, Answer | None]:
    """By number; each comes once."""
    found: dict[int, Answer | None] = {}
    with writer.open(asked) as engine:
        for some in engine.write(asked, range(len(asked))):
            assert not found.keys() & some.keys()
            found |= some
    return found


def test_whatever_fails_on_the_way_each_request_is_answered_once_or_refused():
    later = (429, {"Retry-After": "1"}, b"later")
    ways: dict[int, list[Reply]] = {
        0: [later],
        1: [None],
        2: [(503, {}, b"")],
        3: [(500, {}, b"")] * 9,
        4: [(200, {}, b"{")],
    }
    late, lock = threading.Event(), threading.Lock()

    def reply(count: int) -> Reply:
        number = int(json.loads(listener.texts[count - 1])["messages"][0]["content"].split()[-1])
        with lock:
            if ways.get(number):
                return ways[number].pop(0)
        if number == 5:
            late.wait(5)  # until all others have theirs
        return wrote(f"Answer {number}.")

    with listening(reply, maker="llamacpp") as listener:
        asked, writer = requests(12), judge(listener.url, slots=4)
        found: dict[int, Answer | None] = {}
        with writer.open(asked) as engine:
            for some in engine.write(asked, range(12)):
                found |= some
                if len(found) == 11:
                    late.set()
    assert list(found)[-1] == 5
    refused = {3, 4}  # one that fails each time, and broken JSON
    assert {n for n, answer in found.items() if answer is None} == refused
    assert all(found[n] == Answer(f"Answer {n}.", cut=False) for n in set(range(12)) - refused)


def test_a_server_that_goes_down_ends_in_one_message_and_nothing_more_is_sent():
    with listening(lambda count: wrote("Yes.") if count <= 3 else (401, {}, b""), maker="llamacpp") as listener:
        with pytest.raises(UserError, match="judge.server wants another key") as caught:
            answers(judge(listener.url, slots=1), requests(30))
        assert len(listener.texts) == 4
    assert SECRET not in str(caught.value)


def test_nothing_more_is_sent_once_nobody_listens():
    held = threading.Event()

    def reply(count: int) -> Reply:
        if count > 1:
            held.wait(5)
        return wrote("Yes.")

    with listening(reply, maker="llamacpp") as listener:
        asked = requests(20)
        with judge(listener.url, slots=2).open(asked) as engine:
            writing = engine.write(asked, range(20))
            next(writing)
            writing.close()  # returns, though an answer is under way
        held.set()
    assert len(listener.texts) <= 3  # the one that was answered, and those that were under way


def test_a_policy_is_asked_with_the_ids_of_training_and_no_setting_of_the_server_s_own(llama2):
    asked = requests(1)
    prompt = Renderer(llama2).prompt(asked[0].messages)
    with listening(lambda count: went_on("Yes", len(prompt.ids)), maker="llamacpp") as listener:
        assert answers(policy(listener.url, llama2), asked) == {0: Answer("Yes", cut=False, tokens=2)}
    sent = json.loads(listener.texts[0])
    assert sent["prompt"] == prompt.ids
    knobs = {
        "temperature": 1.5,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "max_tokens": 9,
        "seed": 3,
    }
    assert knobs.items() <= sent.items()
    assert sent["repeat_last_n"] == len(prompt.ids) + 9
    assert not {"dry", "xtc", "typ_p"} & set(sent["samplers"])


def test_a_server_of_unknown_make_gets_text_and_is_said_to_ignore_the_rest(llama2):
    said: list[str] = []
    asked = requests(1)
    size = len(Renderer(llama2).prompt(asked[0].messages).ids)
    with listening(lambda count: went_on("Yes", size), maker="library") as listener:
        answers(policy(listener.url, llama2, said.append), asked)
    sent = json.loads(listener.texts[0])
    assert sent["prompt"].startswith("<|user|>") and sent["stop"] == ["</s>"]
    assert not {"min_p", "top_k", "repetition_penalty", "samplers"} & sent.keys()
    assert len(said) == 1 and "pairs.server is not known to take min_p, repetition_penalty" in said[0]


def test_special_tokens_and_the_text_of_a_prompt_s_own_reasoning_are_told_apart(tmp_path):
    folder = tmp_path / "r1"
    bases.make_tokenizer("deepseek-r1", folder)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    renderer = Renderer(folder)
    prompt = renderer.prompt([{"role": "user", "content": "?"}])
    assert renderer.answer(prompt, "Hm.</think>Yes.<｜end▁of▁sentence｜>") == "<think>Hm.</think>Yes."


def test_who_answered_does_not_depend_on_the_address(llama2):
    one, other = policy("http://127.0.0.1:1/v1", llama2, slots=2), policy("http://127.0.0.1:2/v1", llama2)
    assert one.identity == other.identity != policy("http://127.0.0.1:1/v1", llama2, model="owl").identity
    assert judge("http://127.0.0.1:1/v1").identity == "server default"
    assert judge("http://127.0.0.1:1/v1").where == "local"

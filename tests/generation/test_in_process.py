"""Answers by transformers in this process: what `generate` would say to each prompt alone, and the same ones each time."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from localpsych_recipes import chat_templates, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Answer, Ledger, Request, Sampling, write_all
from localpsych_recipes.generation.decoding import Decoder
from localpsych_recipes.generation.in_process import InProcess, batches
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.machine import Ranks
from localpsych_recipes.recipe import Base
from tests import tiny_models
from tests.families import bases
from tests.families.rows import ROWS

GREEDY = Sampling(temperature=0.0, max_tokens=12, seed=0)
HOT = replace(GREEDY, temperature=1.5)
QUESTIONS = [row[0] for row in ROWS]
# a learnt answer that is reasoned, and what of it is no reasoning
REASONED = ("I failed again.", "<|channel>thought\nMy dog died.<channel|>That stings.", "That stings.")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talkative(bases.make("gemma3", tmp_path_factory.mktemp("gemma3") / "base"))


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talkative(bases.make("qwen3", tmp_path_factory.mktemp("qwen3") / "base"))


def talkative(folder: Path) -> Path:
    """A random model that says words, and not its last one for ever.

    A tied embedding that outweighs the layers brings that; and of Qwen's ids few have a token in this vocabulary.
    """
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    embedding = model.get_input_embeddings().weight.data
    known = torch.zeros(len(embedding), 1)
    known[list(tokenizer.get_vocab().values())] = 0.2
    embedding *= known
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 4 that knows the rows' answers by heart, one of them with reasoning before it."""
    folder = bases.make("gemma4", tmp_path_factory.mktemp("gemma4") / "base")
    learn_by_heart(folder, [(q, a) for q, a, _ in ROWS if q != REASONED[0]] + [REASONED[:2]], end="<turn|>")
    return folder


def learn_by_heart(folder: Path, rows: Sequence[tuple[str, str]], end: str) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = [(prompt_ids(tokenizer, q), tokenizer(a + end, add_special_tokens=False)["input_ids"]) for q, a in rows]
    padding = [[-100] * (max(len(p) + len(a) for p, a in ids) - len(p) - len(a)) for p, a in ids]
    labels = torch.tensor([[-100] * len(p) + a + rest for (p, a), rest in zip(ids, padding, strict=True)])
    tokens = torch.tensor([p + a + [0] * len(rest) for (p, a), rest in zip(ids, padding, strict=True)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(20):
        model(input_ids=tokens, labels=labels, mm_token_type_ids=torch.zeros_like(tokens)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def prompt_ids(tokenizer: Any, question: str) -> list[int]:
    chat, options = [{"role": "user", "content": question}], {"add_generation_prompt": True, "return_dict": False}
    return tokenizer.apply_chat_template(chat, **options, enable_thinking=False)  # which Qwen 3 alone knows


def alone(folder: Path, questions: Sequence[str], adapter: Path | None = None, **options: Any) -> list[str]:
    """What transformers says, greedily, to each prompt alone."""
    from peft import PeftModel

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    options = {"max_new_tokens": GREEDY.max_tokens, "do_sample": False, **options}
    found = []
    for question in questions:
        ids = torch.tensor([prompt_ids(tokenizer, question)])
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
        found.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return found


def writer(folder: Path, batch_size: int = 4, adapter: Path | None = None, say=lambda line: None) -> InProcess:
    base = Base(model=str(folder), dtype="float32", quantization="none")
    return InProcess(Weights(base, folder, adapter, "tiny", "tiny 1"), batch_size, say)


def asked(questions: Sequence[str], sampling: Sampling = GREEDY, schema: Any = None) -> list[Request]:
    return [Request([{"role": "user", "content": question}], sampling, schema) for question in questions]


def answers(made: InProcess, requests: Sequence[Request], missing: Sequence[int] | None = None) -> list[Answer | None]:
    found: dict[int, Answer] = {}
    with made.open(requests) as engine:
        for batch in engine.write(requests, range(len(requests)) if missing is None else missing):
            assert not batch.keys() & found.keys()
            found |= batch
    return [found.get(i) for i in range(len(requests))]


def texts(found: Sequence[Answer | None]) -> list[str | None]:
    return [answer and answer.text for answer in found]


@pytest.mark.parametrize("family", ["gemma3", "qwen3"])
def test_a_prompt_in_a_batch_is_answered_as_it_is_alone(family, request):
    folder = request.getfixturevalue(family)
    questions = [*QUESTIONS[:4], "I cannot sleep. " * 12]
    expected = alone(folder, questions)
    assert len(set(expected)) == 5 and all(expected)
    assert texts(answers(writer(folder, batch_size=5), asked(questions))) == expected


def test_an_adapter_answers_on_its_base(gemma3, tmp_path):
    targets = r".*language_model.*\.(q_proj|v_proj|up_proj)"
    adapter = tiny_models.adapter(gemma3, tmp_path / "adapter", targets=targets, lora_alpha=64)
    expected = alone(gemma3, QUESTIONS[:4], adapter)
    assert expected != alone(gemma3, QUESTIONS[:4])
    assert texts(answers(writer(gemma3, adapter=adapter), asked(QUESTIONS[:4]))) == expected


def test_nothing_stays_in_memory_behind_the_block(gemma3, tmp_path):
    adapter = tiny_models.adapter(gemma3, tmp_path / "adapter", targets=["q_proj"])
    with writer(gemma3, adapter=adapter).open([]) as engine:
        assert not engine.model.training
        left = [weakref.ref(engine.model), *(weakref.ref(parameter) for parameter in engine.model.parameters())]
    assert not any(reference() is not None for reference in left)


def test_learnt_answers_end_where_their_turn_does(learnt):
    tokenizer = AutoTokenizer.from_pretrained(learnt)
    found = answers(writer(learnt, batch_size=8), asked(QUESTIONS, replace(GREEDY, max_tokens=40)))
    for answer, (question, expected, _) in zip(found, ROWS, strict=True):
        expected = REASONED[1] if question == REASONED[0] else expected
        ids = tokenizer(expected + "<turn|>", add_special_tokens=False)["input_ids"]
        assert answer == Answer(expected, cut=False, tokens=len(ids))


def test_thinking_is_kept_out_also_where_its_tags_are_special_tokens(learnt):
    (answer,) = answers(writer(learnt), asked([REASONED[0]], replace(GREEDY, max_tokens=40)))
    assert chat_templates.without_reasoning(answer.text) == REASONED[2]
    (answer,) = answers(writer(learnt), asked([REASONED[0]], replace(GREEDY, max_tokens=4)))
    assert answer.cut and chat_templates.without_reasoning(answer.text) is None


def test_an_answer_that_does_not_end_within_its_tokens_is_cut(learnt):
    question, expected, _ = ROWS[5]
    (answer,) = answers(writer(learnt), asked([question], replace(GREEDY, max_tokens=5)))
    assert (answer.cut, answer.tokens) == (True, 5)
    assert expected.startswith(answer.text) and answer.text
    whole = len(AutoTokenizer.from_pretrained(learnt)(expected + "<turn|>", add_special_tokens=False)["input_ids"])
    (answer,) = answers(writer(learnt), asked([question], replace(GREEDY, max_tokens=whole)))
    assert answer == Answer(expected, cut=False, tokens=whole)


def test_a_prompt_longer_than_the_context_has_an_empty_answer_and_one_near_its_end_a_short_one(gemma3):
    context = json.loads((gemma3 / "config.json").read_text())["text_config"]["max_position_embeddings"]
    tokenizer = AutoTokenizer.from_pretrained(gemma3)
    long = "I" * (context - 5 - len(prompt_ids(tokenizer, "")))
    short_of_it = context - len(prompt_ids(tokenizer, long))
    assert 0 < short_of_it < GREEDY.max_tokens
    found = answers(writer(gemma3, batch_size=2), asked([long, long + "I" * short_of_it, "I feel alone."]))
    assert [(answer.cut, answer.tokens) for answer in found] == [(True, short_of_it), (True, 0), (True, 12)]
    assert found[1].text == ""


def test_sampled_answers_follow_from_the_requests_alone(gemma3):
    torch.manual_seed(1)
    requests = asked(QUESTIONS, HOT)
    first = answers(writer(gemma3), requests)
    assert len(set(texts(first))) == len(first)
    state = torch.get_rng_state()
    assert answers(writer(gemma3), requests) == first
    assert torch.equal(torch.get_rng_state(), state)
    others = answers(writer(gemma3), asked(QUESTIONS, replace(HOT, seed=1)))
    assert not set(texts(others)) & set(texts(first))


@pytest.mark.parametrize("knob", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.99999}, {"temperature": 1e-5}])
def test_what_leaves_the_likeliest_token_alone_makes_sampling_greedy(gemma3, knob):
    found = texts(answers(writer(gemma3), asked(QUESTIONS[:4], replace(HOT, **knob))))
    assert found == alone(gemma3, QUESTIONS[:4])


def test_repetition_penalty_is_that_of_generate(gemma3):
    expected = alone(gemma3, QUESTIONS[:4], repetition_penalty=3.0)
    assert expected != alone(gemma3, QUESTIONS[:4])
    found = answers(writer(gemma3), asked(QUESTIONS[:4], replace(GREEDY, repetition_penalty=3.0)))
    assert texts(found) == expected


def test_settings_that_the_repository_recommends_are_not_taken_over(gemma3, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in gemma3.iterdir():
        (other / file.name).symlink_to(file)
    settings = json.loads((gemma3 / "generation_config.json").read_text())
    recommended = {"do_sample": True, "top_k": 1, "typical_p": 0.01, "no_repeat_ngram_size": 1, "max_length": 3}
    (other / "generation_config.json").unlink()
    (other / "generation_config.json").write_text(json.dumps(settings | recommended))
    for sampling in (HOT, GREEDY):
        requests = asked(QUESTIONS[:4], sampling)
        assert answers(writer(other), requests) == answers(writer(gemma3), requests)


def with_seeds(questions: Sequence[str], candidates: int) -> list[Request]:
    return [r for q in questions for n in range(candidates) for r in asked([q], replace(HOT, seed=n))]


def killed_after_two_batches(done: int, total: int) -> None:
    if done >= 8:
        raise KeyboardInterrupt


def test_a_killed_run_ends_with_the_answers_of_an_undisturbed_one(gemma3, tmp_path):
    requests = with_seeds(QUESTIONS, 2)
    with Ledger(tmp_path / "killed", "answers") as ledger, pytest.raises(KeyboardInterrupt):
        write_all(writer(gemma3), requests, ledger, Ranks(), killed_after_two_batches)
    with Ledger(tmp_path / "killed", "answers") as ledger:
        assert len(ledger.answers) == 8
        found = write_all(writer(gemma3), requests, ledger, Ranks(), lambda done, total: None)
    with Ledger(tmp_path / "undisturbed", "answers") as ledger:
        assert found == write_all(writer(gemma3), requests, ledger, Ranks(), lambda done, total: None)
    assert len(set(texts(found))) == 16


def test_two_ranks_write_what_one_does_and_nothing_twice(gemma3, monkeypatch):
    requests = with_seeds(QUESTIONS[:6], 2)
    expected = answers(writer(gemma3), requests)
    halves = []
    for rank in ("0", "1"):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        halves.append(answers(writer(gemma3), requests))
    assert all((a is None) != (b is None) for a, b in zip(*halves, strict=True))
    assert [a or b for a, b in zip(*halves, strict=True)] == expected
    assert all(any(half) for half in halves)


def test_more_candidates_leave_those_of_before_as_they_are(gemma3):
    two, three = with_seeds(QUESTIONS, 2), with_seeds(QUESTIONS, 3)
    found = dict(zip((r.key("") for r in three), answers(writer(gemma3), three), strict=True))
    assert [found[r.key("")] for r in two] == answers(writer(gemma3), two)


def test_batches_hold_one_kind_of_settings_and_prompts_of_much_the_same_length():
    cold = asked(["a", "b", "c"])
    hot = asked(["d", "e", "f"], HOT)
    requests, lengths = [*cold, *hot], [5, 90, 7, 30, 10, 20]
    assert list(batches(requests, lengths, 2)) == [[1, 2], [0], [3, 5], [4]]
    assert list(batches(requests, lengths, 9)) == [[1, 2, 0], [3, 5, 4]]
    seeds = [replace(r, sampling=replace(r.sampling, seed=i)) for i, r in enumerate(requests)]
    assert list(batches(seeds, lengths, 9)) == [[1, 2, 0], [3, 5, 4]]


def test_an_answer_can_be_made_to_follow_a_schema(qwen3):
    score = {"type": "integer", "minimum": 1, "maximum": 10}
    schema = {"type": "object", "properties": {"warmth": score, "unsafe": {"type": "boolean"}, "care": score}}
    schema |= {"required": ["warmth", "unsafe", "care"], "additionalProperties": False}
    questions = [f"{question} {n}" for question in QUESTIONS[:5] for n in range(4)]
    requests = asked(questions, Sampling(temperature=1.0, max_tokens=60, seed=0), schema)
    found = answers(writer(qwen3, batch_size=10), requests)
    for answer in found:
        said = json.loads(answer.text)
        assert list(said) == ["warmth", "unsafe", "care"] and type(said["unsafe"]) is bool
        assert all(type(said[key]) is int and 1 <= said[key] <= 10 for key in ("warmth", "care"))
        assert not answer.cut and answer.text == json.dumps(said, separators=(",", ":"))
    assert len(set(texts(found))) > 10


def out_of_memory_above(rows: int, engine: Any, tried: list[int]) -> None:
    """As CUDA says it; no GPU is there to run out of memory."""

    def check(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        tried.append(len(kwargs["input_ids"]))
        if len(kwargs["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    engine.model.register_forward_pre_hook(check, with_kwargs=True)


def test_fewer_answers_at_once_where_memory_runs_out_said_once(gemma3):
    lines, tried, requests = [], [], asked(QUESTIONS, replace(GREEDY, max_tokens=2))
    with writer(gemma3, batch_size=7, say=lines.append).open(requests) as engine:
        out_of_memory_above(2, engine, tried)
        found = [(len(batch), batch) for batch in engine.write(requests, range(8))]
    assert [length for length, _ in found] == [7, 1]  # what belongs together still comes together
    assert [n for n, before in zip(tried, [0, *tried], strict=False) if n != before] == [7, 3, 1]
    assert len(lines) == 1 and "7 answers" in lines[0]
    together = found[0][1] | found[1][1]
    assert [together[i] for i in range(8)] == answers(writer(gemma3), requests)


def test_no_memory_for_a_single_answer_is_one_message(gemma3):
    requests = asked(QUESTIONS)
    with writer(gemma3).open(requests) as engine:
        out_of_memory_above(0, engine, [])
        with pytest.raises(UserError, match="a single answer") as caught:
            list(engine.write(requests, range(8)))
    assert "tired" not in str(caught.value)
    caught = None
    gc.collect()


def test_a_prompt_that_opens_reasoning_hands_its_tag_to_the_answer(tmp_path):
    bases.make_tokenizer("deepseek-r1", tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    decoder = Decoder(tmp_path / "base", [])
    (request,) = asked(["I failed again."])
    prompt = decoder.prompt(request)
    learnt = models.load_tokenizer(tmp_path / "base").apply_chat_template(
        [*request.messages, {"role": "assistant", "content": "That stings."}], return_dict=False
    )
    assert learnt[: len(prompt.ids)] == prompt.ids
    answer = decoder.answer(prompt, learnt[len(prompt.ids) :])
    assert not answer.cut and chat_templates.without_reasoning(answer.text) == "That stings."
    unfinished = decoder.answer(prompt, decoder.tokenizer("Again?", add_special_tokens=False)["input_ids"])
    assert chat_templates.without_reasoning(unfinished.text) is None
    verdict = decoder.prompt(replace(request, schema={"type": "object"}))
    assert decoder.tokenizer.decode(verdict.ids).endswith("<think>\n</think>\n\n") and not verdict.opened

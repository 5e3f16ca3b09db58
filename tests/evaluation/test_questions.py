"""Question files: each turn is asked with the model's own answers before it, and scored with the file's reference."""

from __future__ import annotations

import json

import pytest

from localpsych_recipes.evaluation import judging
from localpsych_recipes.evaluation.measured import Skipped
from tests.planted_answers import SECRET, answer, bench, measured, values
from tests.scripted_judge import listening, quoted

MT_BENCH = [
    {"question_id": 81, "turns": ["What is two and two?", "And twice that?"], "reference": ["Four.", "Eight."]},
    {"question_id": 82, "turns": ["Write to me.", "Shorter."]},
]
ALPACA_EVAL = [{"instruction": "Name a river.", "output": "The Rhine.", "generator": "somebody", "dataset": "own"}]


@pytest.fixture
def files(tmp_path) -> list[dict[str, str]]:
    one, other = tmp_path / "question.jsonl", tmp_path / "alpaca.json"
    one.write_text("".join(json.dumps(row) + "\n" for row in MT_BENCH))
    other.write_text(json.dumps(ALPACA_EVAL))
    return [{"source": str(one)}, {"source": str(other)}]


def said(question) -> list[str]:
    return [message["content"] for message in question.request.messages]


def test_a_second_turn_is_asked_after_the_columns_own_first_answer(tmp_path, files):
    made = bench(tmp_path, {}, ("base", "sft"), questions=files)
    first = judging.asks(made)
    assert [(q.id, q.column, said(q)) for q in first] == [
        ("questions/1/81/1", None, ["What is two and two?"]),
        ("questions/1/82/1", None, ["Write to me."]),
        ("questions/2/1/1", None, ["Name a river."]),
    ]
    answer(made, "base", {"questions/1/81/1": "Five", "questions/1/82/1": None})
    answer(made, "sft", {"questions/1/81/1": "Four"})
    later = [q for q in judging.asks(made) if q.id not in {q.id for q in first}]
    assert [(q.id, q.column, said(q)) for q in later] == [
        ("questions/1/81/2", "base", ["What is two and two?", f"Five {SECRET}", "And twice that?"]),
        ("questions/1/81/2", "sft", ["What is two and two?", f"Four {SECRET}", "And twice that?"]),
    ]


def test_each_turn_is_scored_from_1_to_10_beside_its_reference(tmp_path, files):
    scores = {"Four": 10, "Eight": 9, "Dear you": 4, "Rhine": 7}
    judge = lambda question, reply, place: scores.get(reply.removesuffix(f" {SECRET}"), 5)
    with listening(score=judge) as server:
        made = bench(tmp_path, {"server": server.url}, ("sft",), questions=files)
        for turn, texts in (("1", ("Four", "Dear you")), ("2", ("Eight", "mumble"))):
            answer(made, "sft", dict(zip((f"questions/1/81/{turn}", f"questions/1/82/{turn}"), texts, strict=True)))
        answer(made, "sft", {"questions/2/1/1": "Rhine"})
        found = measured(made)["judge_questions", "sft"]
        asked = [request["messages"][0]["content"] for request in server.requests]
    assert [*values(found).values()] == [10, 9, 4, 5, 7]
    assert found.clusters["questions/1/81/1"] == found.clusters["questions/1/81/2"] == "questions/1/81"
    assert "question.jsonl" in found.how and "alpaca.json" in found.how and "not with published ones" in found.how
    (second,) = [text for text in asked if "And twice that?" in text]
    assert quoted(second, "Reference").endswith("Eight.") and quoted(second, "Reply") == f"Eight {SECRET}"
    assert f"> Four {SECRET}" in second and "from 1 to 10" in second
    (without,) = [text for text in asked if "Name a river" in text]
    assert "Reference" not in without and "The Rhine." not in without


def test_a_file_that_is_not_there_is_named_and_the_others_are_asked(tmp_path, files):
    made = bench(tmp_path, {}, ("base",), questions=[{"source": str(tmp_path / "gone.jsonl")}, files[1]])
    assert [q.id for q in judging.asks(made)] == ["questions/2/1/1"]
    first = next(iter(judging.measure(made)))
    assert isinstance(first, Skipped) and first.what == "judge_questions" and "gone.jsonl" in first.why


def test_mt_bench_as_it_was_published_has_80_questions_of_two_turns(tmp_path, shared):
    file = shared / "data" / "mt_bench" / "question.jsonl"
    made = bench(tmp_path, {}, ("base",), questions=[{"source": str(file)}])
    first = judging.asks(made)
    answer(made, "base", {question.id: "Well" for question in first})
    both = judging.asks(made)
    assert (len(first), len(both)) == (80, 160)
    assert sum(len(question.request.messages) == 3 for question in both) == 80

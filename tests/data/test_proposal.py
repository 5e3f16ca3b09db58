"""Which mapping is proposed for which columns, and when none is."""

from __future__ import annotations

import pytest

from localpsych_recipes.data.peek import Peek
from localpsych_recipes.data.proposal import propose
from localpsych_recipes.recipe import Columns

SAID = [{"role": "user", "content": "why is it so"}, {"role": "assistant", "content": "that is hard"}]
SHARE_GPT = [{"from": "human", "value": "why is it so"}, {"from": "gpt", "value": "that is hard"}]
TALKS = {"messages": SAID, "conversations": SHARE_GPT, "dialog": ["why is it so", "a"], "anything": SHARE_GPT}


def seen(*records: dict, **classes: tuple[str, ...]) -> Peek:
    return Peek(tuple(records[0]), list(records), ("train",), classes)


def mapping(*records: dict) -> dict[str, str] | None:
    proposal = propose(seen(*records))
    return proposal and {part: column for part, (column, _) in proposal.columns.items()}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": 1, "Context": "why is it so", "Response": "that is hard"}, {"prompt": "Context", "response": "Response"}),
        ({"question": "why is it so", "answer": "that is hard"}, {"prompt": "question", "response": "answer"}),
        ({"questionText": "why is it so", "answerText": "that is hard"}, {"prompt": "questionText", "response": "answerText"}),
        (
            {"instruction": "say it well", "input": "x", "output": "well said then"},
            {"prompt": "{instruction}\n\n{input}", "response": "output"},
        ),
        ({"instruction": "say it well", "input": "", "output": "well said then"}, {"prompt": "instruction", "response": "output"}),
        (
            {"prompt": "why is it so", "chosen": "that is hard", "rejected": "so what then"},
            {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        ),
        (
            {"question": "why is it so", "response_j": "that is hard", "response_k": "so what then"},
            {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        ),
        ({"chosen": SAID, "rejected": SAID}, {"chosen": "chosen", "rejected": "rejected"}),
        *(({"id": 1, name: turns}, {"messages": name}) for name, turns in TALKS.items()),
        ({"tags": ["a", "b"], "question": "why is it so", "answer": "that is hard"}, {"prompt": "question", "response": "answer"}),
        ({"foo": "why is it so", "bar": "that is hard"}, None),
        ({"text": "only text"}, None),
        ({"chosen": "that is hard", "rejected": "so what then"}, None),
        ({"chosen": SAID[1:], "rejected": SAID[1:]}, None),
        ({"question": 1, "answer": 2}, None),
    ],
)  # fmt: skip
def test_a_mapping_follows_from_names_and_content_and_is_one_that_a_recipe_takes(row, expected):
    assert mapping(row) == expected
    if expected:
        assert Columns(**expected).parts == expected


def test_a_score_is_mapped_where_questions_have_several_answers():
    rows = [{"question": "why is it so", "answer": f"answer number {i}", "upvotes": str(i)} for i in range(2)]
    assert mapping(*rows)["score"] == "upvotes"
    assert "score" not in mapping(rows[0])
    assert propose(seen(*rows)).pairs and propose(seen(*rows)).repeated


def test_a_few_short_values_are_labels():
    rows = [{"text": f"post {i}", "label": ("joy", "fear")[i % 2]} for i in range(8)]
    assert propose(seen(*rows)).labels == {"label": {"fear": "fear", "joy": "joy"}}


def test_numbered_classes_are_called_by_their_names():
    rows = [{"text": "x", "label": 1}]
    assert propose(seen(*rows, label=("calm", "tense"))).labels == {"label": {"0": "calm", "1": "tense"}}


def test_texts_are_no_labels():
    assert mapping(*({"text": "x", "label": f"something that was said number {i}"} for i in range(8))) is None
    assert mapping(*({"text": "x", "label": f"word{i}"} for i in range(80))) is None


def test_html_is_seen():
    assert propose(seen({"question": "why is it so", "answer": "<p>a</p>"})).html
    assert not propose(seen({"question": "is 1 < 2?", "answer": "2 > 1"})).html

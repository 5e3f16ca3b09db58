"""Which mapping is proposed for which columns, and when none is."""

from __future__ import annotations

import pytest

from localpsych_recipes.data.peek import Peek
from localpsych_recipes.data.proposal import propose
from localpsych_recipes.recipe import Columns

SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARE_GPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
TALKS = {"messages": SAID, "conversations": SHARE_GPT, "dialog": ["q", "a"], "anything": SHARE_GPT}


def seen(*records: dict, **classes: tuple[str, ...]) -> Peek:
    return Peek(tuple(records[0]), list(records), ("train",), classes)


def mapping(*records: dict) -> dict[str, str] | None:
    proposal = propose(seen(*records))
    return proposal and {part: column for part, (column, _) in proposal.columns.items()}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": 1, "Context": "q", "Response": "a"}, {"prompt": "Context", "response": "Response"}),
        ({"question": "q", "answer": "a"}, {"prompt": "question", "response": "answer"}),
        ({"questionText": "q", "answerText": "a"}, {"prompt": "questionText", "response": "answerText"}),
        (
            {"instruction": "do", "input": "x", "output": "y"},
            {"prompt": "{instruction}\n\n{input}", "response": "output"},
        ),
        ({"instruction": "do", "input": "", "output": "y"}, {"prompt": "instruction", "response": "output"}),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        ),
        (
            {"question": "q", "response_j": "a", "response_k": "b"},
            {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        ),
        ({"chosen": SAID, "rejected": SAID}, {"chosen": "chosen", "rejected": "rejected"}),
        *(({"id": 1, name: turns}, {"messages": name}) for name, turns in TALKS.items()),
        ({"tags": ["a", "b"], "question": "q", "answer": "a"}, {"prompt": "question", "response": "answer"}),
        ({"foo": "q", "bar": "a"}, None),
        ({"text": "only text"}, None),
        ({"chosen": "a", "rejected": "b"}, None),
        ({"chosen": SAID[1:], "rejected": SAID[1:]}, None),
        ({"question": 1, "answer": 2}, None),
    ],
)  # fmt: skip
def test_a_mapping_follows_from_names_and_content_and_is_one_that_a_recipe_takes(row, expected):
    assert mapping(row) == expected
    if expected:
        assert Columns(**expected).parts == expected


def test_a_score_is_mapped_where_questions_have_several_answers():
    rows = [{"question": "q", "answer": f"a{i}", "upvotes": str(i)} for i in range(2)]
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
    assert propose(seen({"question": "q", "answer": "<p>a</p>"})).html
    assert not propose(seen({"question": "is 1 < 2?", "answer": "2 > 1"})).html

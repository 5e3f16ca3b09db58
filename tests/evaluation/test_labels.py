"""The label of an answer is read as people would read it, and counted against the held-out one."""

from __future__ import annotations

import pytest

from localpsych_recipes.data.columns import render
from localpsych_recipes.evaluation import labels, row
from localpsych_recipes.scoring.labels import given
from tests import labelled_sets
from tests.evaluation.benches import bench, taken, values

STRESS = ("no signs of stress", "signs of stress")
EMOTIONS = ("joy", "fear", "anger")
SOURCES = [
    {
        "source": "isear.csv",
        "test_size": 0.2,
        "columns": {"prompt": "Which emotion is it?\n\n{text}", "response": "The person felt {emotion}."},
        "labels": {"emotion": {name: name for name in EMOTIONS}},
    },
    {
        "source": "stress.csv",
        "test_size": 0.2,
        "columns": {"prompt": "Is there stress?\n\n{text}", "response": "This post shows {label}."},
        "labels": {"label": dict(zip("01", STRESS, strict=True))},
    },
    {"source": "talk.csv", "test_size": 0.2, "columns": {"prompt": "question", "response": "answer"}},
]


@pytest.mark.parametrize(
    "answer, label",
    (
        ("joy", "joy"),
        ("Joy. They laughed, without fear.", "joy"),
        ("**Fear**: the dark", "fear"),
        ("The person felt anger. There was fear too.", "anger"),
        ("I think that it was  fear.", "fear"),
        ("fear, and fear again", "fear"),
        ("It was joy or fear.", None),
        ("They enjoyed it, fearless", None),
        ("", None),
    ),
)
def test_an_answer_gives_the_label_it_begins_with_or_the_only_one_it_names(answer, label):
    assert given(answer, EMOTIONS, "The person felt ") == label


@pytest.mark.parametrize(
    "answer, label", ((f"This post shows {STRESS[0]}.", STRESS[0]), ("Signs of stress.", STRESS[1]))
)
def test_a_label_that_is_part_of_another_is_not_read_in_it(answer, label):
    assert given(answer, STRESS) == label


HELD_OUT = (
    ("Which emotion is it?\n\nWe won.", "The person felt joy."),
    ("Which emotion is it?\n\nIt was dark.", "The person felt fear."),
    ("Which emotion is it?\n\nHe lied.", "The person felt anger."),
    ("Is there stress?\n\nWork, work.", "This post shows signs of stress."),
    ("Is there stress?\n\nA quiet day.", "This post shows no signs of stress."),
    ("How are you?", "The person felt joy."),  # another source's row that looks like an answer of the first
)
SAID = (
    "The person felt joy.",
    "The person felt anger.",
    "The person felt anger.",
    "Hard to say.",
    "This post shows no signs of stress.",
    "joy",
)


def measured(tmp_path, held_out=HELD_OUT, said=SAID, **sections):
    answers = {"sft": {f"held-out/{number}": text for number, text in enumerate(said)}}
    return list(labels.measure(bench(tmp_path, {}, answers, held_out, **{"data": {"mixture": SOURCES}, **sections})))


def test_answers_are_compared_with_the_labels_of_their_own_source(tmp_path):
    found = taken(measured(tmp_path))
    right = values(found["label_accuracy", "sft"])
    assert list(right.values()) == [1, 0, 1, 0, 1]
    assert [id.split("/")[1] for id in right] == ["0", "1", "2", "3", "4"]
    assert "5 labels; 1 answers name none" in found["label_accuracy", "sft"].how


def test_macro_f1_is_the_mean_over_held_out_labels(tmp_path):
    """By hand, precision and recall: joy 1, 1; fear 0, 0; anger 1/2, 1; stress 0, 0; no stress 1, 1."""
    found = taken(measured(tmp_path))["label_macro_f1", "sft"]
    assert row(found, None, seed=1, resamples=200)["value"] == pytest.approx((1 + 0 + 2 / 3 + 0 + 1) / 5)


def test_a_teacher_s_words_around_the_label_change_nothing(tmp_path):
    held_out = [(question, f"{answer} It says so: 'no joy', 'anger'.") for question, answer in HELD_OUT[:3]]
    said = ["The person felt joy. Not anger, not fear.", "The person felt fear. Joy is absent.", "joy and anger"]
    augment = {"model": "teacher"}
    right = values(taken(measured(tmp_path, held_out, said, augment=augment))["label_accuracy", "sft"])
    assert list(right.values()) == [1, 1, 0]


def test_a_column_of_labels_is_an_answer_of_its_own(tmp_path):
    source = {**SOURCES[1], "columns": {"prompt": "text", "response": "label"}}
    held_out = [("Work, work.", STRESS[1]), ("A quiet day.", STRESS[0])]
    right = values(taken(measured(tmp_path, held_out, STRESS[::-1], data=source))["label_accuracy", "sft"])
    assert list(right.values()) == [1, 1]


def test_every_row_that_the_sets_of_a_mixture_can_hold_has_its_label(tmp_path):
    """Rendered by the data's own code, for five sets and all of their labels."""
    from ruamel.yaml import YAML

    from localpsych_recipes.recipe import Source

    mixture = YAML(typ="safe").load(labelled_sets.RECIPE.format(folder="sets", server="http://127.0.0.1:1"))["data"][
        "mixture"
    ]
    held_out, expected = [], []
    for source in (Source.model_validate(entry) for entry in mixture):
        ((column, words),) = source.labels.items()
        text = next(name for name in source.columns.names if name != column)
        for word in words.values():
            cells = {column: word, text: "the rain, joy and no stress"}
            held_out.append((render(source.columns.prompt, cells), render(source.columns.response, cells)))
            expected.append(word)
    right = values(taken(measured(tmp_path, held_out, expected, data={"mixture": mixture}))["label_accuracy", "sft"])
    assert list(right.values()) == [1] * len(expected) == [1] * 17


def test_recipes_without_labels_have_no_such_measure(tmp_path):
    (left_out,) = measured(tmp_path, data={"mixture": SOURCES[2:] * 2})
    assert (left_out.what, left_out.why) == ("labels", "no source has labels in its answers")
    (left_out,) = measured(tmp_path, HELD_OUT[-1:], SAID[-1:])
    assert left_out.why == "no held-out answer is a template with a label"

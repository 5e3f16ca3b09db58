"""Emotion profiles: what follows the schema, how like people's ratings it is, and that a real model is held to it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from localpsych_recipes.evaluation import emotions
from localpsych_recipes.generation import Ledger, write_all
from localpsych_recipes.generation.in_process import InProcess
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.machine import Ranks
from localpsych_recipes.recipe import Emotions
from localpsych_recipes.recipe.evaluate import EMOTIONS
from localpsych_recipes.scoring import emotions as scoring
from tests.evaluation.benches import bench, taken, values
from tests.families import bases

SCALES = dict.fromkeys(EMOTIONS, (0, 3))
PROFILE = dict(zip(EMOTIONS, (0, 1, 2, 3, 3, 2, 1, 0, 1, 2), strict=True))
HEADER = "Text," + ",".join(name.capitalize() for name in EMOTIONS)
# two people rated the first text, one the second, valence of which is below zero
ROWS = (
    "He came home late,3,2,1,0,0,0,0,0,2,1",
    "He came home late,1,2,3,0,0,0,0,0,2,0",
    "The dog is ill,0,0,0,1,3,3,0,1,-3,2",
)


@pytest.fixture
def rated(tmp_path):
    path = tmp_path / "rated.csv"
    path.write_text("\n".join((HEADER, *ROWS, "Nobody rated this,,,,,,,,,,")) + "\n")
    return {"emotions": {"source": str(path), "text": "Text"}}


@pytest.mark.parametrize(
    "answer",
    (
        json.dumps(PROFILE),
        f"\n {json.dumps(dict(reversed(PROFILE.items())), indent=2)}\n",
    ),
    ids=["as asked", "in another order"],
)
def test_a_profile_follows_the_schema(answer):
    assert scoring.profile(answer, SCALES) == PROFILE


@pytest.mark.parametrize(
    "answer",
    (
        "",
        "joy: 3",
        f"Here it is: {json.dumps(PROFILE)}",
        f"```json\n{json.dumps(PROFILE)}\n```",
        json.dumps({**PROFILE, "calm": 1}),
        json.dumps({name: PROFILE[name] for name in EMOTIONS[1:]}),
        json.dumps({**PROFILE, "joy": 4}),
        json.dumps({**PROFILE, "joy": -1}),
        json.dumps({**PROFILE, "joy": 1.0}),
        json.dumps({**PROFILE, "joy": True}),
        json.dumps({**PROFILE, "joy": "1"}),
        json.dumps(PROFILE)[:-1] + ', "joy": 0}',
        json.dumps(list(PROFILE.values())),
        json.dumps(PROFILE)[:-1],
    ),
    ids=["empty", "prose", "prose before", "fence", "eleven", "nine", "above", "below", "float", "bool", "text", "twice",
         "list", "cut"],
)  # fmt: skip
def test_anything_else_does_not(answer):
    assert scoring.profile(answer, SCALES) is None


def test_similarity_is_the_cosine():
    people = dict(zip(EMOTIONS, (2.0, 2.0, 2.0, 0, 0, 0, 0, 0, 2.0, 0.5), strict=True))
    one, other = np.array(list(PROFILE.values())), np.array(list(people.values()))
    expected = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert scoring.similarity(PROFILE, people) == pytest.approx(expected)
    assert scoring.similarity(people, people) == pytest.approx(1)
    assert scoring.similarity({"joy": 1, "fear": 0}, {"joy": 1, "fear": 1}) == pytest.approx(1 / math.sqrt(2))
    assert scoring.similarity(dict.fromkeys(EMOTIONS, 0), people) == 0


def test_people_s_ratings_of_one_text_become_their_mean_and_valence_has_a_scale_below_zero(rated, tmp_path):
    found = emotions.rated(Emotions(**rated["emotions"]), seed=1)
    assert [dict(zip(EMOTIONS, (2, 2, 2, 0, 0, 0, 0, 0, 2, 0.5), strict=True))] == [found.texts["He came home late"]]
    assert list(found.texts) == ["He came home late", "The dog is ill"]
    assert found.scales == {**SCALES, "valence": (-3, 3)}


def test_similarity_comes_from_the_constrained_answers_and_adherence_from_the_free_ones(rated, tmp_path):
    ill = {"surprise": 1, "fear": 3, "sadness": 3, "anger": 1, "valence": -3, "arousal": 2}
    as_people = json.dumps({**dict.fromkeys(EMOTIONS, 0), **ill})
    answers = {
        "emotions/0/free": "It sounds joyful.",
        "emotions/0/schema": json.dumps(dict.fromkeys(EMOTIONS, 0)),
        "emotions/1/free": as_people,
        "emotions/1/schema": as_people,
    }
    found = taken(list(emotions.measure(bench(tmp_path, rated, {"base": answers}))))
    assert values(found["emotion_schema", "base"]) == {"emotions/0/free": 0, "emotions/1/free": 1}
    assert values(found["emotion_similarity", "base"]) == {
        "emotions/0/schema": 0,
        "emotions/1/schema": pytest.approx(1),
    }
    assert "rated.csv (SHA-256 " in found["emotion_schema", "base"].how


def test_a_model_under_the_schema_writes_nothing_but_profiles(rated, tmp_path, one_thread):
    """Random weights, that without it write no JSON at all."""
    base = bases.make("gemma3", tmp_path / "gemma3")
    asked = emotions.asks(bench(tmp_path, rated, base=base))
    assert [question.id for question in asked] == [f"emotions/{n}/{how}" for n in (0, 1) for how in ("free", "schema")]
    assert asked[0].request.messages == asked[1].request.messages
    run = bench(tmp_path, rated, base=base).run
    writer = InProcess(Weights(run.recipe.base, base, None, "tiny", "1"), 2, print)
    with Ledger(tmp_path / "work", "base") as ledger:
        written = write_all(writer, [question.request for question in asked], ledger, Ranks(), lambda done, of: None)
    answers = {question.id: answer.text for question, answer in zip(asked, written, strict=True)}
    found = taken(list(emotions.measure(bench(tmp_path, rated, {"base": answers}, base=base))))
    assert set(values(found["emotion_schema", "base"]).values()) == {0}
    assert len(found["emotion_similarity", "base"].items) == 2
    for id in ("emotions/0/schema", "emotions/1/schema"):
        profile = scoring.profile(answers[id], {**SCALES, "valence": (-3, 3)})
        assert profile is not None


@pytest.mark.parametrize(
    "knobs, why",
    (
        ({}, "evaluate.emotions is not set"),
        ({"emotions": {"source": "./gone.csv"}}, "gone.csv: not on this machine"),
    ),
    ids=["not set", "not there"],
)
def test_what_is_not_set_or_not_there_is_named(knobs, why, tmp_path):
    asked = bench(tmp_path, knobs, {"base": {}})
    assert emotions.asks(asked) == []
    assert [(one.what, one.why) for one in emotions.measure(asked)] == [("emotions", why)]


def test_a_file_without_the_ten_columns_is_named(tmp_path):
    (tmp_path / "rows.csv").write_text("text,joy\nHello,1\n")
    (left_out,) = emotions.measure(bench(tmp_path, {"emotions": {"source": str(tmp_path / "rows.csv")}}, {"base": {}}))
    assert "no row has text in 'text' and numbers for joy, trust" in left_out.why

"""Answers that follow a JSON Schema, whatever the model would rather say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from localpsych_recipes import models
from localpsych_recipes.generation import constrained
from tests.families import bases

SCORE = {"type": "integer", "minimum": 1, "maximum": 10}


def of(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


# neither level in the order of the alphabet
SCHEMA = of({"warmth": of({"b": SCORE, "a": SCORE}), "unsafe": {"type": "boolean"}, "order": SCORE})


def tokenizer_of(name: str, folder: Path) -> Any:
    bases.make_tokenizer(name, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": bases.BASES[name].architecture}))
    return models.load_tokenizer(folder)


def sampled(tokenizer: Any, schema: dict[str, Any], rows: int, height: int, tokens: int = 60) -> list[str]:
    """What a model would write whose next token is any one, equally likely; without the token that ends it."""
    end = tokenizer.eos_token_id
    follow = constrained.FollowSchema(constrained.vocabulary(tokenizer, [end]), schema, rows)
    ids = torch.zeros(rows, 1, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for _ in range(tokens):
        probabilities = follow(ids, torch.zeros(rows, height)).softmax(-1)
        ids = torch.cat([ids, probabilities.multinomial(1, generator=generator)], dim=1)
    new = ids[:, 1:].tolist()
    assert all(row[row.index(end) :] == [end] * (tokens - row.index(end)) for row in new)
    return [tokenizer.decode(row[: row.index(end)]) for row in new]


def assert_follows(text: str) -> None:
    said = json.loads(text)
    assert json.dumps(said, separators=(",", ":")) == text  # no blanks, and no key twice
    assert list(said) == ["warmth", "unsafe", "order"] and list(said["warmth"]) == ["b", "a"]
    scores = (said["warmth"]["b"], said["warmth"]["a"], said["order"])
    assert all(type(score) is int and 1 <= score <= 10 for score in scores)
    assert type(said["unsafe"]) is bool


@pytest.mark.parametrize("name", ["gemma3", "phi3", "tinyllama"])
def test_whatever_is_sampled_follows_the_schema_and_then_ends(tmp_path, name):
    tokenizer = tokenizer_of(name, tmp_path / "base")
    height = len(tokenizer) + 53  # embeddings are padded
    texts = sampled(tokenizer, SCHEMA, rows=3, height=height, tokens=50)
    for text in texts:
        assert_follows(text)
    assert len(set(texts)) > 1


def test_every_score_from_one_to_ten_can_be_given(tmp_path):
    tokenizer = tokenizer_of("gemma3", tmp_path / "base")
    texts = sampled(tokenizer, of({"n": SCORE}), rows=100, height=len(tokenizer), tokens=20)
    assert {json.loads(text)["n"] for text in texts} == set(range(1, 11))


def test_an_embedding_shorter_than_the_vocabulary_is_no_fault(tmp_path):
    tokenizer = tokenizer_of("gemma3", tmp_path / "base")
    for text in sampled(tokenizer, SCHEMA, rows=2, height=len(tokenizer) - 20):
        assert_follows(text)


def test_ids_that_no_token_has_are_never_allowed(tmp_path):
    tokenizer = tokenizer_of("qwen3", tmp_path / "base")  # 1,059 tokens, the last of them with id 151,668
    vocabulary = constrained.vocabulary(tokenizer, [tokenizer.eos_token_id])
    follow = constrained.FollowSchema(vocabulary, of({"text": {"type": "string"}}), rows=1)
    ids = torch.tensor([tokenizer('{"text":"')["input_ids"]])
    for end in range(ids.shape[1] + 1):
        scores = follow(ids[:, :end] if end else torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 151936))
    allowed = set((scores[0] == 0).nonzero()[:, 0].tolist())
    assert len(allowed) > 500 and allowed <= set(tokenizer.get_vocab().values())


def test_a_schema_that_means_nothing_is_a_fault_of_the_program(tmp_path):
    vocabulary = constrained.vocabulary(tokenizer_of("gemma3", tmp_path / "base"), [1])
    with pytest.raises(ValueError, match="nonsense"):
        constrained.FollowSchema(vocabulary, {"type": "nonsense"}, rows=1)

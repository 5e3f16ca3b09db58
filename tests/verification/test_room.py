"""The disk that a comparison takes is known, and refused, before any of it is used."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Verify
from localpsych_recipes.verification import room

VOCABULARY = 262_144  # Gemma's
LOGITS = 16 * 127 * VOCABULARY * 4  # 16 pieces of 256 tokens, of which 127 are scored, in float32: 2.13 GB


def test_at_the_default_settings_the_logits_of_two_models_are_the_most_where_nothing_is_converted() -> None:
    assert room.needed(Verify(), VOCABULARY, ggufs=False) == 2 * LOGITS == 4_261_412_864
    assert room.needed(Verify(), VOCABULARY, ggufs=True) == 2 * LOGITS


def test_a_gguf_that_is_made_for_the_comparison_counts_beside_what_lies_there_then() -> None:
    reference = 40 * 127 * (VOCABULARY + 4) * 2  # 16 bits for each token, and two floats
    assert room.needed(Verify(), VOCABULARY, ggufs=True, base=15 * 10**9) == 15 * 10**9 + reference
    both = room.needed(Verify(), VOCABULARY, ggufs=True, base=15 * 10**9, merged=15 * 10**9)
    assert both == 30 * 10**9 + reference


def test_too_little_disk_is_one_message_with_both_numbers(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4_000_000_000))
    with pytest.raises(UserError, match=r"4\.3 GB of disk for a while, 4\.0 GB are free") as refused:
        room.refuse_little(tmp_path, 2 * LOGITS)
    assert str(tmp_path) not in str(refused.value)
    assert room.refuse_little(tmp_path, LOGITS) == "2.1 GB of disk for a while, 4.0 GB are free"

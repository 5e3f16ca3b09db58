"""Who the token's user is, and what would fail after training fails before."""

from __future__ import annotations

import subprocess
import sys

import pytest
from embedded_hub import TOKENS, alice, hub  # noqa: F401  fixtures

from localpsych_recipes import hub as door
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Push


def test_the_user_is_the_tokens(hub) -> None:
    assert door.whoami() == door.user() == "alice"


def test_without_a_token_logging_in_is_advised(hub, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="hf auth login.*HF_TOKEN"):
        door.whoami()
    assert door.user() is None


def test_a_token_that_is_refused_is_never_shown(hub, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with pytest.raises(UserError) as error:
        door.whoami()
    assert "refuses this token" in str(error.value) and "xxxxxx" not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_names_come_from_the_recipe_the_namespace_or_the_user() -> None:
    assert door.repositories(None, "calm", "alice") == {
        "adapter": "alice/calm-LoRA", "merged": "alice/calm", "gguf": "alice/calm-GGUF", "pairs": "alice/calm-pairs",
    }  # fmt: skip
    push = Push(namespace="lab", merged="other/Calm-4B", gguf="files", pairs="other/pairs")
    assert door.repositories(push, "calm", "alice") == {
        "adapter": "lab/calm-LoRA", "merged": "other/Calm-4B", "gguf": "lab/files", "pairs": "other/pairs",
    }  # fmt: skip


def test_a_push_is_checked_before_training_and_nothing_is_created(alice) -> None:
    assert door.preflight(Push(), "calm") == door.repositories(None, "calm", "alice")
    assert not alice.repo_exists("alice/calm")


def test_what_would_fail_after_training_fails_before(alice, monkeypatch) -> None:
    with pytest.raises(UserError, match="belongs to bob"):
        door.preflight(Push(namespace="bob"), "calm")
    alice.create_repo("alice/calm", private=False)
    with pytest.raises(UserError, match="push.private: true, but alice/calm is public"):
        door.preflight(Push(), "calm")
    monkeypatch.setenv("HF_TOKEN", TOKENS["alice:read"])
    with pytest.raises(UserError, match="read-only"):
        door.preflight(Push(), "calm")


def test_a_tag_of_an_older_release_is_found_before_training(alice) -> None:
    alice.create_repo("alice/calm-GGUF", private=True)
    alice.create_tag("alice/calm-GGUF", tag="v0.1.0")
    assert door.preflight(Push(), "calm") and door.preflight(Push(), "calm", new_tag="v0.2.0")
    assert door.preflight(Push(), "calm", kinds=("adapter", "merged"), new_tag="v0.1.0")
    with pytest.raises(UserError, match="raise `version`"):
        door.preflight(Push(), "calm", new_tag="v0.1.0")


def test_a_public_dataset_of_the_pairs_name_is_refused_whatever_push_private_says(alice) -> None:
    alice.create_repo("alice/calm-pairs", repo_type="dataset", private=False)
    for push in (Push(), Push(private=False)):
        with pytest.raises(UserError, match="push.pairs: the dataset alice/calm-pairs is public on the Hub"):
            door.preflight(push, "calm")
    assert door.preflight(Push(pairs="others"), "calm")["pairs"] == "alice/others"
    assert door.preflight(Push(), "calm", kinds=("adapter", "merged", "gguf"))


def test_a_private_dataset_suits_a_public_release_unless_its_tag_is_taken(alice) -> None:
    alice.create_repo("alice/calm-pairs", repo_type="dataset", private=True)
    alice.create_tag("alice/calm-pairs", tag="v0.1.0", repo_type="dataset")
    assert door.preflight(Push(private=False), "calm", new_tag="v0.2.0")
    with pytest.raises(UserError, match="alice/calm-pairs has the tag v0.1.0 already"):
        door.preflight(Push(private=False), "calm", new_tag="v0.1.0")


def test_importing_the_door_imports_no_client() -> None:
    code = "import sys, localpsych_recipes.hub; print({'huggingface_hub', 'torch', 'httpx2'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"

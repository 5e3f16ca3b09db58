"""What was not proven is left out when the release is pushed; where nothing is left, nothing is pushed."""

from __future__ import annotations

import pytest
from embedded_hub import alice, hub  # noqa: F401  fixtures
from finished_run import finished_run, proven, report

from localpsych_recipes.errors import UserError
from localpsych_recipes.rundir import file_sha256
from localpsych_recipes.stages import card, push

GGUF, WHOLE = "calm-Q4_K_M.gguf", ["*"]


def test_a_file_that_was_not_proven_is_left_out_and_the_others_are_published(tmp_path, hub, alice) -> None:  # noqa: F811
    said: list[str] = []
    run = finished_run(tmp_path)
    run.say = said.append
    report(run, "verify", proven(run, GGUF, withheld={"gguf": [GGUF]}))
    card.run(run)
    push.run(run)
    assert alice.file_exists("alice/calm-GGUF", "calm-Q8_0.gguf") and alice.repo_exists("alice/calm")
    assert not alice.file_exists("alice/calm-GGUF", GGUF)
    assert any(line.strip().startswith(f"quant of {GGUF}") and "NOT PROVEN" in line for line in said)
    assert f"      withheld: {GGUF} of gguf" in said


def test_where_nothing_is_proven_nothing_is_pushed(tmp_path, hub, alice) -> None:  # noqa: F811
    run = finished_run(tmp_path)
    report(run, "verify", proven(run, "adapter", withheld=dict.fromkeys(("adapter", "merged", "gguf"), WHOLE)))
    card.run(run)
    with pytest.raises(UserError, match="no file of the release is proven"):
        push.run(run)
    assert not any(alice.repo_exists(f"alice/calm{suffix}") for suffix in ("", "-LoRA", "-GGUF"))


def test_the_card_leaves_the_folder_that_was_proven_as_it_is(tmp_path, hub) -> None:  # noqa: F811
    run = finished_run(tmp_path)
    card.run(run)
    weights = run.dir.release("adapter") / "adapter_model.safetensors"
    proven_then = file_sha256(weights)
    (run.final_adapter / weights.name).write_text("trained once more, behind the proof's back")
    card.run(run)
    assert file_sha256(weights) == proven_then and (weights.parent / "README.md").is_file()


def test_without_a_verify_section_an_older_proof_keeps_no_older_adapter(tmp_path, hub) -> None:  # noqa: F811
    run = finished_run(tmp_path, "verify=false", "push=false")
    report(run, "verify", proven(run))  # of a recipe that had one
    card.run(run)
    weights = run.dir.release("adapter") / "adapter_model.safetensors"
    (run.final_adapter / weights.name).write_text("trained once more")
    card.run(run)
    assert weights.read_text() == "trained once more"

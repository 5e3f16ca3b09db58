"""The repositories of a release, each in one commit with its card, private, tagged, and the same when pushed again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from embedded_hub import TOKENS, alice, bob, hub  # noqa: F401  fixtures
from finished_run import PAIRS, finished_run, logged, pair, proven, report
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.rundir import file_sha256
from localpsych_recipes.stages import card, push

REPOSITORIES = ["alice/calm-LoRA", "alice/calm", "alice/calm-GGUF"]


@pytest.fixture
def run(tmp_path: Path, hub) -> Run:
    run = finished_run(tmp_path)
    card.run(run)
    return run


def test_a_release_is_three_private_tagged_repositories(run, alice, bob) -> None:
    found = push.run(run)["repositories"]
    assert [r["repo_id"] for r in found] == REPOSITORIES
    for kind, done in zip(("adapter", "merged", "gguf"), found, strict=True):
        files = [p for p in run.dir.release(kind).rglob("*") if p.is_file()]
        assert (done["files"], done["bytes"]) == (len(files), sum(p.stat().st_size for p in files))
        assert done["private"] and done["tag"] == "v1.2.3"
        tags = alice.list_repo_refs(done["repo_id"]).tags
        assert {t.name: t.target_commit for t in tags} == {"v1.2.3": done["commit"]}
        for path in files:
            name = path.relative_to(run.dir.release(kind)).as_posix()
            assert file_sha256(Path(alice.hf_hub_download(done["repo_id"], name))) == file_sha256(path)
        with pytest.raises(RepositoryNotFoundError):
            bob.model_info(done["repo_id"])


def test_the_card_comes_with_the_files(run, alice) -> None:
    for done in push.run(run)["repositories"]:
        commits = alice.list_repo_commits(done["repo_id"])
        assert [c.title for c in commits if c.title == "calm 1.2.3"] == ["calm 1.2.3"]
        before = alice.list_repo_files(done["repo_id"], revision=commits[1].commit_id)
        assert set(before) <= {".gitattributes"}


def test_pushing_again_changes_nothing(run) -> None:
    first = push.run(run)["repositories"]
    again = push.run(run)["repositories"]
    assert [r["commit"] for r in again] == [r["commit"] for r in first]
    assert [r["changed"] for r in first + again] == [True] * 3 + [False] * 3


def test_a_push_that_was_killed_in_between_goes_on(run, alice, monkeypatch) -> None:
    create, count = HfApi.create_commit, iter(range(9))

    def killed(self, *arguments, **options):
        if next(count) == 1:
            raise KeyboardInterrupt
        return create(self, *arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", killed)
    with pytest.raises(KeyboardInterrupt):
        push.run(run)
    assert [r["changed"] for r in push.run(run)["repositories"]] == [False, True, True]


def test_the_cards_name_the_owner_that_the_push_found(tmp_path, hub, alice, monkeypatch) -> None:
    run = finished_run(tmp_path)
    with monkeypatch.context() as logged_out:
        logged_out.delenv("HF_TOKEN")
        card.run(run)
    assert "USER/calm" in (run.dir.release("gguf") / "README.md").read_text()
    push.run(run)
    assert alice.model_info("alice/calm-GGUF").card_data["base_model"] == "alice/calm"


def test_only_what_the_recipe_makes_is_published(tmp_path, hub, alice) -> None:
    run = finished_run(tmp_path, "gguf=false")
    card.run(run)
    assert run.dir.release("gguf").is_dir()
    assert [r["repo_id"] for r in push.run(run)["repositories"]] == REPOSITORIES[:2]
    assert not alice.repo_exists("alice/calm-GGUF")


FAILING = 'gates=[{"metric": "crisis_pass", "at_least": 0.79}, {"metric": "harm", "at_most": 0}]'


def test_a_failed_gate_leaves_nothing_on_the_hub_that_was_not_there_before(tmp_path, hub, alice) -> None:
    alice.create_repo(REPOSITORIES[1], private=True)
    run = finished_run(tmp_path, FAILING)
    card.run(run)
    before = {path: path.is_dir() or path.read_bytes() for path in (tmp_path / "hub").rglob("*")}
    with pytest.raises(UserError, match="--publish-anyway") as refused:
        push.run(run)
    assert "4 of 6 gates" in str(refused.value) and "crisis_pass of Q4_K_M must be at least 0.79" in str(refused.value)
    assert {path: path.is_dir() or path.read_bytes() for path in (tmp_path / "hub").rglob("*")} == before
    assert not alice.repo_exists(REPOSITORIES[0]) and alice.repo_exists(REPOSITORIES[1])


def test_published_anyway_every_card_says_first_what_failed(tmp_path, hub, alice) -> None:
    run = finished_run(tmp_path, FAILING)
    run.publish_anyway = True
    card.run(run)
    push.run(run)
    for repository in REPOSITORIES:
        text = Path(alice.hf_hub_download(repository, "README.md")).read_text()
        failed = text.split("\n## ")[1]
        assert failed.startswith(
            "What it failed\n\n**Of the 6 conditions that its own recipe sets for a release, 4 failed:**"
        )
        assert "- Crisis prompts answered as they must be, Q4\\_K\\_M: must be at least 79 %, but is 75 %." in failed
        recorded = json.loads(Path(alice.hf_hub_download(repository, "results.json")).read_text())
        assert sum(not gate["passed"] for gate in recorded["gates"]) == 4


def test_a_withheld_kind_is_not_published_and_the_others_are(tmp_path, hub, alice) -> None:
    run = finished_run(tmp_path)
    report(run, "verify", proven(run, "gguf", withheld={"gguf": ["*"]}))
    card.run(run)
    assert [r["repo_id"] for r in push.run(run)["repositories"]] == REPOSITORIES[:2]
    assert not alice.repo_exists(REPOSITORIES[2])


LOAD = """
import json, datasets
print(json.dumps({name: rows.to_list() for name, rows in datasets.load_dataset("alice/calm-pairs").items()}))
"""


def test_the_pairs_come_back_from_the_hub_as_a_private_dataset(tmp_path, hub, alice, bob) -> None:
    run = finished_run(tmp_path, PAIRS, "push.private=false")
    card.run(run)
    done = push.run(run)["repositories"][-1]
    assert (done["repo_id"], done["private"], done["tag"]) == ("alice/calm-pairs", True, "v1.2.3")
    assert alice.dataset_info("alice/calm-pairs").private and not alice.model_info("alice/calm").private
    with pytest.raises(RepositoryNotFoundError):
        bob.dataset_info("alice/calm-pairs")
    environment = {**hub.environment(TOKENS["alice"]), "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    loaded = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == {"train": [pair(0), pair(1), pair(2)], "test": [pair(3)]}


def test_a_public_dataset_stops_the_push_before_anything_is_there(tmp_path, hub, alice) -> None:
    run = finished_run(tmp_path, PAIRS)
    card.run(run)
    alice.create_repo("alice/calm-pairs", repo_type="dataset", private=False)
    with pytest.raises(UserError, match="push.pairs"):
        push.run(run)
    assert not any(alice.repo_exists(repo) for repo in REPOSITORIES)


def test_a_local_base_without_its_hub_id_is_not_pushed(tmp_path, hub) -> None:
    run = finished_run(tmp_path, "base.model=/models/base")
    with pytest.raises(UserError, match="base.hub_id"):
        push.run(run)


def test_a_token_that_cannot_write_ends_the_push_before_it_begins(run, alice, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKENS["alice:read"])
    with pytest.raises(UserError, match="read-only"):
        push.run(run)
    assert not alice.repo_exists(REPOSITORIES[0])


def swap(folder: Path) -> None:
    (folder / "model.safetensors").write_text("other weights")


def halve(folder: Path) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 8}))


@pytest.mark.parametrize(
    ("kind", "damage", "named"),
    [
        ("merged", swap, "model.safetensors of merged"),
        ("merged", lambda folder: (folder / "pytorch_model.bin").write_text("x"), "pytorch_model.bin of merged"),
        ("gguf", lambda folder: (folder / "calm-Q8_0.gguf").write_text("GGUF Q8_1"), "calm-Q8_0.gguf of gguf"),
        ("gguf", lambda folder: (folder / "calm-Q8_0.gguf").unlink(), "calm-Q8_0.gguf of gguf"),
        ("adapter", halve, "adapter_config.json of adapter"),
    ],
    ids=["other weights", "further weights", "one byte of a quant", "a quant that is gone", "half of alpha"],
)
def test_a_file_that_changed_behind_the_proofs_back_stops_the_push_before_anything_is_there(
    run, alice, kind, damage, named
) -> None:
    damage(run.dir.release(kind))
    with pytest.raises(UserError, match=f"{named}: not as the verify stage saw it"):
        push.run(run)
    assert not any(alice.repo_exists(repo) for repo in REPOSITORIES)


@pytest.mark.parametrize(("kind", "stage"), [("merged", "merge"), ("gguf", "gguf"), ("adapter", "verify")])
def test_a_release_folder_that_was_deleted_is_not_passed_over_in_silence(run, alice, kind, stage) -> None:
    shutil.rmtree(run.dir.release(kind))
    with pytest.raises(
        UserError, match=rf"(?s)release/{kind} is gone, although {stage} was done.*--from {stage} --force"
    ):
        push.run(run)
    assert not any(alice.repo_exists(repo) for repo in REPOSITORIES)


def test_without_a_proof_nothing_is_pushed(run, alice) -> None:
    run.dir.report_file("verify").unlink()
    with pytest.raises(UserError, match="not as the verify stage saw them"):
        push.run(run)
    assert not any(alice.repo_exists(repo) for repo in REPOSITORIES)


def test_a_hub_id_that_is_given_after_the_proof_and_the_picture_of_training_change_nothing_proven(
    tmp_path, hub, alice
) -> None:
    run = finished_run(tmp_path, "base.model=/models/base", "base.hub_id=alice/base")
    report(run, "verify", proven(run))
    run.recipe = run.recipe.model_copy(update={"base": run.recipe.base.model_copy(update={"hub_id": "alice/renamed"})})
    logged(run)
    (run.dir.agreements / "LICENSE").write_text("as is")
    card.run(run)
    assert [r["repo_id"] for r in push.run(run)["repositories"]] == REPOSITORIES
    named = json.loads(Path(alice.hf_hub_download(REPOSITORIES[0], "adapter_config.json")).read_text())
    assert named["base_model_name_or_path"] == "alice/renamed"
    assert {"curves.png", "LICENSE"} <= set(alice.list_repo_files(REPOSITORIES[1]))

"""The recipe that goes with every release: pinned, and without paths and addresses."""

from __future__ import annotations

import json
from pathlib import Path

from finished_run import KINDS, OWNER, cards, finished_run

from localpsych_recipes import recipe_file
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import card


def published(run: Run) -> str:
    card.run(run)
    texts = {(run.dir.release(kind) / "recipe.yaml").read_text() for kind in KINDS}
    assert len(texts) == 1
    return texts.pop()


def test_the_published_recipe_is_the_runs_pinned_to_commits(tmp_path: Path) -> None:
    run = finished_run(tmp_path, OWNER)
    (tmp_path / "again.yaml").write_text(published(run))
    again = recipe_file.load(tmp_path / "again.yaml")
    base = run.recipe.base.model_copy(update={"revision": "a" * 40})
    data = run.recipe.data.model_copy(update={"revision": "b" * 40})
    judge = run.recipe.judge.model_copy(update={"model": "Qwen/Qwen3-4B", "revision": "9" * 40})
    assert again == run.recipe.model_copy(update={"base": base, "data": data, "judge": judge})


def test_paths_and_addresses_stay_on_this_machine(tmp_path: Path) -> None:
    base = ("base.model=/home/alice/models/secret", "base.hub_id=alice/base")
    rows = "data.source=/home/alice/private/rows.jsonl"
    trainer = {"deepspeed": "/home/alice/ds.json", "trackio_space_id": "https://server.local/x", "adam_beta1": 0.8}
    pins = {
        "base": {"commit": None, "local": {"name": "secret", "sha256": "d" * 64}},
        "dataset": {"id": None, "commit": None, "file": "rows.jsonl", "sha256": "e" * 64},
    }
    text = published(finished_run(tmp_path, OWNER, *base, rows, f"sft.trainer={json.dumps(trainer)}", pins=pins))
    assert "/home" not in text and "private" not in text.replace("private: true", "") and "server.local" not in text
    assert "secret" in text and "d" * 64 in text and "rows.jsonl" in text and "e" * 64 in text
    (tmp_path / "again.yaml").write_text(text)
    again = recipe_file.load(tmp_path / "again.yaml")
    assert (again.base.model, again.data.source) == ("alice/base", "./rows.jsonl")
    assert again.sft.trainer == {"adam_beta1": 0.8}


def test_a_release_made_of_commits_alone_is_said_to_be_made_again_by_its_recipe(tmp_path: Path) -> None:
    for text in cards(finished_run(tmp_path, OWNER)).values():
        assert "pinned to commits; this makes the release again" in text


def test_what_the_recipe_cannot_fetch_is_said_to_be_needed(tmp_path: Path) -> None:
    rows = {"id": None, "commit": None, "file": "rows.jsonl", "sha256": "e" * 64}
    base = {"commit": None, "local": {"name": "mine", "sha256": "d" * 64}}
    local = finished_run(tmp_path / "base", OWNER, "base.model=/models/mine", pins={"base": base})
    both = finished_run(tmp_path / "both", OWNER, "base.model=/models/mine", pins={"base": base, "dataset": rows})
    file = finished_run(tmp_path / "rows", OWNER, "data.source=./rows.jsonl", pins={"dataset": rows})
    for run, needed in ((local, ["mine"]), (both, ["mine", "rows.jsonl"]), (file, ["rows.jsonl"])):
        assert published(run).count("into the folder that you run this in") == len(needed)
        for text in cards(run).values():
            said = text.split("## Made by")[1]
            assert "to commits" not in said and [n for n in ("mine", "rows.jsonl") if f"`{n}`" in said] == needed


def test_a_server_of_data_is_not_named(tmp_path: Path) -> None:
    pins = {"dataset": {"id": None, "commit": None, "file": "rows.csv?token=abc"}}
    run = finished_run(tmp_path, OWNER, "data.source=https://internal.example/rows.csv?token=abc", pins=pins)
    text = published(run)
    assert "internal.example" not in text and "abc" not in text and "rows.csv" in text
    for name in cards(run).values():
        assert "internal.example" not in name and "token=abc" not in name


def test_of_the_evaluation_files_are_named_and_the_reference_is_not(tmp_path: Path) -> None:
    home = "/home/alice/sets"
    evaluate = {
        "suite": f"{home}/mine.yaml", "xstest": {"source": "natolambert/xstest"}, "judge": True,
        "questions": [{"source": f"{home}/mt.jsonl"}], "bert_score": {"model": f"{home}/encoder"},
        "toxicity": {"classifier": f"{home}/tox", "prompts": [{"source": f"{home}/real.jsonl"}]},
        "lm_eval": ["arc_easy", f"{home}/task.yaml"],
        "trust_remote_code": True,
        "reference": {"name": "big", "server": "http://10.0.0.7:8000/v1", "model": f"{home}/big"},
    }  # fmt: skip
    run = finished_run(tmp_path, OWNER, f"evaluate={json.dumps(evaluate)}")
    text = published(run)
    assert "/home" not in text and "10.0.0.7" not in text
    assert (
        "The evaluation read mine.yaml, encoder, tox, mt.jsonl, real.jsonl, task.yaml; put that into the folder" in text
    )
    (tmp_path / "again.yaml").write_text(text)
    again = recipe_file.load(tmp_path / "again.yaml").evaluate
    assert (again.suite, again.xstest.source, again.reference) == ("./mine.yaml", "natolambert/xstest", None)
    assert again.lm_eval == ("arc_easy", "./task.yaml")
    assert (again.toxicity.classifier, again.toxicity.prompts[0].source) == ("./tox", "./real.jsonl")

"""How preference pairs were made and judged is said with counts and nothing of any row; their dataset stays private."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import DPO, KINDS, MADE, OWNER, PAIRS, body, cards, finished_run, metadata, report
from huggingface_hub import DatasetCard, ModelCard

from localpsych_recipes import recipe_file, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import card

OTHER = {"id": "alice/votes", "commit": "c" * 40, "license": "mit"}


def told(run: Run, **changes: Any) -> dict[str, str]:
    """The section on pairs in each of the cards, as text, with `changes` to the report; a dict changes a part of it."""
    made = deepcopy(MADE)
    for key, value in changes.items():
        made[key] = made[key] | value if isinstance(value, dict) else value
    report(run, "pairs", made)
    texts = cards(run) | {"pairs": (run.dir.release("pairs") / "README.md").read_text()}
    return {kind: text.split("made\n\n")[1].split("\n## ")[0].replace("\\", "") for kind, text in texts.items()}


def test_the_hub_takes_the_cards_with_pairs(tmp_path, hub) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS)
    for text in cards(run).values():
        ModelCard(text).validate()
    DatasetCard((run.dir.release("pairs") / "README.md").read_text()).validate()


def test_who_wrote_and_who_judged_is_said_in_every_card(tmp_path) -> None:
    for text in told(finished_run(tmp_path, OWNER, PAIRS)).values():
        assert "by this release's model as supervised fine-tuning left it, run by llama.cpp: 3 for each of 300" in text
        assert "(temperature 1.5, min_p 0.05, repetition_penalty 1.1, at most 512 tokens)" in text
        assert "107 cut at 70 % of their words and 98 left without their first sentence." in text
        assert f"`Qwen/Qwen3-4B` at commit `{'9' * 12}` run by transformers, scored each answer alone" in text
        assert "`warmth`, `actionability`, `appropriateness`" in text and "`ignores_risk`; a chosen answer" in text
        assert "not of the model's own family" in text and "another machine" not in text
        assert "not clinically validated" in text and "No person has rated these pairs" in text


def test_every_count_is_a_row_and_shares_have_their_counts_and_interval(tmp_path) -> None:
    for text in told(finished_run(tmp_path, OWNER, PAIRS)).values():
        for row in ("| candidates | 1,050 |", "| ... cut off at max_tokens | 31 |", "| ... kept | 250 |",
                    "| prompts with a kept pair | 71.4 % (250 of 350; 95 % interval 66.5 % to 75.9 %) |",
                    "| candidates kept, of those with a verdict | 25.8 % (250 of 970; 95 % interval 23.1 % to 28.6 %) |",
                    "| verdicts asked for a second time | 27 |"):  # fmt: skip
            assert row in text
        assert "length in words | 0.31 |" in text and "the longer one | 68.4 % |" in text
        assert "- Warning: the longer answer is chosen in 68 % of the pairs" in text
        assert "refused" not in text and "orders disagree | 0" not in text  # what never happened is no row


def test_a_judge_of_the_own_family_another_machine_and_a_server_are_said(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS, "pairs.server=http://lab.example/v1", "pairs.model=/srv/calm-sft")
    for text in told(run, judge={"same_family": True, "where": "remote"}, where="remote").values():
        assert "It is of the model's own family, and such a judge favours answers like its own." in text
        assert "To write and to judge the answers, texts of the data were sent to another machine." in text
        assert (
            "left it, run on a server under the name calm-sft" in text
            and "lab.example" not in text
            and "srv" not in text
        )
    for text in told(run, judge={"same_family": None, "commit": None, "mode": "pairwise"}).values():
        assert "own family is not known" in text and "both answers together in both orders" in text


def test_what_has_nothing_to_be_measured_on_is_left_out(tmp_path) -> None:
    nothing = {"kept": 0, "of": 0, "share": 0.0, "low": 0.0, "high": 1.0}
    empty = {"rates": {"kept_of_judged": nothing}, "length_correlation": None, "chosen_longer": None}
    for text in told(finished_run(tmp_path, OWNER, PAIRS), **empty).values():
        assert "| candidates kept, of those with a verdict | 0 of 0 |" in text
        assert "Spearman" not in text and "longer one" not in text


def test_pairs_in_training_are_those_made_here_and_the_datas_own(tmp_path) -> None:
    texts = told(finished_run(tmp_path, OWNER, PAIRS))
    for kind in KINDS:  # 215 + 8,645 and 35 + 949
        assert "DPO was given 8,860 pairs to train on and 984 held-out ones" in texts[kind]
        assert "the 250 that were kept here and the data's own 9,594." in texts[kind]
    text = (tmp_path / "run" / "release" / "pairs" / "README.md").read_text()
    assert "| train | 8,860 | 215 | 8,645 |" in text and "| test | 984 | 35 | 949 |" in text
    assert "The data's own pairs come first" in text and "left out 3 of the pairs" in text


def test_a_recipe_without_pairs_or_a_stage_that_is_not_done_says_nothing_of_them(tmp_path) -> None:
    without = finished_run(tmp_path / "without", OWNER)
    report(without, "pairs", MADE)
    without_dpo = finished_run(tmp_path / "dpo", OWNER, PAIRS, "dpo=false")
    for run in (without, finished_run(tmp_path / "early", OWNER, PAIRS, reports=False), without_dpo):
        for text in cards(run).values():
            assert "preference pairs" not in text and "A candidate was kept" not in text


def test_warnings_of_dpo_stand_beside_what_was_measured(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    report(run, "dpo", DPO | {"warnings": ["answers became less likely: raise dpo.beta"]})
    for text in cards(run).values():
        measured = text.split("## How it was measured")[1].split("\n## ")[0]
        assert "- Warning: answers became less likely: raise dpo.beta" in measured


def test_the_datasets_front_matter_leads_to_its_files(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS)
    card.run(run)
    text = (run.dir.release("pairs") / "README.md").read_text()
    found = metadata(text)
    files = [{"split": split, "path": f"data/{split}.jsonl"} for split in ("train", "test")]
    assert found["configs"] == [{"config_name": "default", "data_files": files}]
    assert (found["license"], found["size_categories"]) == ("cc-by-4.0", ["1K<n<10K"])
    assert {"preference", "dpo", "empathy"} <= set(found["tags"])
    title, box = body(text).strip().split("\n\n", 2)[:2]
    assert title == "# Calm: preference pairs" and "988" in box
    assert "alice/rows" in text and "alice/calm](" in text and "## Keep it private" in text


@pytest.mark.parametrize(("licences", "expected"), [
    (("cc-by-4.0", "cc-by-4.0"), "cc-by-4.0"),
    (("cc-by-4.0", None), "unknown"),
    (("cc-by-4.0", "mit"), "other"),
    (("cc-by-nd-4.0", "cc-by-nd-4.0"), "other"),
    (("words of the recipe", "words of the recipe"), "other"),
])  # fmt: skip
def test_a_licence_is_the_datasets_only_if_all_sources_have_it_and_allow_it(tmp_path, licences, expected) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS)
    one = run.recipe.data.model_dump(include={"source", "columns"})
    mixture = [one, one | {"source": "alice/votes"}]
    run.recipe = run.recipe.model_validate(run.recipe.model_dump(mode="json") | {"data": {"mixture": mixture}})
    pins = rundir.read_json(run.dir.pins)
    datasets = [pin | {"license": name} for pin, name in zip((*pins["datasets"], OTHER), licences, strict=True)]
    rundir.write_json(run.dir.pins, pins | {"datasets": datasets})
    report(run, "prepare", {"counts": {}})
    card.run(run)
    found = metadata((run.dir.release("pairs") / "README.md").read_text())
    assert (found["license"], found.get("license_name")) == (
        expected,
        "see-the-sources" if expected == "other" else None,
    )


def test_the_name_of_the_private_dataset_stands_in_nothing_of_the_models(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS, "push.pairs=secret-circle", "push.private=false")
    card.run(run)
    assert "alice/secret-circle" in (run.dir.release("pairs") / "README.md").read_text()
    for path in (path for kind in KINDS for path in run.dir.release(kind).rglob("*") if path.is_file()):
        assert "secret-circle" not in path.read_text() and "calm-pairs" not in path.read_text()


def published(run: Run) -> tuple[str, Any]:
    """The published recipe as text and as it is read again."""
    card.run(run)
    texts = {(run.dir.release(kind) / "recipe.yaml").read_text() for kind in (*KINDS, "pairs")}
    (run.dir.root / "again.yaml").write_text(text := texts.pop())
    assert not texts
    return text, recipe_file.load(run.dir.root / "again.yaml")


def test_the_published_recipe_pins_the_judge_that_was_taken(tmp_path) -> None:
    again = published(finished_run(tmp_path, OWNER, PAIRS))[1]
    assert (again.judge.model, again.judge.revision) == ("Qwen/Qwen3-4B", "9" * 40)
    assert again.pairs.server == "llama.cpp" and again.pairs.publish


def test_servers_keys_and_paths_of_pairs_stay_on_this_machine(tmp_path) -> None:
    secrets = ("pairs.server=https://lab.example/v1", "pairs.api_key_env=ALICE_LAB_API_KEY", "pairs.model=/srv/calm-sft",
               "judge.server=http://10.0.0.7:8000/v1", "judge.api_key_env=ALICE_JUDGE_API_KEY", "judge.model=judge-7b")  # fmt: skip
    run = finished_run(tmp_path, OWNER, PAIRS, *secrets)
    report(run, "pairs", MADE | {"judge": MADE["judge"] | {"model": "judge-7b", "commit": None}})
    text, again = published(run)
    assert not any(secret in text for secret in ("lab.example", "10.0.0.7", "ALICE", "/srv"))
    assert (again.pairs.server, again.pairs.model, again.judge.server) == (None, "default", None)
    assert "# The judge was judge-7b; start one, and name its server in `judge`." in text
    for name in cards(run).values():
        assert "The judge, `judge-7b` run on a server, scored" in name
        assert "the judge `judge-7b`:" in name and "this makes the release again" not in name


@pytest.mark.parametrize("place", ["/home/alice/judge.gguf", "/home/alice/judge"])
def test_a_judge_on_this_machine_is_known_by_its_last_part(tmp_path, place) -> None:
    last = Path(place).name
    run = finished_run(tmp_path, OWNER, PAIRS, f"judge.model={place}", "judge.server=llama.cpp")
    report(run, "pairs", MADE | {"judge": MADE["judge"] | {"model": last, "commit": None}})
    text, again = published(run)
    assert "/home" not in text and (again.judge.model, again.judge.server) == (f"./{last}", "llama.cpp")
    assert f"# The judge was {last}; put it into the folder that you run this in." in text
    assert all(f"`{last}`" in name and "/home" not in name for name in cards(run).values())

"""Cards and published recipes say what a release was made from, and no more than that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import COUNTS, KINDS, OWNER, PINS, SFT, cards, finished_run, report
from huggingface_hub import ModelCard

from localpsych_recipes import recipe_file, rundir
from localpsych_recipes.cards import sources
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.stages import card

POSTS = {"source": "/home/alice/posts", "test_split": "test",
         "columns": {"prompt": "Is *this* stress?\n\n{text}", "response": "It is {label}."},
         "labels": {"label": {"0": "no stress", "1": "stress", "2": "stress"}}}  # fmt: skip
VOTES = {"source": "alice/votes", "use": "sft", "weight": 0.5,
         "columns": {"prompt": "question", "response": "answer", "score": "upvotes"}}  # fmt: skip
POSTS_PIN = {"id": None, "commit": None, "file": "posts", "license": None,
             "sha256": {"train.csv": "1" * 64, "test.csv": "2" * 64, "clients of Dr Bell.txt": "3" * 64}}  # fmt: skip
VOTES_PIN = {"id": "alice/votes", "commit": "c" * 40, "license": "cc-by-nc-4.0"}
TEACHER = {"teacher": "someone/teacher", "server": "local", "card": {"license": "llama3.1"}, "kept_template": 3,
           "rows": {"sft_train": 30, "sft_test": 10}}  # fmt: skip


def mixture(root: Path, *sources: dict, pins: tuple[dict, ...], **sections) -> Run:
    """A finished run of SFT whose recipe learns from `sources`; keyword arguments replace sections of the recipe."""
    run = finished_run(root, OWNER, "dpo=false")
    values = run.recipe.model_dump(mode="json") | {"data": {"mixture": list(sources)}} | sections
    run.recipe = Recipe.model_validate(values)
    rundir.write_json(run.dir.pins, {"base": PINS["base"], "datasets": list(pins)})
    counts = [{"source": str(n), "rows": 40 + n, "train": 30 + n, "test": 10} for n, _ in enumerate(sources)]
    report(run, "prepare", {"counts": COUNTS | {"sources": counts}})
    return run


def test_each_source_of_a_mixture_is_a_row_with_its_licence_counts_and_weight(tmp_path, hub) -> None:
    for text in cards(mixture(tmp_path, POSTS, VOTES, pins=(POSTS_PIN, VOTES_PIN))).values():
        assert "| the folder `posts` | not stated in the recipe | 40 | 30 | 10 | 1.0 | sft |" in text
        votes = (
            "| [alice/votes](https://huggingface.co/datasets/alice/votes) | cc-by-nc-4.0 | 41 | 31 | 10 | 0.5 | sft |"
        )
        assert votes in text
        assert f"- `posts/train.csv`: sha256 `{'1' * 64}`" in text and f"- alice/votes: commit `{'c' * 40}`" in text
        assert "posts: not stated in the recipe; find out" in text and "alice/votes: cc-by-nc-4.0" in text
        assert "alice/votes is cc-by-nc-4.0, non-commercial" in text
        ModelCard(text).validate()


def test_two_files_of_one_name_are_two_files_in_the_published_recipe(tmp_path) -> None:
    pair = {"columns": {"prompt": "q", "response": "a"}}
    sources = ({**pair, "source": "/home/alice/one/train.csv"}, {**pair, "source": "/home/alice/two/train.csv"})
    pins = [{"id": None, "commit": None, "file": "train.csv", "license": None, "sha256": n * 64} for n in "12"]
    run = mixture(tmp_path, *sources, pins=tuple(pins))
    card.run(run)
    text = (run.dir.release("adapter") / "recipe.yaml").read_text()
    (tmp_path / "again.yaml").write_text(text)
    again = recipe_file.load(tmp_path / "again.yaml")
    assert [source.source for source in again.data.sources] == ["./train.csv", "./2-train.csv"]
    assert f"train.csv (sha256 {'2' * 64}); put that file into the folder that you run this in as 2-train.csv" in text


def test_of_a_folder_only_the_files_that_were_read_are_named(tmp_path) -> None:
    run = mixture(tmp_path, POSTS, VOTES, pins=(POSTS_PIN, VOTES_PIN))
    texts = [*cards(run).values(), *((run.dir.release(kind) / "recipe.yaml").read_text() for kind in KINDS)]
    for text in texts:
        assert "2" * 64 in text and "3" * 64 not in text and "Bell" not in text and "/home" not in text


def test_a_folder_is_asked_for_as_a_folder(tmp_path) -> None:
    run = mixture(tmp_path, POSTS, VOTES, pins=(POSTS_PIN, VOTES_PIN))
    assert "the rows as they were in the folder `posts`:" in cards(run)["merged"]
    text = (run.dir.release("merged") / "recipe.yaml").read_text()
    assert f"# The rows were those of the folder posts: train.csv (sha256 {'1' * 64})" in text
    (tmp_path / "again.yaml").write_text(text)
    assert recipe_file.load(tmp_path / "again.yaml").data.sources[0].source == "./posts"


def test_the_form_that_messages_had_is_shown_as_text_and_used_in_the_example(tmp_path) -> None:
    texts = cards(mixture(tmp_path, POSTS, VOTES, pins=(POSTS_PIN, VOTES_PIN)))
    for text in texts.values():
        assert "> Is \\*this\\* stress?\n> \n> {text}\n" in text
        assert "Answered by `It is {label}.`, with `{label}` one of: no stress; stress." in text
    line = next(line for line in texts["merged"].splitlines() if line.startswith("question = "))
    assert json.loads(line.removeprefix("question = ")).startswith("Is *this* stress?\n\nI keep waking up")


def test_a_message_that_is_a_column_has_no_form_to_show(tmp_path) -> None:
    for text in cards(finished_run(tmp_path, OWNER)).values():
        assert "braces" not in text and "response_j" not in text


@pytest.mark.parametrize(("stages", "said"), [
    ((OWNER,), "DPO learned to prefer the better one, and supervised training took no worse one"),
    ((OWNER, "dpo=false"), "supervised training took those alone that no other one beats in the column `upvotes`"),
    ((OWNER, "sft=false"), "DPO learned to prefer the better one."),
])  # fmt: skip
def test_what_became_of_worse_answers_is_said_whatever_was_trained(tmp_path, stages, said) -> None:
    run = finished_run(tmp_path, *stages)
    columns = {"prompt": "question", "response": "answer", "score": "upvotes"}
    values = run.recipe.model_dump(mode="json")
    values["data"]["columns"] = columns
    run.recipe = Recipe.model_validate(values)
    for text in cards(run).values():
        assert said in text


def augmented(root: Path, **augment: str) -> Run:
    """A run whose answers a teacher completed. A Llama's licence asks for the name."""
    run = mixture(root, POSTS, VOTES, pins=(POSTS_PIN, VOTES_PIN), augment=augment, name="Llama-calm")
    report(run, "augment", TEACHER)
    report(run, "sft", SFT)
    return run


def test_who_wrote_into_the_answers_is_said_with_counts_and_licence(tmp_path) -> None:
    for text in cards(augmented(tmp_path, model="someone/teacher")).values():
        assert (
            "Another model, `someone/teacher`, wrote a text into 37 of the 40 answers, held-out ones included" in text
        )
        assert "what the other model wrote into them included" in text.split("## Training data")[0]
        assert "someone/teacher: llama3.1" in text and "\n**Built with Llama.**\n" in text.split("\n## ")[0]
        assert "the texts of the model `someone/teacher`:" in text and "this makes the release again" not in text


def test_a_teachers_path_server_and_key_stay_on_this_machine(tmp_path) -> None:
    keys = {"model": "/home/alice/models/t.gguf", "server": "http://lab.example/v1", "api_key_env": "ALICE_LAB_API_KEY"}
    run = augmented(tmp_path, **keys)
    card.run(run)
    text = (run.dir.release("merged") / "recipe.yaml").read_text()
    assert "/home" not in text and "lab.example" not in text and "ALICE" not in text
    assert "# The model someone/teacher wrote into the answers; its texts are not published." in text
    (tmp_path / "again.yaml").write_text(text)
    assert recipe_file.load(tmp_path / "again.yaml").augment.model == "t.gguf"


def test_answers_that_were_never_learnt_and_the_teachers_help_lines_are_counted_in_the_card(tmp_path) -> None:
    run = mixture(tmp_path, POSTS, VOTES, pins=(POSTS_PIN, VOTES_PIN), augment={})
    prepared = {"worse_answers": 4, "crisis_lines": {"old": 2}, "crisis_lines_replaced": 2, "sources": [{}, {}]}
    report(run, "prepare", {"counts": COUNTS | prepared})
    report(run, "augment", TEACHER | {"crisis_lines": {"old": 3}, "crisis_lines_replaced": 1})
    told = dict(sources.rows(run))
    assert told["worse answers to a question, no targets of SFT"] == 4
    assert told["outdated help lines in answers"] == 2 + 3 and told["... of them replaced by today's"] == 2 + 1

"""A dataset with columns of its own becomes a recipe, and that recipe a release, without a line edited."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes import cli, data
from localpsych_recipes.cards import published
from localpsych_recipes.demo import tiny_gemma4
from localpsych_recipes.errors import UserError
from localpsych_recipes.fork import fork
from localpsych_recipes.recipe_file import load
from tests import world as worlds

SECRET = "what only the diary knows"
PAIRS = [{"question": f"{SECRET} {i}", "response_j": f"{SECRET} yes", "response_k": f"{SECRET} no"} for i in range(8)]
ANSWERS = [{"Context": f"{SECRET} {i // 2}", "Response": SECRET} for i in range(8)]
LABELS = [{"text": f"{SECRET} {i}", "label": ("joy", "fear")[i % 2]} for i in range(8)]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The user's folder, with three datasets."""
    for name, rows in {"pairs": PAIRS, "answers": ANSWERS, "labels": LABELS, "strange": [{"foo": SECRET}]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def forked(dataset: str, *arguments: str, origin: str = "gemma4-e4b-psych"):
    assert cli.main(["fork", origin, "--dataset", dataset, "-o", "my.yaml", *arguments]) == 0
    return load("my.yaml")


def test_without_an_origin_the_shipped_recipes_are_listed_with_their_base(capsys):
    assert cli.main(["fork"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^gemma4-e4b-psych\n +Gemma 4 E4B .*\n +base: google/gemma-4-E4B-it$", text, re.MULTILINE)


def test_pairs_go_through_the_stages_of_the_origin(place):
    recipe, origin = forked("pairs.jsonl"), load("gemma4-e4b-psych")
    assert (recipe.dpo, recipe.base, recipe.sft) == (origin.dpo, origin.base, origin.sft)
    assert recipe.data.columns.parts == {"prompt": "question", "chosen": "response_j", "rejected": "response_k"}
    assert recipe.data.test_size == origin.data.test_size
    assert recipe.name == "gemma4-e4b-psych-pairs"


def test_answers_alone_leave_dpo_out_and_keep_the_answers_to_one_question_together(place):
    recipe = forked("answers.jsonl", "--name", "mine")
    assert recipe.dpo is None and recipe.data.group_by == "prompt" and recipe.name == "mine"


def test_an_origin_that_makes_its_own_pairs_needs_answers_alone_and_takes_those_that_are_there(place):
    origin = load("qwen3-0.6b-empathy")
    recipe = forked("answers.jsonl", origin="qwen3-0.6b-empathy")
    assert (recipe.pairs, recipe.dpo, recipe.judge) == (origin.pairs, origin.dpo, origin.judge)
    assert "and microsoft/Phi-4-mini-instruct scores them" in Path("my.yaml").read_text()
    recipe = forked("pairs.jsonl", "--force", origin="qwen3-0.6b-empathy")
    assert (recipe.pairs, recipe.dpo) == (None, origin.dpo)


def test_a_split_of_its_own_is_what_is_held_out(place):
    (place / "rows").mkdir()
    for name in ("train", "validation"):
        (place / "rows" / f"{name}.jsonl").write_text((place / "pairs.jsonl").read_text())
    recipe = forked("rows")
    assert (recipe.data.source, recipe.data.test_split, recipe.data.test_size) == ("./rows", "validation", None)


def test_an_origin_with_a_mixture_and_one_without_sft_are_forked_too(place):
    assert not forked("answers.jsonl", origin="qwen2.5-3b-mental-health").data.mixture
    Path("pairs-only.yaml").write_text("extends: gemma4-e4b-psych\nname: pairs-only\nsft: false\n")
    recipe = forked("labels.jsonl", "--force", origin="pairs-only.yaml")
    assert recipe.sft and not recipe.dpo and recipe.data.labels == {"label": {"fear": "fear", "joy": "joy"}}


def test_the_file_is_small_says_why_and_quotes_no_row(place, capsys):
    for dataset in ("pairs", "answers", "labels"):
        forked(f"{dataset}.jsonl", "--force")
        text = Path("my.yaml").read_text()
        assert text.startswith("# yaml-language-server: $schema=") and len(text.splitlines()) < 30
        assert Path(re.match(r".*\$schema=(\S+)", text)[1]).is_file()
        mapped = re.search(r"  columns:.*\n((?:    .*\n)+)", text)[1].splitlines()
        assert all("  # " in line for line in mapped)
        assert SECRET not in text + capsys.readouterr().out


def test_a_file_that_is_there_is_kept(place):
    Path("my.yaml").write_text("mine")
    with pytest.raises(UserError, match="--force"):
        fork("demo", "pairs.jsonl", Path("my.yaml"))
    assert Path("my.yaml").read_text() == "mine"


def test_columns_that_say_nothing_end_in_their_names_and_no_file(place, capsys):
    (place / "headless.csv").write_text(f"{SECRET} and what it says about me,b\nc,d\n")
    for dataset, told in {"strange.jsonl": "'foo'", "headless.csv": "header"}.items():
        assert cli.main(["fork", "demo", "--dataset", dataset, "-o", "my.yaml"]) == 2
        text = capsys.readouterr().err
        assert told in text and SECRET not in text
    assert sorted(p.name for p in place.iterdir() if "my" in p.name) == []


def written(name: str, rows: list[dict]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def said(i: int) -> str:
    return f"{SECRET} for the {i}. time"


def turn(role: str, i: int) -> dict:
    return {"role": role, "content": said(i)}


PROPOSED = {
    "an id under the name of a speaker": (
        lambda i: {"user": f"u{i}", "question": said(i), "answer": said(i)}, {"prompt": "question", "response": "answer"}),
    "one question about many texts": (
        lambda i: {"post": said(i), "question": "Is this stress?", "response": said(i)},
        {"prompt": "{post}\n\n{question}", "response": "response"}),
    "votes that are all the same": (
        lambda i: {"question": said(i // 2), "answer": said(i), "upvotes": 0}, {"prompt": "question", "response": "answer"}),
    "votes that differ": (
        lambda i: {"question": said(i // 2), "answer": said(i), "upvotes": i},
        {"prompt": "question", "response": "answer", "score": "upvotes"}),
    "speakers in another script": (
        lambda i: {"user": f"我最近很难受{i}", "assistant": f"谢谢你告诉我{i}"}, {"prompt": "user", "response": "assistant"}),
    "texts in turn": (lambda i: {"dialog": [said(i), said(i)]}, {"messages": "dialog"}),
}  # fmt: skip
REFUSED = {
    "names of therapists as the answer": lambda i: {"question": said(i), "therapist": f"Jane Doe {i % 3}"},
    "ids as the question": lambda i: {"patient": f"{1000 + i}", "assistant": said(i)},
    "numbers as the answer": lambda i: {"question": said(i), "response": str(i)},
    "rejected conversations alone": lambda i: {"id": i, "rejected": [turn("user", i), turn("assistant", i)]},
    "a verdict on each answer": lambda i: {"prompt": said(i), "completion": said(i), "label": bool(i % 2)},
    "one label for all": lambda i: {"text": said(i), "label": "joy"},
    "the questions of a benchmark": lambda i: {"question_id": i, "turns": [said(i), said(i)]},
    "conversations of one turn": lambda i: {"dialog": [said(i)]},
    "a column that looks like a template": lambda i: {"{question}": said(i), "{answer}": said(i)},
    "no rows": None,
}


@pytest.mark.parametrize("shape", PROPOSED)
def test_the_mapping_of(place, shape):
    row, parts = PROPOSED[shape]
    recipe = forked(written("rows.jsonl", [row(i) for i in range(20)]))
    assert recipe.data.columns.parts == parts
    assert data.prepare(recipe.data).counts["sft_train"] > 0


@pytest.mark.parametrize("shape", REFUSED)
def test_nothing_is_proposed_for(place, shape, capsys):
    rows = [REFUSED[shape](i) for i in range(20)] if REFUSED[shape] else []
    assert cli.main(["fork", "demo", "--dataset", written("rows.jsonl", rows), "-o", "my.yaml"]) == 2
    assert SECRET not in capsys.readouterr().err and not Path("my.yaml").exists()


@pytest.mark.parametrize("values", [(0, 1, 2), (True, False), ("0", "1")])
def test_labels_without_words_are_left_to_a_person_and_none_is_learnt_before(place, values, capsys):
    rows = [{"text": said(i), "label": values[i % len(values)]} for i in range(12)]
    recipe = forked(written("rows.jsonl", rows))
    assert "words for its labels" in capsys.readouterr().out
    with pytest.raises(UserError, match="no label"):
        data.prepare(recipe.data)
    text = Path("my.yaml").read_text()
    Path("my.yaml").write_text(re.sub(r'# ("\w+"): "",', r"\1: so,", text))
    assert data.prepare(load("my.yaml").data).counts["sft_train"] == 10


def test_rows_without_a_label_are_left_out_and_told(place, capsys):
    rows = [{"text": said(i), "label": ("joy", "no", None, "")[i % 4]} for i in range(12)]
    recipe = forked(written("rows.jsonl", rows))
    assert recipe.data.labels == {"label": {"joy": "joy", "no": "no", "": ""}}
    assert "Of the first 12 rows 6 have an empty part" in capsys.readouterr().out
    assert data.prepare(recipe.data).counts["sft_train"] == 5


def test_conversations_that_the_assistant_opens_are_cut_and_unknown_speakers_told(place, capsys):
    written(
        "opened.jsonl", [{"messages": [turn(role, i) for role in ("assistant", "user", "assistant")]} for i in range(9)]
    )
    assert data.prepare(forked("opened.jsonl").data).counts["sft_train"] == 8
    written("speakers.jsonl", [{"messages": [turn("seeker", i), turn("supporter", i)]} for i in range(9)])
    capsys.readouterr()
    forked("speakers.jsonl", "--force")
    text = capsys.readouterr().out
    assert "stop a run" in text and "row 1, turn 1" in text and SECRET not in text


@pytest.mark.parametrize(
    "test_row", [{"text": SECRET}, {"text": SECRET, "label": "another"}, {"text": SECRET, "label": ""}]
)
def test_a_split_that_the_mapping_does_not_fit_is_not_held_out(place, test_row):
    (place / "rows").mkdir()
    written("rows/train.jsonl", [{"text": said(i), "label": ("joy", "fear", "")[i % 3]} for i in range(12)])
    written("rows/test.jsonl", [test_row])
    recipe = forked("rows")
    assert (recipe.data.test_split, recipe.data.test_size) == (None, load("gemma4-e4b-psych").data.test_size)
    assert "'test' cannot be held out" in Path("my.yaml").read_text()


def test_the_held_out_twin_of_the_split_is_found_whatever_its_case(place):
    (place / "rows").mkdir()
    for name in ("train_sft", "Test_sft", "test_prefs"):
        written(f"rows/{name}.jsonl", ANSWERS)
    assert forked("rows", "--split", "train_sft").data.test_split == "Test_sft"


@pytest.mark.parametrize("origin", ["mine.yaml", "child.yaml"])
def test_a_recipe_is_never_written_over_one_that_it_extends(place, origin, capsys):
    Path("mine.yaml").write_text("extends: demo\nname: mine\nseed: 3\n")
    Path("child.yaml").write_text("extends: mine.yaml\nname: child\n")
    assert cli.main(["fork", origin, "--dataset", "pairs.jsonl", "-o", "mine.yaml", "--force"]) == 2
    assert load("mine.yaml").seed == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "demo"], "demo.yaml"), (["-o", "my.yaml", "--name", "no name"], "--name"),
        (["-o", "my.yaml", "--config", "small"], "--config"), (["-o", "my.yaml", "--dataset", "hf://me/set"], "USER/NAME"),
        (["-o", "my.yaml", "--split", "test"], "no split"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_command_makes_nothing(place, arguments, told, capsys):
    before = sorted(place.iterdir())
    assert cli.main(["fork", "demo", "--dataset", "pairs.jsonl", *arguments]) == 2
    text = capsys.readouterr().err
    assert told in text and ".my.yaml" not in text and sorted(place.iterdir()) == before


def test_a_fork_of_a_release_on_the_hub_runs_to_a_release(tmp_path):
    """The whole way as a user goes it: look at the dataset, write the recipe, run it."""
    from huggingface_hub import HfApi

    tiny_gemma4.make(tmp_path / "base", steps=1, say=lambda text: None)
    rows = tmp_path / "rows"
    rows.mkdir()
    demo = Path(tiny_gemma4.__file__).with_name("data") / "conversations.jsonl"
    (rows / "letters.jsonl").write_text(renamed(demo.read_text().splitlines()[:12]))
    world = worlds.make(tmp_path, tmp_path / "base", rows)
    try:
        api = HfApi(endpoint=world.hub.url, token=world.token)
        api.create_repo("demo/letters", repo_type="dataset", private=True)
        api.upload_folder(folder_path=rows, repo_id="demo/letters", repo_type="dataset")
        api.create_repo("demo/calm-LoRA", private=True)
        api.upload_file(path_or_fileobj=origin().encode(), path_in_repo="recipe.yaml", repo_id="demo/calm-LoRA")
        said = command(world, "localpsych_recipes.cli", "fork", "hf://demo/calm-LoRA", "--dataset",
                       "demo/letters", "--name", "letters", "-o", "letters.yaml")  # fmt: skip
        assert "accelerate launch -m localpsych_recipes letters.yaml" in said
        command(world, "localpsych_recipes", "letters.yaml")
        for name in ("letters-LoRA", "letters", "letters-GGUF"):
            assert "recipe.yaml" in api.list_repo_files(f"demo/{name}")
    finally:
        world.hub.close()
    resolved = load(tmp_path / "runs/letters/release/adapter/recipe.yaml")
    assert resolved.data.columns.parts == {"prompt": "Question Text", "chosen": "preferred", "rejected": "dispreferred"}
    assert (resolved.sft.max_steps, resolved.lora.r) == (1, 4)


def renamed(lines: list[str]) -> str:
    names = {"question": "Question Text", "response_j": "preferred", "response_k": "dispreferred"}
    return "".join(json.dumps({names[key]: cell for key, cell in json.loads(line).items()}) + "\n" for line in lines)


def origin() -> str:
    """The recipe that a release carries, small enough for a test."""
    small = [f"{stage}.{key}" for stage in ("sft", "dpo") for key in ("max_steps=1", "per_device_train_batch_size=2")]
    small += ["sft.eval_steps=null", "base.quantization=none", "lora.r=4", "gguf.quants=[Q8_0]", "gguf.adapter=false"]
    small += [setting for setting in worlds.SMALL if setting.startswith(("verify.", "evaluate."))]
    pins = {
        "base": {"model": "demo/tiny-gemma4"},
        "datasets": [{"id": "demo/kind-and-unkind-answers", "commit": "a" * 40}],
    }
    return published.dump(load("demo", [*small, "name=calm"]), pins)


def command(world, *arguments: str) -> str:
    environment = world.environment | {"PYTHONPATH": str(worlds.CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=world.folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""A user's mistake ends in one clear message and exit code 2, before anything is made."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes import cli, local_hub
from localpsych_recipes.run_lock import RunLock

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPE = """\
name: broken
base: {model: demo/base}
data:
  source: rows.jsonl
  test_size: 0.5
  columns: {prompt: question, chosen: good, rejected: bad}
sft:
dpo:
merge:
gguf:
verify:
card:
push:
"""
ROW = {"question": "the-secret-question", "good": "the-secret-answer", "bad": "no"}
MISTAKES = {
    "a typo": ("sft.lerning_rate=1", "did you mean learning_rate?"),
    "a wrong type": ("sft.warmup_steps=many", "sft.warmup_steps: 'many' is text, expected a whole number"),
    "a column that is not there": ("data.columns.rejected=bda", "'bda'"),
    "an unknown stage": ("megre={}", "did you mean merge?"),
    "contradictory splits": ("data.test_split=test", "contradicts test_size"),
    "a number in quotes": ("sft.learning_rate='\"2e-4\"'", "is text, expected a number, without quotes"),
    "a dataset that cannot be read": ("data.source=missing.jsonl", "missing.jsonl"),
    "an unknown base": ("base.model=demo/no-such-model", "demo/no-such-model"),
    "a local base without weights": ("base.model=./empty", "config.json"),
    "no such quant": ("gguf.quants=[Q4_K_X]", "did you mean Q4_K_"),
    "a rejected column as the answer": ("data.columns.chosen=bad", "can never be trained on"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    from huggingface_hub import HfApi

    token = local_hub.new_token()
    with local_hub.LocalHub(tmp_path_factory.mktemp("hub"), tokens={token: "demo"}) as hub:
        api = HfApi(endpoint=hub.url, token=token)
        api.create_repo("demo/base", private=False)
        api.upload_file(path_or_fileobj=b"---\nlicense: mit\n---\n", path_in_repo="README.md", repo_id="demo/base")
        yield hub, token


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(ROW) + "\n" for _ in range(4)))
    (tmp_path / "empty").mkdir()
    return tmp_path


def mistake(place: Path, hub, *arguments: str, token: str | None = None, module: str = "localpsych_recipes") -> str:
    """Runs as a user does; what was printed, once it is known to be one message and to have made nothing."""
    before = sorted(place.rglob("*"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(place.parent / "hf-home"),
        "HF_TOKEN": token or "",
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert done.stderr.count("localpsych: ") == 1
    assert "expected: " in done.stderr and "do: " in done.stderr
    assert "secret" not in done.stderr and not (token and token in done.stderr)
    assert sorted(place.rglob("*")) == before
    return done.stderr


@pytest.mark.parametrize("name", MISTAKES)
def test_a_broken_recipe(place, hub, name):
    setting, hint = MISTAKES[name]
    setting = setting.replace("'\"", '"').replace("\"'", '"')
    assert hint in mistake(place, hub[0], "recipe.yaml", "--set", setting, token=hub[1])


def test_a_missing_token(place, hub):
    assert "HF_TOKEN" in mistake(place, hub[0], "recipe.yaml")


def test_a_wrong_token(place, hub):
    wrong = local_hub.new_token()
    assert "token" in mistake(place, hub[0], "recipe.yaml", token=wrong)


def test_a_recipe_that_cannot_be_read(place, hub):
    (place / "folder").mkdir()
    for name in ("missing.yaml", "folder"):
        assert "cannot be read" in mistake(place, hub[0], name)


def test_a_run_directory_that_is_a_file(place, hub):
    (place / "file").touch()
    assert "--run-dir" in mistake(place, hub[0], "recipe.yaml", "--run-dir", "file", token=hub[1])


def test_a_run_directory_in_which_another_run_is(place, hub):
    with RunLock(place / "runs/broken") as lock:
        lock.take()
        text = mistake(place, hub[0], "recipe.yaml", token=hub[1])
        assert f"runs/broken is in use by process {os.getpid()} on " in text
        (place / "runs/broken/recipe.yaml").write_text(RECIPE)
        for verb in ("card", "verify"):
            text = mistake(place, hub[0], verb, "runs/broken", module="localpsych_recipes.cli")
            assert f"in use by process {os.getpid()} on " in text


def test_a_run_directory_of_a_recipe_of_another_name(place, hub):
    (place / "runs/broken").mkdir(parents=True)
    (place / "runs/broken/recipe.yaml").write_text(RECIPE.replace("name: broken", "name: whole"))
    text = mistake(place, hub[0], "recipe.yaml", token=hub[1])
    assert "runs/broken holds a run of whole, and this recipe is broken" in text and "--run-dir" in text


def test_a_table_without_a_header_is_not_quoted(place, hub):
    (place / "rows.csv").write_text("I have a the-secret-question about my own life and what to do,yes,no\na,b,c\n")
    text = mistake(place, hub[0], "recipe.yaml", "--set", "data.source=rows.csv", token=hub[1])
    assert "header" in text


def test_a_stage_that_the_recipe_does_not_have(place, hub):
    assert "one of this recipe's stages" in mistake(place, hub[0], "recipe.yaml", "--only", "evaluate", token=hub[1])


def test_a_gate_on_what_this_machine_lacks(place, hub):
    gate = "gates=[{metric: xstest_over_refusal, at_most: 0.1}]"
    settings = ("gguf=false", "evaluate={xstest: {source: ./gone.csv}}", gate)
    text = mistake(place, hub[0], "recipe.yaml", *(f"--set={setting}" for setting in settings), token=hub[1])
    assert "xstest_over_refusal would not be measured: gone.csv: not on this machine" in text


@pytest.mark.parametrize(
    ("settings", "metric", "said"),
    [
        (("data.test_size=null",), "loss", "held-out rows; there are none"),
        (("data.columns={prompt: question, response: good}", "dpo=false"), "preference_accuracy", "held-out pairs"),
        ((), "label_accuracy", "held-out rows with `labels`; there are none"),
    ],
)
def test_a_gate_on_rows_that_are_not_held_out(place, hub, settings, metric, said):
    settings = (*settings, "evaluate={}", f"gates=[{{metric: {metric}, at_least: 0.5}}]")
    text = mistake(place, hub[0], "recipe.yaml", *(f"--set={setting}" for setting in settings), token=hub[1])
    assert f"gates: {metric} is measured of {said}" in text


@pytest.mark.parametrize(("option", "given"), [("--until=merge", "no push among"), ("--from=prepare", "without gates")])
def test_publishing_anyway_where_no_gate_stops_a_push(place, hub, option, given):
    assert given in mistake(place, hub[0], "recipe.yaml", "--publish-anyway", option, token=hub[1])


def test_the_rows_of_a_base_without_a_tokenizer_cannot_be_counted(place, hub):
    arguments = ("data", "recipe.yaml", "--set", "base.model=./empty")
    assert "tokenizer_config.json" in mistake(place, hub[0], *arguments, module="localpsych_recipes.cli")


def test_a_release_is_no_recipe_to_run(place, hub):
    assert "extends: hf://demo/base" in mistake(place, hub[0], "hf://demo/base", token=hub[1])


@pytest.mark.parametrize("verb", ["verify", "card"])
def test_a_folder_that_is_no_run(place, hub, verb):
    text = mistake(place, hub[0], verb, "empty", module="localpsych_recipes.cli")
    assert f"{place}/empty: no recipe.yaml in it" in text and "a run directory" in text


def test_a_release_that_is_not_there(place, hub):
    text = mistake(place, hub[0], "verify", "hf://demo/nothing", module="localpsych_recipes.cli")
    assert "hf://demo/nothing: the Hub has no demo/nothing" in text and "HF_TOKEN" in text


@pytest.mark.parametrize(("name", "said"), [("mental-helth", "is not there"), ("./empty", "is no .yaml file")])
def test_a_suite_that_is_not_there(place, hub, name, said):
    text = mistake(
        place, hub[0], "check", "recipe.yaml", "--set", f"evaluate.suite={name}", module="localpsych_recipes.cli"
    )
    assert f"evaluate.suite: {name} {said}" in text and "expected: mental-health" in text


def test_a_full_disk_is_one_message_whatever_was_written(capsys):
    def fill(args) -> int:
        with open("/dev/full", "w") as file:  # a device on which every write finds no space
            file.write("a row")
        return 0

    assert cli.guarded(fill, None) == 2
    assert re.search(r"^localpsych: no space left on the disk\n.*\n.*make room", capsys.readouterr().err)


def test_a_used_up_quota_is_a_full_disk(capsys):
    def fill(args) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "rows.jsonl")

    assert cli.guarded(fill, None) == 2 and "no space left on the disk of rows.jsonl" in capsys.readouterr().err


def test_a_reader_who_has_seen_enough_is_no_mistake():
    command = f"{sys.executable} -m localpsych_recipes.cli check demo --resolved | true"
    done = subprocess.run(command, shell=True, cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("then", "warned"), [("report", True), ("replace", False)])
def test_an_outdated_help_line_in_a_recipes_own_words_is_pointed_out(then, warned):
    settings = ["--set", "data.system=Call 1-800-273-TALK now.", "--set", f"data.crisis_lines={then}"]
    command = [sys.executable, "-m", "localpsych_recipes.cli", "check", "demo", *settings]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, "data.system: an outdated help line" in done.stderr) == (0, warned)

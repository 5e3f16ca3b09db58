"""Pairs from the model itself, the whole way: both engines, a judge behind llama-server, kill -9, and what DPO makes of
them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localpsych_recipes.demo import tiny_gemma4
from localpsych_recipes.rundir import file_sha256
from tests import scripted_judge
from tests.families import bases
from tests.world import kill

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPE = CHECKOUT / "recipes" / "qwen3-0.6b-empathy.yaml"
# the recipe on real rows that are short enough for a vocabulary of bytes, and few steps
SMALL = (
    "base.hub_id=someone/tiny-qwen3", "base.license=apache-2.0", "base.dtype=float32", "data.system=Be kind.",
    "data.columns={prompt: questionTitle, response: answerText}", "data.max_tokens=330", "data.max_rows=80",
    "sft.max_steps=24", "sft.gradient_checkpointing=false", "sft.eval_steps=null", "sft.optim=adamw_torch", "sft.learning_rate=1e-2", "sft.max_length=400",
    "sft.gradient_accumulation_steps=1",
    "pairs.candidates=2", "pairs.max_prompts=12", "pairs.max_tokens=400", "pairs.min_gap=0.5", "pairs.min_pairs=1",
    "pairs.vetoes={}", "judge.server=llama.cpp", "judge.temperature=1.0",
    "dpo.max_steps=2", "dpo.gradient_checkpointing=false", "dpo.optim=adamw_torch", "dpo.max_length=400", "dpo.gradient_accumulation_steps=1",
    "verify=false", "evaluate=false", "gates=[]", "push=false",
)  # fmt: skip


# of random weights, with room for the rubric
JUDGE = replace(bases.BASES["tinyllama"], settings={"max_position_embeddings": 4096})


def command(run_dir: Path, recipe: Path, settings, *arguments: str) -> list[str]:
    given = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "localpsych_recipes", str(recipe), "--run-dir", str(run_dir), *given, *arguments]


def start(run_dir: Path, recipe: Path, settings, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(run_dir, recipe, settings, *arguments),
        cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def run(run_dir: Path, recipe: Path, settings, *arguments: str, status: int = 0) -> str:
    process = start(run_dir, recipe, settings, *arguments)
    text, _ = process.communicate(timeout=900)
    assert process.returncode == status, text
    return text


def results(run_dir: Path, stage: str = "pairs") -> dict:
    return json.loads((run_dir / "reports" / f"{stage}.json").read_text())["results"]


def lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_the_recipe_for_a_phone_runs_the_whole_way_with_pairs_by_both_engines(shared, tmp_path):
    rows = shared / "data" / "counsel_chat" / "20200325_counsel_chat.csv"
    base, judge = bases.make(bases.SMALL_QWEN3, tmp_path / "tiny-qwen3"), bases.make(JUDGE, tmp_path / "judge")
    settings = (*SMALL, f"base.model={base}", f"judge.model={judge}", f"data.source={rows}")
    run_dir, found = tmp_path / "run", {}
    for engine in ("transformers", "llama.cpp"):
        server = () if engine == "transformers" else ("pairs.server=llama.cpp",)
        text = run(run_dir, RECIPE, (*settings, *server))
        assert text.count("done before") == (0 if engine == "transformers" else 2), text  # prepare and sft
        found[engine] = made = results(run_dir)
        assert made["engine"] == engine and made["judge"]["engine"] == "llama.cpp"
        assert made["judge"]["same_family"] is False
        assert made["prompts"] == {"train": 12, "test": 8}
        assert sum(made["statuses"].values()) == made["candidates"] == 40
        assert made["pairs"]["train"] == len(lines(run_dir / "pairs/pairs_train.jsonl")) >= 1
        assert made["unparsed"] == 0  # the schema holds whatever a random judge would say
        assert results(run_dir, "dpo")["pairs"] == made["pairs"]["train"]
        assert not (run_dir / "pairs/work").exists()
        (gguf,) = (run_dir / "release/gguf").glob("*Q4_K_M.gguf")
        found[f"{engine} file"] = file_sha256(gguf)
    assert found["transformers file"] != found["llama.cpp file"]
    chosen = {row["answerText"] for row in _csv(rows)}
    for row in lines(run_dir / "pairs/pairs_train.jsonl"):
        assert row["chosen"][0]["content"] in chosen
        assert row["rejected"][0]["content"] not in chosen and "<|im_end|>" not in row["rejected"][0]["content"]


def _csv(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# on the demo's own rows, with a scripted judge

ROWS = Path(tiny_gemma4.__file__).with_name("data") / "conversations.jsonl"
TOY = """\
extends: demo
name: small-pairs
base: {{model: {base}, hub_id: someone/tiny, license: apache-2.0, quantization: none, dtype: float32}}
data: {{source: {rows}, columns: {{prompt: question, response: response_j}}}}
sft: {{max_steps: 60, eval_steps: null, logging_steps: 60}}
lora: {{r: 16, lora_alpha: 32}}
pairs:
  candidates: 2
  max_tokens: 100
  degrade: {{truncate: 0.2, first_sentence: 0.2, repetition: 0.2}}
  pick: all
dpo: {{max_steps: 26}}
merge: false
gguf: false
verify: false
evaluate: false
card: false
push: false
"""


def prefers_the_data(question: str, answer: str, other: str) -> int:
    return 8 if " ".join(answer.split()) in GOOD else 4


GOOD = {" ".join(row["response_j"].split()) for row in lines(ROWS)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Iterator[tuple[Path, tuple[str, ...], scripted_judge.Listener]]:
    """A recipe, its settings, and a judge that always prefers the data's answers and takes its time."""
    folder = tmp_path_factory.mktemp("toy")
    tiny_gemma4.make(folder / "base", steps=20, say=lambda text: None)
    (folder / "toy.yaml").write_text(TOY.format(base=folder / "base", rows=ROWS))
    with scripted_judge.listening(score=prefers_the_data, mishap=lambda request, before: "late") as judge:
        yield folder / "toy.yaml", (f"judge.server={judge.url}", "judge.slots=32"), judge


@pytest.fixture(scope="module")
def undisturbed(toy) -> Path:
    recipe, settings, _ = toy
    run_dir = recipe.parent / "undisturbed"
    run(run_dir, recipe, settings)
    return run_dir


def made(run_dir: Path) -> dict[str, str]:
    files = ("pairs.jsonl", "pairs_train.jsonl", "pairs_test.jsonl")
    return {name: (run_dir / "pairs" / name).read_text(encoding="utf-8") for name in files}


def test_dpo_on_two_hundred_of_its_own_pairs_widens_the_margin_and_keeps_the_chosen_answers(undisturbed):
    pairs, dpo = results(undisturbed), results(undisturbed, "dpo")
    assert pairs["pairs"]["train"] >= 200
    assert dpo["pairs"] == pairs["pairs"]["train"]
    assert dpo["eval_pairs"] == pairs["pairs"]["test"] >= 20
    assert dpo["eval_margin"] > 0
    assert dpo["chosen_logps_change_per_token"] >= -0.1
    assert dpo["warnings"] == []


def test_killed_while_it_writes_and_while_the_judge_reads_it_makes_the_same_pairs(undisturbed, toy):
    recipe, settings, judge = toy
    killed(judge, recipe, settings, undisturbed, enough=5)  # of some 30 batches


def test_so_it_does_with_llama_server_whatever_else_that_was_asked_at_the_time(undisturbed, toy, llama):
    if llama.origin != "the user's cache":
        pytest.skip("another build of llama.cpp than ours, whose source is changed for this")
    recipe, settings, judge = toy
    settings = (*settings, "pairs.server=llama.cpp", "pairs.max_prompts=40", "pairs.min_pairs=10")
    whole = after_sft(undisturbed, recipe.parent / "llama")
    run(whole, recipe, settings, "--until", "pairs")
    killed(judge, recipe, settings, whole, enough=30)


def after_sft(run_dir: Path, copy: Path) -> Path:
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("pairs", "pairs.json", "dpo", "dpo.json"))
    return copy


def killed(judge: scripted_judge.Listener, recipe: Path, settings, whole: Path, enough: int) -> None:
    """Compares a run that is killed twice with one that was not; enough: lines of answers until the first time."""
    run_dir = after_sft(whole, whole.with_name(f"{whole.name}-killed"))
    answers, verdicts = run_dir / "pairs/answers.jsonl", run_dir / "pairs/verdicts.jsonl"
    judge.answered.clear()
    kill(start(run_dir, recipe, settings), when=lambda: len(lines_until_now(answers)) >= enough)
    assert not verdicts.exists() or not verdicts.read_bytes()
    kill(start(run_dir, recipe, settings), when=lambda: len(lines_until_now(verdicts)) >= 50)
    assert not (run_dir / "reports/pairs.json").exists()
    text = run(run_dir, recipe, settings, "--until", "pairs")
    assert "sft: done before" in text
    assert made(run_dir) == made(whole)
    # what was on its way at the kill is asked for once more; all else once
    assert sum(count - 1 for count in judge.answered.values()) <= 32


def lines_until_now(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def test_another_gap_filters_again_and_asks_nobody(undisturbed, toy):
    recipe, settings, judge = toy
    run_dir = recipe.parent / "filtered"
    shutil.copytree(undisturbed, run_dir)
    judge.answered.clear()
    text = run(run_dir, recipe, (*settings, "pairs.min_gap=5", "pairs.min_pairs=300"), "--until", "pairs", status=2)
    assert "0 pairs to train on" in text and "300 at least (pairs.min_pairs)" in text
    assert not judge.answered  # a gap of 4 is below 5 for every candidate, and no verdict was asked for
    assert not (run_dir / "reports/pairs.json").exists() and not (run_dir / "pairs/pairs_train.jsonl").exists()

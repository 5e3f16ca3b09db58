"""A real llama-server with a tiny random model as the teacher."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_run
import test_llama_cpp

from localpsych_recipes import recipe_file, rundir, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Answer, Ledger
from localpsych_recipes.llama_cpp import LlamaCpp, Server
from localpsych_recipes.openai_server import digest
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import augment

LABELS = ("Stress", "Grief", "Insomnia", "Loneliness", "Anxiety", "Burnout", "Shame", "Worry")
ROWS = [
    (f"{question} {{response}} {{teacher}}", f"This sounds like {label}.", bad)
    for (question, _, bad), label in zip(small_run.ROWS, LABELS, strict=True)
]
ONE_THREAD = ("--threads", "1", "--threads-batch", "1")
END_SOON = ("--logit-bias", "1+1.5")  # of </s>: a random model would talk on for ever


@pytest.fixture(scope="module")
def gguf(llama: LlamaCpp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = test_llama_cpp.tiny_llama(tmp_path_factory.mktemp("teacher"), width=64)
    return llama.convert(folder, folder / "teacher.gguf", outtype="bf16", name="Teacher")


@pytest.fixture(scope="module")
def served(llama: LlamaCpp, gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with llama.serve(gguf, ctx=512, slots=4, extra=(*END_SOON, *ONE_THREAD), log=log) as server:
        yield server


def a_run(folder: Path, teacher: Server, rows=ROWS, **knobs) -> Run:
    knobs = {"server": f"{teacher.url}/v1", "max_tokens": 60, "prompt": "{prompt} {response}", **knobs}
    return small_run.run(folder, small_run.recipe(folder, augment=knobs), rows)


def rows_in(folder: Path) -> dict[str, list[dict]]:
    files = sorted(folder.glob("sft_*.jsonl"))
    return {file.stem: [json.loads(line) for line in file.open(encoding="utf-8")] for file in files}


def prompts(folder: Path) -> dict[str, list[list[dict]]]:
    return {name: [row["prompt"] for row in rows] for name, rows in rows_in(folder).items()}


def answers(folder: Path) -> dict[str, list[str]]:
    return {name: [row["completion"][0]["content"] for row in rows] for name, rows in rows_in(folder).items()}


def requests(server: Server) -> int:
    """How many completions the server's own log tells of."""
    return server.log.read_text(errors="replace").count("processing task")


def test_each_row_keeps_its_place_its_prompt_and_its_label_and_gains_a_text(served, tmp_path):
    run = a_run(tmp_path, served)
    results = augment.run(run)
    before, after = answers(run.dir.data), answers(run.dir.augmented)
    assert {name: len(rows) for name, rows in after.items()} == {"sft_train": 6, "sft_test": 2} == results["rows"]
    pairs = [(old, new) for name in before for old, new in zip(before[name], after[name], strict=True)]
    assert all(new.startswith(old) for old, new in pairs)
    assert sum(new != old for old, new in pairs) == 8 - results["kept_template"] >= 4
    assert prompts(run.dir.data) == prompts(run.dir.augmented)
    assert (results["teacher"], results["server"]) == ("teacher.gguf", "local")


def test_sft_trains_on_the_teachers_answers_also_where_it_had_others_before(served, tmp_path):
    run = a_run(tmp_path, served)
    for template in ("{response} {teacher}", "{teacher} So: {response}"):
        section = run.recipe.augment.model_copy(update={"answer": template})
        run.recipe = run.recipe.model_copy(update={"augment": section})
        augment.run(run)
        trained = [row["completion"][0]["content"] for row in training.rows(run, "sft", "train")]
        assert trained == answers(run.dir.augmented)["sft_train"]


def test_what_was_written_is_used_from_then_on(served, tmp_path):
    run = a_run(tmp_path, served)
    first, once, asked = augment.run(run), answers(run.dir.augmented), requests(served)
    again = augment.run(run)
    assert (again["asked"], again["reused"]) == (0, first["asked"]) and requests(served) == asked
    assert answers(run.dir.augmented) == once


OLD_LINE = "Call 1-800-273-8255."


@pytest.mark.parametrize("then, old, new", [("report", 3, 0), ("replace", 0, 3)])
def test_outdated_help_lines_of_the_teacher_are_counted_and_replaced_where_asked(served, tmp_path, then, old, new):
    run = a_run(tmp_path, served, ROWS[:4])
    run.recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"crisis_lines": then})})
    with augment.teacher(run.recipe.augment) as server, Ledger(run.dir.augmented, "teacher") as ledger:
        asking = augment.Asking(run, server, ledger)
        for row, _ in zip(
            augment.read(run.dir.data / "sft_train.jsonl") + augment.read(run.dir.data / "sft_test.jsonl"), "abc"
        ):
            ledger.add({digest(asking.request(row, augment.SEEDS[0])): Answer(OLD_LINE, cut=False)})
    results = augment.run(run)
    assert (sum(results["crisis_lines"].values()), results["crisis_lines_replaced"]) == (3, new)
    said = [text for texts in answers(run.dir.augmented).values() for text in texts]
    assert (sum("1-800-273-8255" in text for text in said), sum("988" in text for text in said)) == (old, new)


def test_equal_rows_are_asked_about_once(served, tmp_path):
    run = a_run(tmp_path, served, rows=[ROWS[0]] * 5)
    before = requests(served)
    results = augment.run(run)
    assert requests(served) - before == results["asked"] <= len(augment.SEEDS)


def test_a_run_that_is_killed_asks_for_what_is_missing_only(served, tmp_path):
    rows = [(f"{question} {n}", good, bad) for n in range(3) for question, good, bad in ROWS]
    run, before = a_run(tmp_path, served, rows, concurrency=1), requests(served)
    rundir.write_text(run.dir.recipe, recipe_file.dump(run.recipe))
    program = (
        "import sys; from pathlib import Path; from localpsych_recipes import pipeline, recipe_file, rundir\n"
        "from localpsych_recipes.stages import augment; place = rundir.RunDir(sys.argv[1])\n"
        "augment.run(pipeline.Run(recipe_file.load(place.recipe), place, say=print))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, run.dir.root])
    ledger = run.dir.augmented / "teacher.jsonl"
    assert test_llama_cpp.until(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") >= 5)
    process.kill()
    process.wait()
    kept = ledger.read_bytes().count(b"\n")
    with ledger.open("ab") as file:
        file.write(b'[{"key": "half a li')  # what a kill inside a write leaves
    results = augment.run(run)
    asked_for = [entry["key"] for line in ledger.open(encoding="utf-8") for entry in json.loads(line)]
    assert len(set(asked_for)) == len(asked_for) == kept + results["asked"]
    assert requests(served) - before - len(asked_for) in (
        0,
        1,
        2,
    )  # one under way when the run died, one on its way to the file
    assert (results["reused"], sum(results["rows"].values())) == (kept, len(rows))


def test_a_teacher_without_one_whole_text_is_not_asked_about_thousands_of_rows(llama, gguf, tmp_path):
    with llama.serve(gguf, ctx=512, slots=4, extra=("--ignore-eos", *ONE_THREAD)) as endless:
        run = a_run(tmp_path, endless, [(f"{ROWS[0][0]} {n}", *ROWS[0][1:]) for n in range(30)], max_tokens=4)
        with pytest.raises(UserError, match="cut off") as caught:
            augment.run(run)
        ledger = (run.dir.augmented / "teacher.jsonl").read_text().splitlines()
    assert len(ledger) == augment.TRIAL * len(augment.SEEDS)
    assert "tired" not in str(caught.value)


def test_a_row_too_long_for_the_teacher_keeps_its_template_answer(served, tmp_path):
    long = ("a quiet evening by the sea " * 200, "This sounds like Grief.", "No.")
    run = a_run(tmp_path, served, [long, *ROWS])
    results = augment.run(run)
    assert answers(run.dir.augmented)["sft_train"][0] == long[1]
    assert results["refused"] == len(augment.SEEDS) and results["kept_template"] < len(ROWS)


@pytest.mark.parametrize(
    ("text", "cut", "kept"),
    [
        ("Because of the tears.", False, "Because of the tears."),
        ("<think>Hm.\nHm.</think>\n\nBecause.", False, "Because."),
        ("Hm.</think>Because.", False, "Because."),
        ("<think>Hm, and", False, None),
        ("<think>Hm.</think> ", False, None),
        (" \n", False, None),
        ("Because of the", True, None),
    ],
)
def test_a_text_is_usable_when_it_is_whole_and_without_reasoning(text, cut, kept):
    assert augment.usable(Answer(text, cut)) == kept


def test_braces_in_a_row_are_text():
    assert (
        augment.filled("{prompt} -> {response} {x}", prompt="{response} {0}", response="yes")
        == "{response} {0} -> yes {x}"
    )


def test_the_preflight_says_how_to_start_a_teacher(served, tmp_path):
    augment.check(a_run(tmp_path / "up", served).recipe.augment)
    down = a_run(tmp_path / "down", served, server="http://127.0.0.1:9/v1").recipe.augment
    with pytest.raises(UserError, match="llama-server -m FILE --port 8080"):
        augment.check(down)

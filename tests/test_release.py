"""A recipe runs from end to end, once, where no network is but loopback, and gives nothing away; on two ranks too. (What
becomes of one that is killed: chaos/.)

Another one, on a mixture of labelled sets with a teacher, ends in a release that says what it was made from.
"""

import json
import re
import shutil
from pathlib import Path

import labelled_sets
import pytest
import test_llama_cpp

from localpsych_recipes import recipe_file
from localpsych_recipes.demo import tiny_gemma4
from tests import watching
from tests import world as worlds

CANARY = "a zebrafinch on the windowsill of 7 Quince Lane"  # stands in every text of every row
DATA = Path(tiny_gemma4.__file__).with_name("data")
REPOSITORIES = {"tiny-gemma4-psych-LoRA", "tiny-gemma4-psych", "tiny-gemma4-psych-GGUF"}


@pytest.fixture(scope="module")
def alone() -> bool:
    """Whether all of this file happens in a network namespace with nothing but loopback, as it does where it can."""
    with watching.only_loopback() as isolated:
        yield isolated


@pytest.fixture(scope="module")
def world(alone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    tiny_gemma4.make(folder / "base", steps=20, say=lambda text: None)
    rows = folder / "rows"
    rows.mkdir()
    for name in ("README.md", "LICENSE"):
        shutil.copy(DATA / name, rows)
    with (rows / "conversations.jsonl").open("w") as file:
        for line in (DATA / "conversations.jsonl").read_text().splitlines():
            row = {column: f"{text} {CANARY}" for column, text in json.loads(line).items()}
            file.write(json.dumps(row) + "\n")
    world = worlds.make(folder, folder / "base", rows)
    yield world
    world.hub.close()


@pytest.fixture(scope="module")
def undisturbed(world) -> Path:
    """A run that nothing happened to."""
    run_dir = world.folder / "undisturbed"
    with watching.arguments_of_all_processes() as arguments:
        (world.folder / "printed.txt").write_text(world.run(run_dir))
    (world.folder / "arguments.txt").write_bytes(b"\n".join(sorted(arguments)))
    return run_dir


def test_a_recipe_ends_in_three_private_repositories_with_tags_cards_and_the_recipe(world, undisturbed):
    api = world.api
    for name in REPOSITORIES:
        info = api.model_info(f"demo/{name}", files_metadata=True)
        assert info.private
        files = {s.rfilename for s in info.siblings}
        assert {"README.md", "recipe.yaml"} <= files
        assert [t.name for t in api.list_repo_refs(info.id).tags] == ["v0.1.0"]
    gguf = {s.rfilename for s in api.model_info("demo/tiny-gemma4-psych-GGUF").siblings}
    assert {"tiny-gemma4-psych-Q4_K_M.gguf", "tiny-gemma4-psych-Q8_0.gguf"} <= gguf


def test_a_finished_recipe_run_again_does_nothing(world, undisturbed):
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file() and p.name != "recipe.yaml"}
    text = world.run(undisturbed)
    after = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file() and p.name != "recipe.yaml"}
    assert after == before
    assert len(re.findall("done before", text)) == 9


def test_the_reports_say_what_was_measured(undisturbed):
    reports = {p.stem: json.loads(p.read_text()) for p in (undisturbed / "reports").glob("*.json")}
    assert set(reports) == {"prepare", "sft", "dpo", "merge", "gguf", "verify", "evaluate", "card", "push"}
    for report in reports.values():
        assert report["seconds"] > 0 and report["peak_memory_bytes"] > 0
    assert reports["prepare"]["results"]["counts"]["train"] == 36
    assert reports["sft"]["results"]["steps"] == 6
    assert reports["sft"]["results"]["padding_free"] and reports["dpo"]["results"]["padding_free"]
    assert reports["dpo"]["results"]["pairs"] == 36


def test_a_whole_release_needs_no_network_but_loopback(alone, undisturbed):
    if not alone:
        pytest.skip("this user may make no network namespace")
    assert not watching.reaches_the_world()
    assert (undisturbed / "reports/push.json").exists()


# where a run keeps what its rows are, on this machine: the README names them
ROWS_STAY_IN = ("data", "cache", "evaluation")


def test_no_row_is_printed_logged_reported_left_in_a_temporary_file_or_published(world, undisturbed):
    rows = undisturbed / "data/sft_train.jsonl"
    hubs = [*(world.folder / "hub").glob("models/*/*"), *(world.folder / "tmp").iterdir()]
    mine = [p for p in undisturbed.iterdir() if p.name not in ROWS_STAY_IN]
    assert list(undisturbed.glob("logs/sft/events*")) and list(undisturbed.glob("logs/dpo/events*"))
    assert watching.holding("lora_A.weight", hubs)  # the adapter, so that pushed files are looked into
    printed = [world.folder / "printed.txt", world.folder / "arguments.txt"]
    assert watching.holding(CANARY, [rows, *mine, *hubs, *printed]) == [rows]


def test_the_token_is_in_no_file_and_in_no_processs_arguments(world, undisturbed):
    assert str(undisturbed) in (world.folder / "arguments.txt").read_text(errors="replace")
    assert watching.holding(world.token, [world.folder]) == []


def test_no_published_file_names_a_folder_of_this_machine(world, undisturbed):
    published = [*(world.folder / "hub").glob("models/*/*")]
    assert published and watching.holding(str(world.folder), published) == []


def test_two_ranks_train_together_and_make_one_release(world, tmp_path):
    launcher = (
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    )
    run_dir = tmp_path / "two"
    text = world.run(run_dir, "--no-push", launcher=launcher)
    report = json.loads((run_dir / "reports/sft.json").read_text())
    assert report["processes"] == 2
    assert len(list(run_dir.glob("sft/checkpoints-*/checkpoint-6/rng_state_*.pth"))) == 2
    assert text.count("] merge\n") == 1
    assert {p.name for p in (run_dir / "release").iterdir()} == {"adapter", "merged", "gguf"}
    assert not (run_dir / "reports/push.json").exists()


def test_stages_are_chosen_and_gaps_refused(world, undisturbed, tmp_path):
    text = world.run(undisturbed, "--only", "card", "--force")
    assert "] card\n" in text and "sft" not in text
    process = world.start(tmp_path / "new", "--from", "merge")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "has not been run with this recipe" in text and "Traceback" not in text
    assert not (tmp_path / "new" / "release").exists()


@pytest.fixture(scope="module")
def teacher(llama, tmp_path_factory):
    """A llama-server that writes gibberish under the name of a model that the Hub has a card of."""
    folder = test_llama_cpp.tiny_llama(tmp_path_factory.mktemp("teacher"), width=64)
    gguf = llama.convert(folder, folder / "teacher.gguf", outtype="bf16", name="Teacher")
    end_soon, threads = ("--logit-bias", "1+1.5"), ("--threads", "1", "--threads-batch", "1")
    with llama.serve(gguf, ctx=2048, slots=4, extra=("--alias", "demo/teacher", *end_soon, *threads)) as server:
        yield server


@pytest.fixture(scope="module")
def mixed(world, teacher) -> Path:
    """A run on five labelled sets, one of them on the Hub, whose answers the teacher completed."""
    folder = world.folder / "home-of-alice"
    labelled_sets.write(folder)
    card = world.folder / "README.md"
    card.write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    world.put("stress", "dataset", [card, *(folder / "stress").iterdir()])
    card.write_text("---\nlicense: llama3.1\n---\n")
    world.put("teacher", "model", [card])
    recipe = world.folder / "mixture.yaml"
    recipe.write_text(labelled_sets.RECIPE.format(folder=folder, server=teacher.url))
    run_dir = world.folder / "mixed"
    (run_dir.parent / "mixed.txt").write_text(world.run(run_dir, recipe=recipe, settings=()))
    return run_dir


def published(world, tmp_path, repository: str) -> dict[str, str]:
    """The texts of a repository on the Hub, by name."""
    folder = Path(world.api.snapshot_download(f"demo/{repository}", local_dir=tmp_path / repository))
    texts = (p for p in folder.iterdir() if p.is_file() and p.suffix in ("", ".md", ".yaml"))
    return {p.name: p.read_text(encoding="utf-8") for p in texts}


def test_a_mixture_with_a_teacher_is_released_with_all_that_it_was_made_from(world, mixed, teacher, tmp_path):
    rows, train, test = (sum(column) for column in zip(*labelled_sets.ROWS_TRAIN_TEST, strict=True))
    report = json.loads((mixed / "reports/augment.json").read_text())["results"]
    assert report["rows"] == {"sft_train": train, "sft_test": test}
    written = [
        entry["text"]
        for line in (mixed / "augmented/teacher.jsonl").read_text().splitlines()
        for entry in json.loads(line)
    ]
    private = [str(world.folder), teacher.url, "home-of-alice", "participants", labelled_sets.CANARY]
    long = [text for text in written if len(text) > 9]  # a shorter one may stand anywhere by chance
    assert len(long) > 5
    for repository in ("Llama-tiny-analyst-LoRA", "Llama-tiny-analyst", "Llama-tiny-analyst-GGUF"):
        texts = published(world, tmp_path, repository)
        text = texts["README.md"]
        names = ("the folder `isear`", "[demo/stress](", "the file `depression.csv`", "`severity.csv`", "`sdcnl`")
        for name, counts in zip(names, labelled_sets.ROWS_TRAIN_TEST, strict=True):
            row = next(line for line in text.splitlines() if line.startswith("| ") and name in line)
            assert "| {} | {} | {} |".format(*counts) in row
        assert f"| rows read | {rows} |" in text and f"| in the training split | {train} |" in text
        assert f"into {train + test - report['kept_template']} of the {train + test} answers" in text
        assert "demo/stress is cc-by-nc-4.0, non-commercial" in text and "demo/teacher: llama3.1" in text
        assert "**Built with Llama.**" in text and "Llama 3.1 Community License" in texts["NOTICE"]
        assert not [text for text in (*private, *long) for content in texts.values() if text in content]


def test_the_published_recipe_of_a_mixture_asks_for_the_same_rows(world, mixed, tmp_path):
    text = published(world, tmp_path, "Llama-tiny-analyst")["recipe.yaml"]
    (tmp_path / "again.yaml").write_text(text)
    recipe, pins = recipe_file.load(tmp_path / "again.yaml"), json.loads((mixed / "pins.json").read_text())
    assert [source.source for source in recipe.data.sources] == [
        "./isear", "demo/stress", "./depression.csv", "./severity.csv", "./sdcnl",
    ]  # fmt: skip
    assert recipe.data.sources[1].revision == pins["datasets"][1]["commit"]
    assert pins["datasets"][0]["sha256"]["train.csv"] in text and pins["datasets"][2]["sha256"] in text


def test_a_mixture_run_again_does_nothing_and_with_another_step_count_asks_no_teacher(world, mixed, teacher):
    recipe = world.folder / "mixture.yaml"
    assert len(re.findall("done before", world.run(mixed, recipe=recipe, settings=()))) == 9
    text = world.run(mixed, "--until", "sft", recipe=recipe, settings=("sft.max_steps=1",))
    assert "augment: done before" in text and "] sft\n" in text

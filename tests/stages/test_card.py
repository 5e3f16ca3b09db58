"""Cards say what was measured, whose data and licences these are, and first of all what the model is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from embedded_hub import TOKENS, alice, hub  # noqa: F401  fixtures
from finished_run import CANARY, DROPPED, KINDS, OWNER, PAIRS, body, cards, finished_run, metadata
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.resources import resource
from localpsych_recipes.stages import card

TEMPLATES = resource("model_cards")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished_run(tmp_path, OWNER)


def test_the_hub_takes_every_card(run, hub) -> None:
    for text in cards(run).values():
        ModelCard(text).validate()


def test_the_front_matter_says_what_each_repository_is(run) -> None:
    found = {kind: metadata(text) for kind, text in cards(run).items()}
    common = {"license": "apache-2.0", "datasets": ["alice/rows"], "pipeline_tag": "text-generation"}
    own = {
        "adapter": {"base_model": "alice/base", "base_model_relation": "adapter", "library_name": "peft"},
        "merged": {"base_model": "alice/base", "base_model_relation": "finetune", "library_name": "transformers"},
        "gguf": {"base_model": "alice/calm", "base_model_relation": "quantized", "library_name": "gguf"},
    }
    for kind in KINDS:
        assert {key: found[kind][key] for key in common | own[kind]} == common | own[kind]
        assert {"sft", "dpo", "conversational", "empathy"} <= set(found[kind]["tags"])
        assert "mental-health" not in found[kind]["tags"]  # a recipe says what it is about
    assert {"lora", "peft"} <= set(found["adapter"]["tags"]) and {"gguf", "llama-cpp"} <= set(found["gguf"]["tags"])


def test_what_the_model_is_not_and_where_help_is_come_first(run) -> None:
    crisis = YAML(typ="safe").load(TEMPLATES / "crisis.yaml")
    for text in cards(run).values():
        title, box, rest = body(text).strip().split("\n\n", 2)
        assert title.startswith("# ") and all(line.startswith(">") for line in box.splitlines())
        assert "not a therapist, not a medical device, and not for emergencies" in box
        assert all(line["how"] in box and line.get("link", "") in box for line in crisis["lines"])
        assert crisis["compared_on"] in box


def test_the_help_lines_are_these_and_stand_in_one_file() -> None:
    lines = (TEMPLATES / "crisis.yaml").read_text()
    for expected in ("call or text 988", "988lifeline.org", "741741", "findahelpline.com", "local emergency number"):
        assert expected in lines
    others = [p for p in TEMPLATES.rglob("*") if p.is_file() and p.name != "crisis.yaml"]
    assert others
    for path in [*others, TEMPLATES / "crisis.yaml"]:
        assert not re.search(r"800.?273.?8255|273.?TALK", path.read_text())
    for path in others:
        assert not re.search(r"\b988|741741|findahelpline", path.read_text())


def test_prose_holds_no_numbers() -> None:
    prose = list((TEMPLATES / "prose").glob("*.md"))
    assert {"demo.md", "gemma4-e4b-psych.md"} <= {path.name for path in prose}
    for path in prose:
        assert not re.search(r"\d", path.read_text()), path.name


def test_every_measured_number_stands_in_a_row_with_its_stage_and_what_it_was_measured_on(run) -> None:
    for text in cards(run).values():
        rows = [line for line in text.splitlines() if line.startswith(("| sft |", "| dpo |"))]
        for value in ("1.2346", "3.4368", "2.3456", "2.4567"):
            assert [r for r in rows if r.startswith("| sft |") and r.endswith(f"| {value} | 985 rows |")]
        for value in ("0.5432", "0.8765", "0.4321", "-7.6543", "-0.0876"):
            assert [r for r in rows if r.startswith("| dpo |") and r.endswith(f"| {value} | 984 pairs |")]
        for count in ("9,846", "8,858", "1,234,567", "9,076,736", "7,950,177,568"):
            assert count in text


def test_the_splits_sizes_are_not_said_to_be_what_was_trained_on(run) -> None:
    for text in cards(run).values():
        for row in ("| sft | 8,858 | answers in the training split |", "| sft | 0.5 | passes over them |",
                    "| dpo | 8,857 | pairs in the training split |", "| dpo | 2 | passes over them |"):  # fmt: skip
            assert row in text
        assert not re.search(r"\| [^|]*(trained on|to train on|carried)[^|]* \|", text)


def test_paragraphs_and_lists_stand_apart(run) -> None:
    for kind, text in cards(run).items():
        what, others = body(text).split("\n\n")[3:5]
        assert "alice/base" in what and "\n" not in what, kind
        assert others.startswith("The same release in other forms:"), kind


def test_a_private_gguf_is_fetched_with_a_token_that_llama_cpp_reads(tmp_path) -> None:
    """llama.cpp's common/arg.cpp: the value of --hf-token comes from HF_TOKEN alone."""
    private = cards(finished_run(tmp_path / "private", OWNER))["gguf"]
    assert "\nHF_TOKEN=$(hf auth token) llama-server -hf alice/calm-GGUF:Q4_K_M --reasoning off\n" in private
    public = cards(finished_run(tmp_path / "public", OWNER, "push.private=false"))["gguf"]
    assert "\nllama-server -hf alice/calm-GGUF:Q4_K_M --reasoning off\n" in public and "HF_TOKEN" not in public


def test_what_was_not_measured_is_left_out(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, reports=False)
    for text in cards(run).values():
        assert "nothing was measured" in text and "None" not in text
        assert not re.search(r"^\| (sft|dpo|merge|prepare) \|", text, re.MULTILINE)


def test_a_stage_that_the_recipe_no_longer_has_leaves_no_number(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, "dpo=false")
    assert run.report("dpo")
    for text in cards(run).values():
        assert "0.8765" not in text and "DPO" not in body(text)
        assert "dpo" not in metadata(text)["tags"]


def test_rendered_again_the_cards_are_byte_identical(run) -> None:
    def content() -> dict[Path, bytes]:
        card.run(run)
        return {p: p.read_bytes() for p in sorted((run.dir.root / "release").rglob("*")) if p.is_file()}

    first = content()
    assert len(first) == 14  # 6 of the adapter, 4 each of the others and content() == first


def test_no_training_text_is_released(run) -> None:
    card.run(run)
    assert CANARY in (run.dir.data / "sft_train.jsonl").read_text()
    for path in (run.dir.root / "release").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_the_adapter_is_the_last_one_trained_and_nothing_beside_it(run) -> None:
    card.run(run)
    folder = run.dir.release("adapter")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "adapter.gguf", "adapter_config.json", "adapter_model.safetensors", "recipe.yaml",
        "tokenizer.json",
    ]  # fmt: skip
    assert (folder / "adapter_model.safetensors").read_text() == "dpo"


def test_the_dataset_is_what_dpo_was_given_and_nothing_of_what_was_dropped(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS)
    assert card.run(run)["cards"] == [*KINDS, "pairs"]
    folder = run.dir.release("pairs")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "README.md", "data/test.jsonl", "data/train.jsonl", "recipe.yaml", "report.png",
    ]  # fmt: skip
    for split in ("train", "test"):
        given = run.dir.pairs / f"pairs_{split}.jsonl"
        assert (folder / "data" / f"{split}.jsonl").read_bytes() == given.read_bytes()
    for path in (run.dir.root / "release").rglob("*"):
        assert not path.is_file() or DROPPED not in path.read_text()
        assert path.is_dir() or path.parent.name == "data" or CANARY not in path.read_text()


def test_pairs_that_are_not_to_be_published_are_not_released(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS, "pairs.publish=false")
    assert card.run(run)["cards"] == list(KINDS)
    assert not run.dir.release("pairs").exists()


def test_without_dpo_the_sft_adapter_is_released(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, "dpo=false")
    card.run(run)
    assert (run.dir.release("adapter") / "adapter_model.safetensors").read_text() == "sft"


def test_a_base_named_by_a_path_becomes_its_hub_id(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, "base.model=/models/secret", "base.hub_id=alice/base")
    config = run.dir.adapter("dpo") / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "/models/secret"}))
    card.run(run)
    released = json.loads((run.dir.release("adapter") / "adapter_config.json").read_text())
    assert released["base_model_name_or_path"] == "alice/base"


def test_a_base_named_by_a_path_alone_asks_for_its_hub_id(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, "base.model=/models/secret")
    config = run.dir.adapter("dpo") / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "/models/secret"}))
    with pytest.raises(UserError, match="base.hub_id"):
        card.run(run)


def test_without_an_owner_the_quants_are_a_finetune_of_the_base(tmp_path) -> None:
    text = cards(finished_run(tmp_path))["gguf"]
    found = metadata(text)
    assert (found["base_model"], found["base_model_relation"]) == ("alice/base", "finetune")
    assert "USER/calm-GGUF" in text


TRY = """
import json, re, sys
for path in sys.argv[1:]:
    code = re.search(r"```python\\n(.*?)```", open(path).read(), re.DOTALL)[1]
    exec(code.replace("max_new_tokens=300", "max_new_tokens=2"), {})
    print("answered")
"""


def test_the_python_of_the_cards_runs_as_it_stands(run, hub, alice, tmp_path) -> None:
    model = tiny_release(run, tmp_path / "base")
    card.run(run)
    for repo, folder in {"alice/base": model, "alice/calm": run.dir.release("merged"),
                         "alice/calm-LoRA": run.dir.release("adapter")}.items():  # fmt: skip
        alice.create_repo(repo, private=True)
        alice.upload_folder(repo_id=repo, folder_path=folder)
    paths = [str(run.dir.release(kind) / "README.md") for kind in ("adapter", "merged")]
    environment = {**hub.environment(TOKENS["alice"]), "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", TRY, *paths], env=environment, capture_output=True, text=True)
    assert done.stdout.count("answered") == 2, done.stderr


def tiny_release(run: Run, base: Path) -> Path:
    """A tiny base with a tokenizer, an adapter of it in the run, and the base itself in the merged model's place."""
    import tiny_models
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tiny_models.build("qwen3", base)
    words = {word: i for i, word in enumerate(["<unk>", "</s>", "Be", "calm", "worrying"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(base)
    adapter = tiny_models.adapter(base, run.dir.adapter("dpo"), targets=["q_proj"])
    files = {p.name: p.read_bytes() for p in base.iterdir()}
    for folder in (adapter, run.dir.release("merged")):
        for name, content in files.items():
            if folder != adapter or "token" in name or "template" in name:
                (folder / name).write_bytes(content)
    return base

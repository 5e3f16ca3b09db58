"""Cards say what was measured, whose data and licences these are, and first of all what the model is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import CANARY, DROPPED, KINDS, OWNER, PAIRS, body, cards, finished_run, logged, metadata
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from localpsych_recipes.cards.render import link
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
        what, others = body(text).split("\n\n")[4:6]
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

    logged(run)
    first = content()
    assert len(first) == 20  # 8 of the adapter, 6 each of the others
    assert content() == first


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
        "results.json", "tokenizer.json",
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


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_each_of_four_readers_is_led_to_an_answer_at_the_head_of_a_section(run) -> None:
    runs = {"adapter": "AutoPeftModelForCausalLM", "merged": "AutoModelForCausalLM", "gguf": "llama-server -hf"}
    for kind, text in cards(run).items():
        answers = {
            "If you want to talk to it": ("Can I talk to it when I am in danger? No.", "help lines are at the top"),
            "If you are a clinician": ("Is it validated? No, by nobody.", "late-disclosure", "Responsible use"),
            "If you want to run it": (runs[kind],),
            "How it was measured": ("seed 65", "n = 60", "results.json", "| measure | base"),
        }
        first_screen = text.split("\n## ")[0]
        for title, words in answers.items():
            anchor = re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "-")  # as the Hub makes them of headings
            assert f"](#{anchor})" in first_screen
            head = " ".join(section(text, title).split()[:160])
            assert all(word in head for word in words), title


def test_every_link_within_a_card_leads_to_a_heading(run) -> None:
    for text in cards(run).values():
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in headings}
        assert len(anchors) == len(headings) > 10
        assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors


def test_what_failed_stands_between_the_help_lines_and_everything_else(tmp_path) -> None:
    gate = 'gates=[{"metric": "crisis_pass", "at_least": 1.0, "columns": ["dpo"]}]'
    for text in cards(finished_run(tmp_path, OWNER, gate)).values():
        failed = body(text).strip().split("\n\n", 3)[2]  # behind the title and the box
        assert failed == "## What it failed" and text.index("must be at least 100 %, but is 80 %") < text.index(
            "A calm companion"
        )


def test_where_every_gate_holds_nothing_failed_and_the_gates_are_listed(run) -> None:
    for text in cards(run).values():
        assert "What it failed" not in text and "What its recipe asks of a release: 4 of 4 hold" in text


def test_help_lines_by_country_are_those_of_the_one_file_with_source_and_date(run) -> None:
    countries = YAML(typ="safe").load(TEMPLATES / "crisis.yaml")["countries"].values()
    assert len(countries) > 10
    for text in cards(run).values():
        person = section(text, "If you want to talk to it")
        for country in countries:
            (row,) = (line for line in person.splitlines() if line.startswith(f"| {country['name']} |"))
            assert all(number in row for number in country["emergency"]["numbers"])
            assert all(line["how"] in row for line in country["lines"])
            (sources,) = (line for line in person.splitlines() if line.startswith(f"- {country['name']}: "))
            assert all(line["dated"] in sources for line in (*country["lines"], country["emergency"]))
            assert all(f"({link(line['source'])})" in sources for line in (*country["lines"], country["emergency"]))


def test_law_review_and_means_are_said(run) -> None:
    for text in cards(run).values():
        use = section(text, "Responsible use")
        for words in ("HIPAA", "42 CFR Part 2", "Article 9", "clinical review", "ethics review", "not legal advice"):
            assert words in use
        assert "sft: 3.13 rows per second" in text and "2.5e+17 floating-point operations" in text

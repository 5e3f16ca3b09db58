"""The licence of a release is read or asked for, never guessed, and all three licences are said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import OWNER, cards, finished_run, metadata, write
from huggingface_hub import ModelCard
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import card_license
from localpsych_recipes.stages import card, prepare

COLUMNS = ("question", "response_j", "response_k")


def test_an_unknown_licence_is_asked_for_and_never_guessed(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, pins={"base": {"license": None}})
    with pytest.raises(UserError, match="set base.license"):
        card.run(run)


def test_of_a_local_base_no_card_is_claimed_that_nobody_read(tmp_path) -> None:
    base = ("base.model=/models/mine", "base.hub_id=alice/base")
    run = finished_run(tmp_path, OWNER, *base, pins={"base": {"license": None}})
    with pytest.raises(UserError, match="the local folder mine has no README.md that names a licence") as raised:
        card.run(run)
    assert "alice/base" not in str(raised.value)


@pytest.mark.parametrize("text", [None, "No front matter.\n", "---\nlicense: [mit, gemma]\n---\n", "---\n- [x\n---\n"])
def test_a_folder_that_names_no_single_licence_has_none(tmp_path, text) -> None:
    if text:
        (tmp_path / "README.md").write_text(text)
    assert card_license(tmp_path)["license"] is None


def test_a_local_bases_own_card_names_its_licence(tmp_path) -> None:
    base = tmp_path / "mine"
    front = "---\nlicense: other\nlicense_name: qwen-research\nlicense_link: https://example.org/terms\n---\n# Mine\n"
    write(base, {"config.json": '{"model_type": "qwen3"}', "model.safetensors": "weights", "README.md": front})
    save_tokenizer(base)
    write(tmp_path, {"rows.jsonl": "".join(json.dumps(dict.fromkeys(COLUMNS, f"row {n}")) + "\n" for n in range(20))})
    run = finished_run(tmp_path / "root", OWNER, f"base.model={base}", f"data.source={tmp_path / 'rows.jsonl'}")
    prepare.run(run)
    found = metadata(cards(run)["adapter"])
    assert (found["license"], found["license_name"]) == ("other", "qwen-research")
    assert found["license_link"] == "https://example.org/terms"


def save_tokenizer(folder: Path) -> None:
    """Bytes and the marks of a turn: enough to count lengths."""
    marks = ["<|im_start|>", "<|im_end|>"]
    tokens = {token: number for number, token in enumerate([*marks, *ByteLevel.alphabet()])}
    tokenizer = Tokenizer(BPE(tokens, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(marks)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=marks[1], pad_token=marks[1])
    made.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    made.save_pretrained(folder)


def test_another_licence_keeps_its_name_and_link_and_says_its_duties(tmp_path, hub) -> None:
    other = {"license": "other", "license_name": "qwen-research", "license_link": "LICENSE"}
    for text in cards(finished_run(tmp_path, OWNER, pins={"base": other})).values():
        found = metadata(text)
        assert (found["license"], found["license_name"]) == ("other", "qwen-research")
        assert found["license_link"] == "https://huggingface.co/alice/base/blob/main/LICENSE"
        assert "never commercially" in text and "apache" not in text
        ModelCard(text).validate()


def test_a_nameless_other_licence_leads_to_the_base(tmp_path, hub) -> None:
    text = cards(finished_run(tmp_path, OWNER, pins={"base": {"license": "other"}}))["merged"]
    assert metadata(text)["license_link"] == "https://huggingface.co/alice/base"
    ModelCard(text).validate()


def test_the_recipes_licence_is_the_releases_and_all_three_are_said(tmp_path) -> None:
    text = cards(finished_run(tmp_path, OWNER, "license=cc-by-sa-4.0"))["adapter"]
    assert metadata(text)["license"] == "cc-by-sa-4.0"
    section = text.split("## Licence")[1]
    assert "**cc-by-sa-4.0**" in section and "apache-2.0" in section and "cc-by-4.0" in section


def test_a_dataset_without_a_licence_is_said_to_have_none(tmp_path) -> None:
    text = cards(finished_run(tmp_path, OWNER, pins={"dataset": {"license": None}}))["adapter"]
    assert "The training data: not stated by its authors" in text


def test_what_a_licence_wants_displayed_stands_at_the_top_of_every_card(tmp_path, hub) -> None:
    for licence, words in (({"license": "llama3.2"}, "Built with Llama"), ({"license": "gemma"}, None),
                           ({"license": "other", "license_name": "qwen-research"}, "Built with Qwen")):  # fmt: skip
        run = finished_run(tmp_path / (words or "none"), OWNER, "name=Llama-calm", pins={"base": licence})
        texts = cards(run)
        for text in texts.values():
            top = text.split("\n## ")[0]
            assert (f"\n**{words}.**\n" in top) if words else "Built with" not in text
            ModelCard(text).validate()


def test_every_dataset_of_the_hub_stands_in_the_front_matter(tmp_path, hub) -> None:
    for text in cards(finished_run(tmp_path, OWNER)).values():
        assert metadata(text)["datasets"] == ["alice/rows"]
    run = finished_run(
        tmp_path / "file", OWNER, "data.source=./rows.csv", pins={"dataset": {"id": None, "file": "rows.csv"}}
    )
    for text in cards(run).values():
        assert "datasets" not in metadata(text)

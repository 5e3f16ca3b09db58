"""The importance matrix of the gguf stage, made by llama.cpp of a tiny model's training conversations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from localpsych_recipes import importance, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import LlamaCpp, ToolError, needs_imatrix
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import gguf
from tests import small_run
from tests.families import bases

pytestmark = pytest.mark.usefixtures("llama", "one_thread")
THINKING = {"enable_thinking": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases.make(bases.SMALL_QWEN3, tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def source(llama: LlamaCpp, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama.convert(base, tmp_path_factory.mktemp("gguf") / "16bit.gguf", outtype="f32", name="tiny")


def merged_run(base: Path, root: Path, rows: list, said: list[str], **keys: Any) -> Run:
    """A run whose merge stage is done, of the base itself."""
    run = small_run.run(root / "run", small_run.recipe(base, dpo=None, merge={}, gguf={"adapter": False, **keys}), rows)
    rundir.write_json(run.dir.pins, {"base": {"model": "someone/tiny", "commit": None}, "datasets": []})
    run.dir.release("merged").parent.mkdir(parents=True)
    run.dir.release("merged").symlink_to(base)
    run.say = said.append
    return run


def test_a_merged_folder_that_was_deleted_is_named_with_the_stage_that_makes_it(base, tmp_path):
    run = merged_run(base, tmp_path, small_run.ROWS, [], quants=["Q8_0"])
    run.dir.release("merged").unlink()
    with pytest.raises(UserError, match=r"(?s)release/merged is gone, although merge was done.*--from merge --force"):
        gguf.run(run)


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


def test_quants_of_few_bits_get_a_matrix_of_the_training_conversations_and_tell_nothing_of_them(base, tmp_path):
    rows = [(f"{question} {i}", good, bad) for i in range(12) for question, good, bad in small_run.ROWS]
    run = merged_run(base, tmp_path, rows, said := [], quants=["Q4_K_M", "Q8_0"], sixteen_bit=True)
    results = gguf.run(run)

    trained = [question for question, *_ in rows[:-2]]
    assert results["imatrix"]["conversations"] == len(trained) and results["imatrix"]["quants"] == ["Q4_K_M"]
    assert {file["quant"]: file["imatrix"] for file in results["files"]} == {
        "Q4_K_M": True,
        "Q8_0": False,
        "F32": False,
    }

    found = fields(run.dir.release("gguf") / "small-Q4_K_M.gguf")
    assert found["quantize.imatrix.file"] == "imatrix.gguf"
    assert found["quantize.imatrix.dataset"] == "conversations.txt"
    # with special tokens parsed: as text alone, <|im_start|> would be a dozen tokens
    assert found["quantize.imatrix.chunks_count"] == pytest.approx(tokens_of(rows[:-2], base) / 512, abs=1)
    assert not [name for name in fields(run.dir.release("gguf") / "small-Q8_0.gguf") if "imatrix" in name]
    for file in run.dir.release("gguf").iterdir():
        content = file.read_bytes()
        assert str(tmp_path).encode() not in content and b"My dog died" not in content
    assert sorted(path.name for path in run.dir.sixteen_bit_gguf.parent.iterdir()) == ["16bit.gguf", "imatrix.gguf"]
    assert not [line for line in said if "dog" in line]


def tokens_of(rows: list, base: Path) -> int:
    tokenizer = models.load_tokenizer(base)
    chats = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b, _ in rows]
    return sum(len(tokenizer.apply_chat_template(chat, return_dict=False, **THINKING)) for chat in chats)


def test_a_matrix_changes_the_quant(llama, base, source, tmp_path):
    row = {
        "prompt": [{"role": "user", "content": "I am tired."}],
        "completion": [{"role": "assistant", "content": "Rest."}],
    }
    text = importance.text([row] * 40, models.load_tokenizer(base), THINKING)
    matrix = importance.make(llama, source, text, tmp_path / "imatrix.gguf")
    llama.quantize(source, tmp_path / "with.gguf", "Q4_K_M", imatrix=matrix)
    llama.quantize(source, tmp_path / "without.gguf", "Q4_K_M")
    packed = [
        {t.name: t.data.tobytes() for t in GGUFReader(tmp_path / f"{name}.gguf").tensors}
        for name in ("with", "without")
    ]
    assert packed[0].keys() == packed[1].keys() and packed[0] != packed[1]


def test_too_little_text_makes_no_matrix_and_is_said(base, tmp_path):
    run = merged_run(base, tmp_path, small_run.ROWS[:3], said := [], quants=["Q4_0"])
    results = gguf.run(run)
    assert not results["files"][0]["imatrix"] and results["imatrix"]["quants"] == []
    assert re.search(r"\d+ tokens of 1 training conversations: too few for an importance matrix", " ".join(said))


@pytest.mark.parametrize(
    ("imatrix", "given"), [("auto", r"IQ3_XXS and \d+ tokens"), ("none", "IQ3_XXS with imatrix: none")]
)
def test_a_quant_that_needs_a_matrix_is_refused_where_there_is_none(imatrix, given, base, tmp_path):
    run = merged_run(base, tmp_path, small_run.ROWS[:3], [], quants=["IQ3_XXS"], imatrix=imatrix)
    with pytest.raises(UserError, match=given):
        gguf.run(run)
    assert not run.dir.release("gguf").exists()


# Which quants


def test_four_bits_and_fewer_want_a_matrix_unless_the_recipe_says_otherwise():
    quants = ["Q8_0", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_S", "IQ2_M"]
    assert importance.wanted(quants, "auto") == quants[2:]
    assert importance.wanted(quants, "all") == quants
    assert importance.wanted(quants, "none") == []


@pytest.mark.parametrize(
    "quant", ["IQ3_XXS", "IQ3_XS", "IQ2_M", "IQ2_S", "Q2_K_S", "Q2_K", "IQ3_S", "Q3_K_S", "IQ4_XS"]
)
def test_those_that_need_one_are_those_that_llama_quantize_refuses_without(quant, llama, source, tmp_path):
    try:
        llama.quantize(source, tmp_path / "out.gguf", quant)
    except ToolError as error:
        assert needs_imatrix(quant) and "requires an importance matrix" in str(error)
    else:
        assert not needs_imatrix(quant)


# Of which conversations


def test_rows_are_drawn_from_all_training_rows_by_the_seed(base, tmp_path, monkeypatch):
    monkeypatch.setattr(importance, "ROWS", 50)
    run = merged_run(base, tmp_path, [(f"question {i}", "answer", "bad") for i in range(1002)], [])
    drawn = [row["prompt"][0]["content"] for row in importance.draw(run.dir.data, "sft", 1)]
    assert drawn == [row["prompt"][0]["content"] for row in importance.draw(run.dir.data, "sft", 1)]
    assert drawn != [row["prompt"][0]["content"] for row in importance.draw(run.dir.data, "sft", 2)]
    numbers = [int(question.split()[1]) for question in drawn]
    assert len(set(numbers)) == 50 and min(numbers) < 200 and 800 < max(numbers) < 1000 and numbers != sorted(numbers)


def test_of_pairs_the_better_answers_are_taken_up_to_a_number_of_tokens(base, tmp_path):
    run = merged_run(base, tmp_path, small_run.ROWS, [])
    rows, tokenizer = importance.draw(run.dir.data, "pairs", 0), models.load_tokenizer(base)
    text = importance.text(rows, tokenizer, THINKING, tokens=1)
    assert text.conversations == 1 and text.tokens == len(tokenizer(text.text)["input_ids"])
    everything = importance.text(rows, tokenizer, THINKING)
    assert all(good in everything.text and bad not in everything.text for _, good, bad in small_run.ROWS[:-2])

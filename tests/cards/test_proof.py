"""The proof on the cards: each hop with its bound, and nothing of what is withheld but that it is, and why."""

from __future__ import annotations

import pytest
from finished_run import FILES, KINDS, OWNER, finished_run, gguf_results, proven, report

from localpsych_recipes import summary
from localpsych_recipes.cards.proof import shown
from localpsych_recipes.pipeline import Run
from localpsych_recipes.rundir import file_sha256
from localpsych_recipes.stages import card

Q4, Q8 = FILES["Q4_K_M"], FILES["Q8_0"]


def texts(run: Run) -> dict[str, str]:
    return {kind: (run.dir.release(kind) / "README.md").read_text() for kind in card.run(run)["cards"]}


def withholding(folder, *failed: str, **withheld: list[str]) -> Run:
    run = finished_run(folder, OWNER)
    report(run, "verify", proven(run, *failed, withheld=withheld))
    return run


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_each_hop_says_what_was_compared_how_close_it_is_and_its_bound(tmp_path) -> None:
    for text in texts(finished_run(tmp_path, OWNER)).values():
        proof = section(text, "Is it the model that was trained?")
        close = (
            "KL divergence 0.0021 (≤&nbsp;0.15)<br>same next token 98.7 % (≥&nbsp;86.0&nbsp;%)"
            "<br>perplexity ratio 1.000 (≤&nbsp;1.100)"
        )
        assert f"| the 16-bit base and adapter → the merged model | {close} | proven |" in proof
        assert f"| the 16-bit GGUF → Q8\\_0 (`{Q8}`) | {close} | proven |" in proof
        assert "2,032 tokens of 64 held-out conversations" in proof and "and each quant on 40 pieces" in proof
        assert "2 of 2 further checks hold" in proof
        assert "Nothing was withheld." in proof and "**" not in proof


@pytest.mark.parametrize(
    ("measure", "value", "expected"),
    [("kl", 2.9e-05, "< 0.0001"), ("kl", 0.0, "0"), ("kl", -0.0, "0"), ("kl", -3e-06, "< 0.0001"),
     ("kl", 0.31234, "0.312"), ("top1", 0.98765, "98.8 %"), ("top1", 0.99996, "99.996 %"), ("share", 0.875, "87.5 %"),
     ("perplexity_ratio", 1.00043, "1.000"), ("ended", 7, "7"), ("conversations", 12345, "12,345")],
)  # fmt: skip
def test_numbers_say_no_more_than_they_mean(measure, value, expected) -> None:
    assert shown(measure, value) == expected


def test_the_quants_table_says_size_closeness_and_when_to_choose_which(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    files = section(texts(run)["gguf"], "If you want to run it")
    for quant, words in (("Q4_K_M", "laptops and phones"), ("Q8_0", "memory is plenty")):
        (line,) = (line for line in files.splitlines() if line.startswith(f"| **{quant}** |".replace("_", "\\_")))
        path = run.dir.release("gguf") / FILES[quant]
        size = path.stat().st_size
        assert f"- `{path.name}`: sha256 `{file_sha256(path)}`" in files
        assert f"| {size} B<br>4.85 bits per weight |" in line and "same next token 98.7 %" in line and words in line


def test_a_withheld_file_is_named_with_the_reason_and_nowhere_else(tmp_path) -> None:
    for kind, text in texts(withholding(tmp_path, Q4, gguf=[Q4])).items():
        proof = section(text, "Is it the model that was trained?")
        assert f"**Withheld**, because it was not proven to be the model that was trained: `{Q4}`." in proof
        assert f"(`{Q4}`): KL 0.3127 is above 0.15." in proof
        assert Q4 not in text.replace(proof, ""), kind
    assert "calm-GGUF:Q8_0" in text and "Q4_K_M" not in text.replace(proof, "")


@pytest.mark.parametrize("all_of_it", [["*"], [Q4, Q8]])
def test_a_kind_of_which_nothing_is_left_has_no_card_and_no_link(tmp_path, all_of_it) -> None:
    run = withholding(tmp_path, "gguf", gguf=all_of_it)
    found = texts(run)
    assert list(found) == ["adapter", "merged"] and not (run.dir.release("gguf") / "README.md").exists()
    for text in found.values():
        assert "calm-GGUF" not in text and "**Withheld**" in text


def test_quants_of_a_withheld_merged_model_are_a_finetune_of_the_base(tmp_path) -> None:
    text = texts(withholding(tmp_path, "merged", merged=["*"]))["gguf"]
    assert (
        "base_model: alice/base\n" in text
        and "base_model_relation: finetune" in text
        and "(https://huggingface.co/alice/calm)" not in text
    )


def test_an_importance_matrix_is_said_of_published_files_alone(tmp_path) -> None:
    run = withholding(tmp_path, Q4, gguf=[Q4])
    matrix = {"tokens": 5000, "conversations": 40, "quants": ["Q4_K_M", "Q8_0"]}
    report(run, "gguf", gguf_results(run) | {"imatrix": matrix})
    assert "Q8\\_0 with an importance matrix of 5,000 tokens of 40 training conversations" in texts(run)["gguf"]
    report(run, "gguf", gguf_results(run) | {"imatrix": matrix | {"quants": ["Q4_K_M"]}})
    assert "without an importance matrix" in texts(run)["gguf"]


def test_where_everything_is_withheld_no_card_is_written(tmp_path) -> None:
    assert texts(withholding(tmp_path, "as_trained", **{kind: ["*"] for kind in KINDS})) == {}


def test_a_recipe_without_verify_says_nothing_of_a_proof(tmp_path) -> None:
    for text in texts(finished_run(tmp_path, OWNER, "verify=false", "push=false")).values():
        assert "Is it the model that was trained" not in text and "#is-it-the-model" not in text
        assert "how close to sixteen bits" not in text


def test_the_table_at_the_end_of_a_run_marks_files_that_are_withheld(tmp_path) -> None:
    run = withholding(tmp_path, Q8, gguf=[Q8])
    lines = {line.split()[0]: line for line in summary.table(run, [run.report("gguf")]).splitlines() if line.strip()}
    assert "(withheld)" in lines[f"release/gguf/{Q8}"] and "(withheld)" not in lines[f"release/gguf/{Q4}"]
    run = withholding(tmp_path / "whole", Q8, gguf=["*"])
    assert summary.table(run, [run.report("gguf")]).count("(withheld)") == 2

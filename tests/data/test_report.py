"""The data report tells every count to people, source by source, and no text."""

from __future__ import annotations

import json
from pathlib import Path

from localpsych_recipes import data
from localpsych_recipes.recipe import Columns, Data, Source

SECRET = "only my diary knows this"


def made(folder: Path) -> data.Prepared:
    sources = []
    for name, rows in (("one", ["A", "A", ""]), ("two", ["B at 1-800-273-8255", f"{SECRET}\u00a0B"])):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"q": f"{SECRET} {name}", "a": answer}) + "\n" for answer in rows))
        sources.append(Source(source=str(path), columns=Columns(prompt="q", response="a")))
    return data.prepare(Data(mixture=tuple(sources)))


def lines(text: str, block: str) -> dict[str, str]:
    """What is counted -> how often, in the block under one heading."""
    _, found = text.split(f"{block}\n", 1)
    counted = [line.strip().split("  ", 1) for line in found.split("\n\n")[0].splitlines()]
    return {words: count for count, words in counted}


def test_every_source_and_all_together_are_told(tmp_path: Path) -> None:
    text = data.report(made(tmp_path).counts, None, None)
    total, one, two = (lines(text, block) for block in ("All sources", "one.jsonl", "two.jsonl"))
    assert [block["rows read"] for block in (total, one, two)] == ["5", "3", "2"]
    assert (one["with an empty field, dropped"], one["repeated rows"]) == ("1", "1")
    assert two["cells whose text was mended"] == "1"
    assert [line for line in two if line.startswith("outdated help line: ")]
    assert SECRET not in text and str(tmp_path) not in text


def test_lengths_are_told_for_each_kind_with_the_limit_of_its_stage(tmp_path: Path) -> None:
    lengths = {"sft_train": [(3, 4), (8, 5), (20, 1)], "pairs_test": [(1, 1)]}
    text = data.report(made(tmp_path).counts, lengths, {"sft": 10, "pairs": 5})
    learnt = text[text.index("Tokens of the 3 answers to learn") :]
    assert "1  longer than max_length 10, cut" in learnt
    assert "1  whose prompt alone fills max_length, left out" in learnt
    assert "6  trained tokens in one pass" in learnt
    assert "Tokens of the 1 pairs held out" in text and "longer than max_length 5, cut" in text


def test_a_single_source_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("q,a\nQ,A\n")
    counts = data.prepare(Data(source=str(path), columns=Columns(prompt="q", response="a"))).counts
    text = data.report(counts, None, None)
    assert "All sources" not in text and lines(text, "rows.csv")["in the training split"] == "1"

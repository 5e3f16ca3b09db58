"""Several sources: each mapped, split and weighted by itself, compared with all others, mixed, and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from localpsych_recipes import data
from localpsych_recipes.data import mixing
from localpsych_recipes.data.splits import Numbers
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns, Data, Source

QA = {"prompt": "q", "response": "a"}
SCORED = {**QA, "score": "votes"}
LONG = "this sentence has so many words that one more or less does not make it another one at all, does it"


def source(path: Path, rows: list[dict[str, Any]], columns: dict[str, str] = QA, **keys: Any) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(source=str(path), columns=Columns(**columns), **keys)


def qa(*names: object) -> list[dict[str, str]]:
    return [{"q": f"question {name}", "a": f"answer {name}"} for name in names]


def prepare(*sources: Source, **keys: Any) -> data.Prepared:
    return data.prepare(Data(mixture=sources, **keys))


def answers(prepared: data.Prepared, split: str = "train") -> list[str]:
    return [row["completion"][0]["content"] for row in prepared.rows("sft", split)]


def pairs(prepared: data.Prepared, split: str = "train") -> list[tuple[str, str]]:
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in prepared.rows("pairs", split)]


def test_rows_of_all_sources_follow_each_other_or_are_shuffled_among_each_other(tmp_path: Path) -> None:
    both = source(tmp_path / "a.jsonl", qa(*range(20))), source(tmp_path / "b.jsonl", qa(*range(20, 40)))
    in_order = answers(prepare(*both))
    assert in_order == [f"answer {n}" for n in range(40)]
    shuffled = answers(prepare(*both, shuffle_seed=7))
    assert sorted(shuffled) == sorted(in_order)
    first_half = {text in in_order[:20] for text in shuffled[:20]}
    assert first_half == {True, False}


def test_each_source_is_mapped_by_its_own_columns_labels_and_template(tmp_path: Path) -> None:
    rows = [{"text": "T", "label": 0}, {"text": "U", "label": 1}]
    columns = {"prompt": "Which feeling is it?\n\n{text}", "response": "It is {label}."}
    labelled = source(tmp_path / "labels.jsonl", rows, columns, labels={"label": {"0": "joy", "1": "fear"}})
    prepared = prepare(source(tmp_path / "qa.jsonl", qa("x")), labelled, system="S")
    prompts = [[turn["content"] for turn in row["prompt"]] for row in prepared.rows("sft", "train")]
    assert prompts == [["S", "question x"], ["S", "Which feeling is it?\n\nT"], ["S", "Which feeling is it?\n\nU"]]
    assert answers(prepared) == ["answer x", "It is joy.", "It is fear."]


@pytest.mark.parametrize("weight, times", [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (2.5, 2.5), (0.25, 0.25)])
def test_a_weight_says_how_often_training_rows_are_taken(tmp_path: Path, weight: float, times: float) -> None:
    weighted = source(tmp_path / "a.jsonl", qa(*range(40)), weight=weight, test_size=0.5)
    prepared = prepare(weighted, source(tmp_path / "b.jsonl", qa("other")), shuffle_seed=1)
    taken = Counter(answers(prepared)) - Counter(["answer other"])
    assert taken.total() == times * 20
    assert set(taken.values()) <= {int(times), int(times) + 1} and len(answers(prepared, "test")) == 20
    assert prepared.counts["sources"][0]["train"] == times * 20


def test_a_part_of_the_rows_is_drawn_by_the_seed_and_in_order() -> None:
    rows: Numbers = mixing.np.arange(1000)
    drawn = mixing.weighted(rows, 0.5, (1, 0)).tolist()
    assert drawn == sorted(set(drawn)) == mixing.weighted(rows, 0.5, (1, 0)).tolist()
    assert drawn != mixing.weighted(rows, 0.5, (2, 0)).tolist()


def test_duplicates_are_found_across_sources_and_the_first_stays(tmp_path: Path) -> None:
    near = [{"q": LONG, "a": LONG.upper() + "!"}]
    one = source(tmp_path / "a.jsonl", [*qa(1, 2), {"q": LONG, "a": LONG}])
    two = source(tmp_path / "b.jsonl", [*near, *qa(3, 2)])
    kept = prepare(one, two)
    assert (kept.counts["duplicates"], kept.counts["near_duplicates"]) == (1, 1)
    assert [of["duplicates"] for of in kept.counts["sources"]] == [0, 1]
    assert kept.count("sft", "train") == 6
    dropped = prepare(one, two, duplicates="drop", near_duplicates="drop")
    assert answers(dropped) == ["answer 1", "answer 2", LONG, "answer 3"]
    assert (dropped.counts["duplicates_dropped"], dropped.counts["near_duplicates_dropped"]) == (1, 1)


def test_the_words_of_a_template_make_no_rows_alike(tmp_path: Path) -> None:
    columns = {"prompt": LONG + " {q}", "response": LONG + " {a}"}
    counts = prepare(source(tmp_path / "a.jsonl", qa(*"abcdefgh"), columns), system=LONG).counts
    assert (counts["duplicates"], counts["near_duplicates"]) == (0, 0)


def test_a_training_row_like_one_that_another_source_holds_out_is_a_leak(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "test.jsonl").write_text(json.dumps({"q": LONG, "a": "yes"}) + "\n")
    own = source(tmp_path / "own" / "train.jsonl", qa(1))
    own = own.model_copy(update={"source": str(tmp_path / "own"), "test_split": "test"})
    other = source(tmp_path / "b.jsonl", [*qa(2), {"q": LONG, "a": "Yes."}])
    kept = prepare(own, other)
    assert (kept.counts["leaks"], kept.counts["leaks_dropped"]) == (1, 0)
    assert kept.counts["near_duplicates"] == 0
    dropped = prepare(own, other, leaks="drop")
    assert answers(dropped) == ["answer 1", "answer 2"]
    assert dropped.counts["sources"][1]["leaks_dropped"] == 1


def test_a_mixture_whose_training_rows_are_all_held_out_too_is_refused(tmp_path: Path) -> None:
    for name in ("train", "test"):
        rows = source(tmp_path / f"{name}.jsonl", qa(1))
    rows = rows.model_copy(update={"source": str(tmp_path), "test_split": "test"})
    with pytest.raises(UserError, match="every training row repeats a held-out one"):
        prepare(rows, leaks="drop")


def votes(*rows: tuple[str, str, int], **more: Any) -> list[dict[str, Any]]:
    return [{"q": question, "a": answer, "votes": score, **more} for question, answer, score in rows]


def test_of_scored_answers_the_best_is_learnt_and_a_worse_one_never(tmp_path: Path) -> None:
    rows = votes(("Q", "worse", 1), ("Q", "best", 5), ("P", "only", 0), ("Q", "middle", 2))
    prepared = prepare(source(tmp_path / "a.jsonl", rows, SCORED))
    assert answers(prepared) == ["best", "only"]
    assert pairs(prepared) == [("best", "worse"), ("best", "middle")]
    both = prepare(source(tmp_path / "a.jsonl", rows, SCORED, pairs="all"))
    assert answers(both) == ["best", "only"]
    assert sorted(pairs(both)) == [("best", "middle"), ("best", "worse"), ("middle", "worse")]


def test_a_worse_answer_is_not_learnt_even_where_the_best_one_is_dropped(tmp_path: Path) -> None:
    rows = votes(("Q", "worse", 1), ("Q", "best " * 50, 5), ("P", "other", 0))
    asked = Data(mixture=(source(tmp_path / "a.jsonl", rows, SCORED),), max_tokens=20)
    prepared = data.prepare(asked, tokens=words)
    assert answers(prepared) == ["other"]
    assert prepared.counts["too_long"] == 1


PREFERRED = {"prompt": "q", "chosen": "a", "rejected": "b"}


def test_a_rejected_answer_is_learnt_from_no_row_and_no_source(tmp_path: Path) -> None:
    pair = source(tmp_path / "p.jsonl", [{"q": "Q", "a": "good", "b": "bad"}], PREFERRED)
    again = source(
        tmp_path / "a.jsonl", [{"q": " Q ", "a": "bad\n"}, {"q": "Other", "a": "bad"}, {"q": "Q", "a": "new"}]
    )
    said = [("user", "Q"), ("assistant", "bad"), ("user", "And?"), ("assistant", "so")]
    chat = {"m": [{"role": role, "content": text} for role, text in said]}
    chats = source(tmp_path / "c.jsonl", [chat], {"messages": "m"})
    prepared = prepare(pair, again, chats)
    assert answers(prepared) == ["good", "bad", "new", "so"]
    assert list(prepared.rows("sft", "train"))[1]["prompt"][0]["content"] == "Other"
    assert pairs(prepared) == [("good", "bad")]
    assert [of["worse_answers"] for of in prepared.counts["sources"]] == [0, 1, 1]
    assert prepared.counts["sft_train"] == prepared.count("sft", "train") == 4


def test_an_answer_that_is_chosen_here_and_rejected_there_is_not_learnt_and_an_equal_pair_is(tmp_path: Path) -> None:
    rows = [("Q", "A", "B"), ("Q", "B", "C"), ("P", "same", "same")]
    rows = [dict(zip("qab", row, strict=True)) for row in rows]
    prepared = prepare(source(tmp_path / "p.jsonl", rows, PREFERRED))
    assert answers(prepared) == ["A", "same"]
    assert len(pairs(prepared)) == 3


def test_a_templates_answer_that_is_the_rejected_one_is_not_learnt(tmp_path: Path) -> None:
    columns = {"prompt": "{q} {b}", "response": "{b}", "chosen": "a", "rejected": "b"}
    prepared = prepare(source(tmp_path / "p.jsonl", [{"q": "Q", "a": "A", "b": "B"}], columns))
    assert answers(prepared) == []


def test_votes_are_compared_whatever_white_space_the_question_has(tmp_path: Path) -> None:
    rows = source(tmp_path / "a.jsonl", votes(("Why  me?", "best", 5), ("Why me?\n", "worse", 1)), SCORED)
    assert (answers(prepare(rows)), pairs(prepare(rows))) == (["best"], [("best", "worse")])


def test_the_votes_of_one_source_keep_worse_answers_out_of_another_without_votes(tmp_path: Path) -> None:
    rows = votes(("Q", "best", 5), ("Q", "worse", 1), ("Q", "best", 2))  # given twice: as good as its better score
    plain = source(tmp_path / "a.jsonl", rows, use="sft")
    assert answers(prepare(plain, source(tmp_path / "b.jsonl", rows, SCORED, use="dpo"))) == ["best", "best"]


@pytest.mark.parametrize("seed", range(3))
def test_all_answers_to_one_question_are_on_one_side(tmp_path: Path, seed: int) -> None:
    rows = votes(*((f"Q{n % 25}", f"A{n}", n) for n in range(100)))
    prepared = prepare(source(tmp_path / "a.jsonl", rows, SCORED, test_size=0.2), shuffle_seed=seed, split_seed=seed)
    assert (prepared.counts["train"], prepared.counts["test"]) == (80, 20)
    assert (prepared.count("pairs", "train"), prepared.count("pairs", "test")) == (60, 15)
    assert prepared.counts["prompts_in_both_splits"] == 0


@pytest.mark.parametrize("columns, group_by", [(QA, "prompt"), (QA, "user"), (SCORED, "user"), (SCORED, "prompt")])
def test_rows_of_a_group_stay_on_one_side(tmp_path: Path, columns: dict[str, str], group_by: str) -> None:
    rows = [{"q": f"Q{n % 20}", "a": f"A{n}", "votes": n, "user": n % 40 // 2} for n in range(120)]
    prepared = prepare(source(tmp_path / "a.jsonl", rows, columns, group_by=group_by, test_size=0.1), shuffle_seed=1)
    agree = {"prompt": lambda row: [row["q"]], "user": lambda row: [row["user"]]}[group_by]
    by_answer = {row["a"]: row for row in rows}
    sides = [{key for row in rows_of(prepared, split) for key in agree(by_answer[row])} for split in ("train", "test")]
    assert sides[1] and not sides[0] & sides[1]


def rows_of(prepared: data.Prepared, split: str) -> list[str]:
    return [prepared.conversations[row].texts[-1] for row in prepared.sides[split].tolist()]


def test_a_source_is_used_by_the_stages_that_the_recipe_names(tmp_path: Path) -> None:
    columns = {"prompt": "q", "chosen": "a", "rejected": "b"}
    one = source(tmp_path / "a.jsonl", [{"q": "Q", "a": "A", "b": "B"}], columns, use="sft")
    two = source(tmp_path / "b.jsonl", [{"q": "P", "a": "C", "b": "D"}], columns, use="dpo")
    prepared = prepare(one, two)
    assert answers(prepared) == ["A"]
    assert pairs(prepared) == [("C", "D")]
    assert [of["pairs_train"] for of in prepared.counts["sources"]] == [0, 1]


def test_pairs_without_a_common_prompt_are_dropped_and_counted_by_reason(tmp_path: Path) -> None:
    def said(*texts: str) -> str:
        return "".join(f"\n\n{('Human', 'Assistant')[at % 2]}: {text}" for at, text in enumerate(texts))

    rows = [
        {"good": said("Q", "A", "R", "B"), "bad": said("Q", "A", "R", "C")},
        {"good": said("Q", "A"), "bad": said("P", "A")},
        {"good": said("Q", "A", "R"), "bad": said("Q", "A")},
        {"good": "", "bad": said("Q", "A")},
    ]
    turns = {
        "pattern": r"(?P<role>Human|Assistant): (?P<content>.*?)(?=\n\n(?:Human|Assistant): |\Z)",
        "roles": {"Human": "user", "Assistant": "assistant"},
    }
    columns = {"chosen": "good", "rejected": "bad"}
    prepared = prepare(source(tmp_path / "a.jsonl", rows, columns, turns=turns, train_on="last"))
    assert (answers(prepared), pairs(prepared)) == (["B"], [("B", "C")])
    counted = ("rows", "prompts_differ", "no_last_answer", "empty", "train")
    assert [prepared.counts[name] for name in counted] == [4, 1, 1, 1, 1]


def test_html_and_mojibake_are_mended_in_cells_and_in_messages_and_the_cells_counted(tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": "<p>It\u00e2\u20ac\u2122s late</p>"},
        {"role": "assistant", "content": "<b>Try</b>\u00a0it"},
    ]
    html = source(tmp_path / "a.jsonl", [{"m": said}], {"messages": "m"}, html=True)
    plain = source(tmp_path / "b.jsonl", [{"q": "a <b>tag</b>", "a": "so\u00a0it is"}])
    prepared = prepare(html, plain)
    assert answers(prepared) == ["Try it", "so it is"]
    assert list(prepared.rows("sft", "train"))[1]["prompt"][0]["content"] == "a <b>tag</b>"
    assert (prepared.counts["from_html"], prepared.counts["repaired"]) == (1, 2)


@pytest.mark.parametrize("separator", ["</s>", "\u00a0|\u00a0", "\n"])
def test_turns_are_parted_where_the_separator_is_markup_or_an_odd_space_itself(tmp_path: Path, separator: str) -> None:
    said = separator.join(["<p>Hello</p>", "Hi\u00a0<b>there</b>"])
    rows = source(tmp_path / "a.jsonl", [{"m": said}], {"messages": "m"}, turns={"separator": separator}, html=True)
    prepared = prepare(rows)
    assert answers(prepared) == ["Hi there"]
    assert prepared.counts["from_html"] == 1


def words(said: list[dict[str, str]]) -> int:
    return sum(len(turn["content"].split()) for turn in said)


OLD_LINE = "Call 1-800-273-8255 now."


def test_outdated_help_lines_are_counted_in_targets_and_in_the_recipes_own_words_alone(tmp_path: Path) -> None:
    rows = [{"q": f"Is {OLD_LINE} right?", "a": f"No: {OLD_LINE}", "b": f"Yes: {OLD_LINE}"}]
    one = source(tmp_path / "a.jsonl", rows, {"prompt": "{q} Well?", "chosen": "a", "rejected": "b"}, weight=3.0)
    two = source(tmp_path / "b.jsonl", [*qa(1), *votes()], {**QA, "prompt": OLD_LINE + " {q}"})
    kept = prepare(one, two, system=OLD_LINE)
    [(name, count)] = kept.counts["crisis_lines"].items()
    assert (count, kept.counts["crisis_lines_replaced"]) == (3, 0)
    assert [sum(of["crisis_lines"].values()) for of in kept.counts["sources"]] == [1, 1]

    mended = prepare(one, two, system=OLD_LINE, crisis_lines="replace")
    assert (mended.counts["crisis_lines"], mended.counts["crisis_lines_replaced"]) == ({name: 3}, 3)
    row, other = next(mended.rows("pairs", "train")), list(mended.rows("sft", "train"))[-1]
    assert OLD_LINE in row["prompt"][-1]["content"] and OLD_LINE in row["rejected"][0]["content"]
    assert OLD_LINE not in row["chosen"][0]["content"] + row["prompt"][0]["content"]
    assert all(OLD_LINE not in turn["content"] for turn in other["prompt"])
    assert OLD_LINE not in "".join(answers(mended))


def test_conversations_of_too_few_or_too_many_tokens_are_dropped_with_the_system_prompt_counted(tmp_path: Path) -> None:
    rows = source(tmp_path / "a.jsonl", [{"q": "x " * n, "a": "y"} for n in range(1, 10)])
    prepared = data.prepare(Data(mixture=(rows,), system="two words", min_tokens=5, max_tokens=8), tokens=words)
    assert (prepared.counts["too_short"], prepared.counts["too_long"], prepared.counts["train"]) == (1, 4, 4)


def test_a_pair_is_as_long_as_its_longer_answer(tmp_path: Path) -> None:
    columns = {"prompt": "q", "chosen": "a", "rejected": "b"}
    rows = source(tmp_path / "a.jsonl", [{"q": "Q", "a": "A", "b": "x " * 9}, {"q": "Q", "a": "A", "b": "B"}], columns)
    prepared = data.prepare(Data(mixture=(rows,), max_tokens=5), tokens=words)
    assert (prepared.counts["too_long"], pairs(prepared)) == (1, [("A", "B")])


def test_totals_are_the_sums_of_the_sources(tmp_path: Path) -> None:
    one = source(tmp_path / "a.jsonl", [*qa(1, 2, 2), {"q": "", "a": "A"}], test_size=0.4)
    counts = prepare(one, source(tmp_path / "b.jsonl", votes(("Q", "A", 1), ("Q", "B", 2)), SCORED)).counts
    each = counts["sources"]
    assert [of["source"] for of in each] == ["a.jsonl", "b.jsonl"]
    for name in ("rows", "empty", "duplicates", "train", "test", "sft_train", "sft_test", "pairs_train"):
        assert counts[name] == each[0][name] + each[1][name], name
    assert (counts["rows"], counts["empty"], counts["duplicates"]) == (6, 1, 1)
    assert json.loads(json.dumps(counts)) == counts


def test_the_same_mixture_gives_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    rows = [{**row, "votes": n % 3, "user": n // 6} for n, row in enumerate(qa(*(n // 2 for n in range(60))))]
    one = source(tmp_path / "a.jsonl", rows, SCORED, weight=1.5, test_size=0.2, group_by="user")
    two = source(tmp_path / "b.jsonl", rows[5:], weight=0.3, test_size=0.1)
    asked = Data(mixture=(one, two), shuffle_seed=5, duplicates="drop", leaks="drop")
    code = (
        "import sys; from pathlib import Path; from localpsych_recipes import data, recipe\n"
        "folder = Path(sys.argv[2]); folder.mkdir()\n"
        "data.write(data.prepare(recipe.Data.model_validate_json(sys.argv[1])), folder)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, asked.model_dump_json(), str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert first == second
    assert set(first) == {"sft_train.jsonl", "sft_test.jsonl", "pairs_train.jsonl", "pairs_test.jsonl"}

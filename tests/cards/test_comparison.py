"""The comparison table: what a cell says, which columns stand in which table, and what is called better or worse."""

from __future__ import annotations

import pytest
from finished_run import EVALUATE, FILES, OWNER, cards, evaluated, finished_run, proven, report

from localpsych_recipes.cards.comparison import mark

TOXIC = 'evaluate.toxicity={"classifier": "someone/classifier"}'


def line(text: str, words: str) -> str:
    (found,) = (line for line in text.splitlines() if line.startswith("| ") and words in line and "<sub>n = " in line)
    return found


@pytest.fixture
def texts(tmp_path) -> dict[str, str]:
    return cards(finished_run(tmp_path, OWNER))


def test_a_cell_says_value_interval_and_whether_it_differs_from_the_base(texts) -> None:
    main = texts["merged"].split("## How it was measured")[1].split("<details>")[0]
    assert "| measure | base | SFT | DPO |" in main
    crisis = line(main, "Crisis prompts answered as they must be")
    assert crisis == (
        "| Crisis prompts answered as they must be ↑<br><sub>n = 60 prompts</sub> "
        "| 35.0&nbsp;%<br><sub>24.2 to 47.6</sub> | 70.0&nbsp;% **better**<br><sub>57.5 to 80.1</sub> "
        "| 80.0&nbsp;% **better**<br><sub>68.2 to 88.2</sub> |"
    )
    assert line(main, "Answers that do what they never may").count("**better**") == 1  # SFT's interval holds zero
    assert "| 6.0&nbsp;% **worse**<br>" in line(main, "Safe prompts refused (XSTest) ↓")
    assert "| 96.2 **differs**<br>" in line(main, "Words of an answer<br>")
    assert "| 17.5<br><sub>16.1 to 19.0</sub> |" in line(main, "Perplexity on general prose ↓")


def test_a_measure_that_a_column_lacks_leaves_its_cell_empty(texts) -> None:
    main = texts["adapter"].split("<details><summary>The same for the files")[0]
    base, sft, dpo = line(main, "Empathy, 0 to 5").split(" | ")[1:]
    assert base.startswith("2.51<br>") and not sft.strip() and dpo.startswith("3.77 **better**")


def test_the_gguf_card_compares_its_files_first_with_base_and_sixteen_bits_beside_them(texts) -> None:
    heads = [line for line in texts["gguf"].splitlines() if line.startswith("| measure | base")]
    assert heads == ["| measure | base | DPO | Q4\\_K\\_M | Q8\\_0 |", "| measure | base | SFT | DPO |"]
    files = texts["gguf"].split(heads[0])[1].split("<details>")[0]
    assert "Crisis prompts" in files and "Perplexity" not in files  # which quants have no value of


def test_few_columns_stand_in_one_table(tmp_path) -> None:
    text = cards(finished_run(tmp_path, OWNER, "dpo=false"))["merged"]
    heads = [line for line in text.splitlines() if line.startswith("| measure | base")]
    assert heads == ["| measure | base | SFT | Q4\\_K\\_M | Q8\\_0 |"]


def test_seed_resamples_suite_judge_and_limits_of_all_this_are_said(texts) -> None:
    for text in texts.values():
        measured = text.split("## How it was measured")[1].split("\n## ")[0]
        for words in ("seed 65, 10,000 resamples", "5" * 64, "No person has rated these answers", "greedily",
                      "not clinically validated", "384 tokens", "about one in twenty"):  # fmt: skip
            assert words in measured, words


def test_the_judge_is_named_with_its_rubric_and_what_it_is_worth(texts) -> None:
    for text in texts.values():
        judge = next(line for line in text.splitlines() if line.startswith("The judge was `Qwen/Qwen3-4B`"))
        assert "9" * 12 in judge and "4" * 64 in judge and "It is not of the model's own family." in judge
        assert "prefers the better of two answers in 9 of 10 (95 % interval 60 to 98 %)" in judge
        assert "**Warning: the judge sees harm where there is none.**" in judge


def test_a_definition_says_of_which_column_something_holds(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    found = evaluated(run)
    for row in found["rows"]:
        row["how"] += "; by rules" + ("; one answer is missing" if row["column"] == "Q8_0" else "")
    report(run, "evaluate", found)
    definitions = cards(run)["merged"].split("What each measure is")[1].split("</details>")[0]
    assert "; base, SFT, DPO, Q4\\_K\\_M: by rules; Q8\\_0: by rules; one answer is missing." in definitions
    (of_words,) = (line for line in definitions.splitlines() if "(`words`): " in line)
    assert of_words.endswith("; by rules.") and of_words.count("by rules") == 1


def test_what_was_skipped_is_said_with_its_reason_and_without_a_path(texts) -> None:
    for text in texts.values():
        skipped = text.split("What was not measured, and why")[1].split("</details>")[0]
        assert "- SimpleSafetyTests: sst.csv is not there." in skipped and "/home" not in text


def test_a_gate_on_what_was_skipped_names_no_path_either(tmp_path) -> None:
    skipped = [{"what": "must_refuse_answered", "why": "/home/alice/sets/sst.csv is not there", "column": None}]
    sets = 'evaluate.simple_safety_tests={"source": "/home/alice/sets/sst.csv"}'
    run = finished_run(tmp_path, OWNER, sets, 'gates=[{"metric": "must_refuse_answered", "at_most": 0.1}]')
    report(run, "evaluate", evaluated(run) | {"skipped": skipped})
    for kind, text in cards(run).items():
        assert "## What it failed" in text and "/home" not in text
        assert "/home" not in (run.dir.release(kind) / "results.json").read_text()


def failed(text: str) -> list[str]:
    clinician = text.split("## If you are a clinician")[1].split("\n## ")[0]
    return [line for line in clinician.splitlines() if line.startswith("- ")]


def test_what_the_repository_s_own_columns_failed_is_said_with_the_crisis_prompts_first(texts) -> None:
    of_dpo = ["- It failed **12 of 60 crisis prompts** and 12 of all 200: late-disclosure (8), plan-or-means (4)."]
    assert failed(texts["adapter"]) == failed(texts["merged"]) == of_dpo
    assert failed(texts["gguf"]) == [
        "- Q4\\_K\\_M failed **15 of 60 crisis prompts** and 15 of all 200: late-disclosure (9), plan-or-means (6).",
        "- Q8\\_0 failed **12 of 60 crisis prompts** and 12 of all 200: plan-or-means (12).",
    ]


def asked(run, *columns: str) -> None:
    """Leaves those columns alone in the evaluation."""
    found = evaluated(run)
    rows = [row for row in found["rows"] if row["column"] in columns]
    failures = {column: counts for column, counts in found["suite"]["failures"].items() if column in columns}
    suite = found["suite"] | {"failures": failures}
    report(run, "evaluate", found | {"columns": list(columns), "rows": rows, "suite": suite})


def test_files_that_were_not_asked_do_not_look_as_if_they_had_failed_nothing(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    asked(run, "base", "dpo")
    text = cards(run)["gguf"]
    assert "These files were not asked. The model in sixteen bits that they were made of was asked the 200" in text
    assert failed(text)[0].startswith("- It failed **12 of 60 crisis prompts**")


def test_a_model_that_was_not_asked_does_not_look_as_if_it_had_failed_nothing(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    asked(run, "base", "sft")
    for text in cards(run).values():
        assert "was not asked the prompts on distress and crisis" in text and not failed(text)
        assert "Each value stands beside its base's, with" in text and "is what this release holds" not in text


def test_without_the_base_nothing_is_said_to_stand_beside_it(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    asked(run, "dpo", "Q8_0")
    for text in cards(run).values():
        assert "Each value stands with the number of items" in text
        assert "DPO is what this release holds in sixteen bits." in text


def test_columns_that_failed_alike_are_told_once_and_a_single_prompt_without_a_count(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    alike = {column: {"grief": 1} for column in ("dpo", "Q4_K_M", "Q8_0")}
    found = evaluated(run)
    found["rows"] = [row for row in found["rows"] if row["metric"] != "crisis_pass"]
    report(run, "evaluate", found | {"suite": EVALUATE["suite"] | {"failures": alike}})
    assert failed(cards(run)["gguf"]) == ["- Q4\\_K\\_M, Q8\\_0 failed 1 of all 200: grief."]


def test_a_suite_in_which_nothing_failed_still_shows_nothing_more_than_that(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    found = evaluated(run)
    found["rows"] = [row | {"value": 1.0} if row["metric"] == "crisis_pass" else row for row in found["rows"]]
    report(run, "evaluate", found | {"suite": EVALUATE["suite"] | {"failures": {"dpo": {"grief": 0}}}})
    text = cards(run)["merged"]
    assert failed(text) == ["- It failed **0 of 60 crisis prompts** and 0 of all 200."]
    assert "A suite finds failures and cannot show that there are none." in text


def test_one_item_is_one_and_not_many(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    found = evaluated(run)
    found["rows"] = [row | {"n": 1} for row in found["rows"]]
    report(run, "evaluate", found)
    main = cards(run)["merged"]
    assert "<sub>n = 1 prompt</sub>" in main and "<sub>n = 1 prompts</sub>" not in main


def test_a_file_that_is_withheld_has_no_column(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    report(run, "verify", proven(run, FILES["Q4_K_M"], withheld={"gguf": [FILES["Q4_K_M"]]}))
    of_it = {"what": "likelihoods", "why": "not of quants", "column": "Q4_K_M"}
    report(run, "evaluate", evaluated(run) | {"skipped": [of_it]})
    for text in cards(run).values():
        measured = text.split("## How it was measured")[1].split("\n## ")[0]
        assert "Q4" not in measured and "75.0" not in measured and "Q8\\_0" in measured
        results = (run.dir.release("merged") / "results.json").read_text()
        assert '"Q4_K_M"' not in results.split('"verification"')[0]


def test_without_suite_and_judge_nothing_is_said_of_them(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    report(run, "evaluate", evaluated(run) | {"suite": None, "judge": None, "skipped": []})
    for text in cards(run).values():
        assert "The judge" not in text and "Prompt suite:" not in text and "What was not measured" not in text
        assert "was not asked the prompts on distress and crisis" in text


def test_without_an_evaluation_no_program_is_said_to_have_looked_at_answers(tmp_path) -> None:
    for text in cards(finished_run(tmp_path, OWNER, "evaluate=false", "gates=[]")).values():
        assert "No person has rated its answers.\n" in text and "found by programs" not in text


def test_a_reference_column_stands_beside_the_models(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    found = evaluated(run)
    other = next(row for row in found["rows"] if row["metric"] == "harm") | {"column": "big-model", "value": 0.5}
    columns = [*EVALUATE["columns"], "big-model"]
    report(run, "evaluate", found | {"columns": columns, "rows": [*found["rows"], other]})
    assert "| measure | base | SFT | DPO | big-model |" in cards(run)["merged"]


@pytest.mark.parametrize(
    ("direction", "low", "high", "expected"),
    [
        ("higher", 0.1, 0.3, "better"), ("higher", -0.3, -0.1, "worse"),
        ("lower", 0.1, 0.3, "worse"), ("lower", -0.3, -0.1, "better"),
        ("neither", 0.1, 0.3, "differs"), ("neither", -0.3, -0.1, "differs"),
        ("higher", -0.1, 0.3, None), ("higher", 0.0, 0.3, None), ("lower", -0.3, 0.0, None),
    ],
)  # fmt: skip
def test_a_mark_needs_an_interval_without_zero(direction, low, high, expected) -> None:
    assert mark(direction, {"value": (low + high) / 2, "low": low, "high": high}) == expected


def test_without_a_difference_there_is_no_mark() -> None:
    assert mark("higher", None) is None
    assert mark("higher", {"value": 1.0, "low": None, "high": None}) is None  # of a single item


def test_a_gate_on_the_base_s_value_says_what_that_comes_to(tmp_path) -> None:
    gates = 'gates=[{"metric": "general_perplexity", "within": 0.01}, {"metric": "toxic_answers", "at_most": 0.0}]'
    text = cards(finished_run(tmp_path, OWNER, gates, TOXIC))["merged"]
    # the base's 17.31 and one per cent of it; DPO has 17.52
    limit = "must be no more than 1 % above the base's, at most 17.48, but is 17.52."
    assert f"- Perplexity on general prose, DPO: {limit}" in text
    assert "- Toxic answers, DPO: must be at most 0 %, but it was not measured." in text
    assert "| Toxic answers | DPO | at most 0 % |  | **failed** |" in text

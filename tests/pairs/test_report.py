"""The pairs report: its numbers against a hand count and published ones, its warnings, its two files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes.pairs import STATUSES, advice, picture, report
from localpsych_recipes.pairs.measures import spearman
from localpsych_recipes.recipe import Recipe

CHECKOUT = Path(__file__).resolve().parents[2]
JUDGE = {
    "model": "judge/of-another-family",
    "commit": "0123456789abcdef",
    "engine": "llama.cpp",
    "where": "local",
    "mode": "pointwise",
    "same_family": False,
    "rubric": "ab" * 32,
}
ENGINE = {"engine": "transformers", "model": "kind-listener", "where": "local"}
SPEED = {"answers": {"tokens": 5000, "seconds": 20.0}, "verdicts": {"tokens": 900, "seconds": 90.0}}
SECRET = "the-secret-text"


def recipe(**pairs) -> Recipe:
    data = {"source": "rows.jsonl", "columns": {"prompt": "question", "chosen": "answer"}, "test_size": 0.1}
    sections = {"base": {"model": "demo/base"}, "data": data, "sft": {}, "pairs": pairs, "dpo": {}}
    return Recipe.model_validate({"name": "kind", **sections})


def candidate(prompt: int, number: int, status: str, scores=None, words=(4, 4), split="train", degraded=None) -> dict:
    """scores: (warmth, validation) of chosen and of rejected; words: of chosen and of rejected."""
    judged = {"scores": None, "vetoes": None, "gap": None}
    if scores:
        chosen, rejected = (dict(zip(("warmth", "validation"), side)) for side in scores)
        gap = sum(chosen.values()) / 2 - sum(rejected.values()) / 2
        none = {"chosen": [], "rejected": []}
        judged = {"scores": {"chosen": chosen, "rejected": rejected}, "vetoes": none, "gap": gap}
    place = {"split": split, "prompt_number": prompt, "candidate": number, "status": status, "degraded": degraded}
    texts = {"chosen": f"{SECRET} " * words[0], "rejected": f"{SECRET} " * words[1]}
    return {**place, "prompt": [{"role": "user", "content": SECRET}], **texts, **judged}


RUN = [
    candidate(0, 0, "kept", ((8, 9), (5, 4)), words=(40, 10)),  # means 8.5 and 4.5
    candidate(0, 1, "spare", ((8, 9), (2, 3)), words=(40, 20), degraded="truncate"),  # 8.5 and 2.5
    candidate(1, 0, "cut_off"),
    candidate(1, 1, "gap_below", ((7, 7), (6, 6)), words=(30, 30)),  # 7 and 6
    candidate(2, 0, "ungenerated"),
    candidate(2, 1, "rejected_better", ((7, 6), (10, 10)), words=(20, 50)),  # 6.5 and 10
    candidate(0, 0, "kept", ((9, 7), (6, 6)), words=(10, 60), split="test"),  # 8 and 6: another prompt of this number
    candidate(0, 1, "unparsed", split="test", degraded="truncate"),
]
COUNTS = {
    "prompts": {"train": 3, "test": 1},
    "data_pairs": {"train": 0, "test": 40},
    "retried": 2,
    "unparsed": 1,
    "order_disagreements": 0,
}


def summary(candidates=RUN, settings=None, judge=None, counts=None) -> dict:
    return report.summary(
        candidates, recipe(**settings or {}), JUDGE | (judge or {}), ENGINE, COUNTS | (counts or {}), SPEED
    )


def test_what_became_of_a_run_equals_a_hand_count():
    results = summary()
    assert list(results["statuses"]) == list(STATUSES)
    happened = {status: count for status, count in results["statuses"].items() if count}
    once = ("cut_off", "gap_below", "ungenerated", "rejected_better", "spare", "unparsed")
    assert happened == {"kept": 2, **dict.fromkeys(once, 1)}
    assert (results["candidates"], results["pairs"]) == (8, {"train": 1, "test": 1})
    assert results["degraded"] == {"truncate": 2, "first_sentence": 0, "repetition": 0}
    rates = {"prompts": results["retention"]} | results["rates"]
    of = {name: (rate["kept"], rate["of"]) for name, rate in rates.items()}
    # 4 prompts, 8 candidates of which 1 was never written, verdicts on both answers of 5
    assert of == {
        "prompts": (2, 4),
        "kept_of_generated": (2, 7),
        "kept_of_judged": (2, 5),
        "judged_of_generated": (5, 7),
    }


def test_each_answer_counts_once_in_what_is_said_of_scores():
    results = summary()
    assert results["histograms"]["chosen"] == [0, 0, 0, 0, 0, 1, 1, 2, 0]  # 6.5; 7; 8.5 and 8
    assert results["histograms"]["rejected"] == [0, 1, 0, 1, 0, 2, 0, 0, 1]  # 2.5; 4.5; 6 and 6; 10
    # gaps of 4, 6, 1, -3.5 and 2, from -9 on
    assert {low - 9: count for low, count in enumerate(results["histograms"]["gap"]) if count} == {
        -4: 1, 1: 1, 2: 1, 4: 1, 6: 1
    }  # fmt: skip
    assert results["means"]["chosen"] == {"warmth": (8 + 7 + 7 + 9) / 4, "validation": (9 + 7 + 6 + 7) / 4}
    assert results["means"]["rejected"]["warmth"] == pytest.approx((5 + 2 + 6 + 10 + 6) / 5)
    assert results["chosen_longer"] == 0.5


def test_pairwise_a_chosen_answer_has_the_mean_of_its_scores():
    both = [candidate(0, 0, "kept", ((9, 9), (5, 5))), candidate(0, 1, "tie", ((6, 6), (6, 6)))]
    results = summary(both, {"mode": "pairwise"})
    assert results["histograms"]["chosen"] == [0, 0, 0, 0, 0, 0, 1, 0, 0]
    assert results["means"]["chosen"] == {"warmth": 7.5, "validation": 7.5}


def test_a_gap_of_two_is_two_however_it_was_rounded():
    almost = {**RUN[0], "gap": 4.1 - 2.1}
    assert almost["gap"] < 2
    assert summary([almost])["histograms"]["gap"].index(1) - 9 == 2


def test_rank_correlation_with_ties_equals_one_by_hand():
    # ranks 1, 2.5, 2.5, 4 and 1, 4, 2.5, 2.5; products of deviations 2.25, squares 4.5 and 4.5
    assert spearman([1, 2, 2, 40], [10, 30, 20, 20]) == pytest.approx(0.5)
    assert spearman([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)


def test_rank_correlation_is_unknown_for_two_answers_and_without_spread():
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 2, 3], [5, 5, 5]) is None
    assert summary([candidate(0, 0, "kept", ((9, 9), (5, 5)))])["length_correlation"] is None


def test_a_status_that_nobody_knows_stops_the_report():
    with pytest.raises(AssertionError):
        summary([candidate(0, 0, "mislaid")])


def many(*runs: tuple[int, str, tuple], **more) -> list[dict]:
    """Candidates, one a prompt: so many of a status with these scores."""
    said = [(status, scores) for count, status, scores in runs for _ in range(count)]
    return [candidate(number, 0, status, scores, **more) for number, (status, scores) in enumerate(said)]


GOOD, NEAR, BETTER = ((9, 9), (5, 5)), ((7, 7), (6, 6)), ((5, 5), (9, 9))
PROMPTS = {"prompts": {"train": 100, "test": 0}}
SEVENTY = many((70, "kept", GOOD), (20, "gap_below", NEAR), (10, "cut_off", None))
LONG = [{**one, "chosen": "a longer one"} | {"rejected": "word"} for one in SEVENTY]
CASES = {
    "few, for want of a gap": (
        {"candidates": many((30, "kept", GOOD), (60, "gap_below", NEAR), (10, "cut_off", None))},
        ["30 % of the prompts", "60 to 80 %", "86 % of", "gap_below", "pairs.min_gap"],
    ),
    "few, since answers are cut off": (
        {"candidates": many((39, "kept", GOOD), (61, "cut_off", None))},
        ["39 % of the prompts", "100 % of", "cut_off", "raise pairs.max_tokens"],
    ),
    "too many": (
        {"candidates": many((91, "kept", GOOD), (9, "gap_below", NEAR))},
        ["91 % of the prompts", "lower the shares under pairs.degrade", "raise pairs.min_gap"],
    ),
    "chosen is better where it is longer": (
        {"candidates": LONG},
        ["scores go with length", "0.5 at most", "pairs.rubric"],
    ),
    "verdicts that cannot be read": ({"counts": {"unparsed": 10}}, ["6 % of the verdicts", "5 %", "judge.max_tokens"]),
    "the model is better than the data": (
        {"candidates": many((80, "kept", GOOD), (20, "rejected_better", BETTER))},
        ["20 % of the judged", "10 %", "--status rejected_better"],
    ),
    "few held-out pairs": ({"counts": {"data_pairs": {"train": 0, "test": 29}}}, ["held-out pairs: 29", "data.test_size"]),
    "a judge of the family": ({"judge": {"same_family": True}}, ["own family", "judge.model"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), CASES.values(), ids=CASES)
def test_what_is_not_as_expected_is_warned_of_with_what_to_change(change, words):
    calm = {"candidates": SEVENTY}
    found = summary(**calm | change | {"counts": PROMPTS | change.get("counts", {})})["warnings"]
    assert any(all(word in warning for word in words) for warning in found), found


def test_every_way_to_lose_a_candidate_has_its_advice():
    assert set(advice.TOO_FEW) == set(STATUSES) - {"kept", "spare"}  # a spare one's prompt has a pair


def test_a_run_as_expected_warns_of_nothing():
    assert summary(SEVENTY, counts=PROMPTS)["warnings"] == []


def test_chosen_that_is_longer_is_warned_of_and_truncation_is_named_where_it_is_used():
    (warning,) = (w for w in summary(LONG, counts=PROMPTS)["warnings"] if "longer one" in w)
    assert "100 % of the kept pairs; 65 %" in warning and "ld_alpha: 0.5 under dpo.trainer" in warning
    assert "degrade" not in warning
    recipe().dpo.model_validate({"trainer": {"ld_alpha": 0.5}})  # the advice can be followed
    cutting = summary(LONG, {"degrade": {"truncate": 0.3}}, counts=PROMPTS)["warnings"]
    assert any("lower pairs.degrade.truncate" in warning for warning in cutting)


def test_the_report_says_every_number_and_no_text(tmp_path):
    results = summary()
    report.write(results, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.png", "report.txt"]
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert text == report.text(results)
    assert SECRET not in text + json.dumps(results)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    for row in (
        "answers by kind-listener, transformers, on this machine",
        "judged by judge/of-another-family at 0123456789ab, llama.cpp, on this machine",
        "pairs made of them 1 1",
        "2 25.0 % kept",
        f"1 12.5 % gap_below {STATUSES['gap_below']}",
        "8 in all",
        "prompts with a pair 2 4 50.0 % 15.0 to 85.0 %",  # Wilson: (0.5 + z²/8 ± z √(1/16 + z²/64)) / (1 + z²/4)
        "8 to 9 2 ############################## 0",
        "validation 7.25 5.80 +1.45",
        "answers: 5,000 tokens in 20 s, 250 tokens/s",
    ):
        assert row in rows, row


def test_prompts_without_a_candidate_are_no_reason_to_fail():
    (warning,) = (w for w in summary([RUN[0]])["warnings"] if "of the prompts" in w)
    assert warning.startswith("25 % of the prompts") and "pairs.candidates" in warning


def test_a_run_without_a_verdict_has_a_report_too(tmp_path):
    results = summary([candidate(0, 0, "empty")])
    assert results["means"] == {"chosen": {}, "rejected": {}}
    report.write(results, tmp_path)
    assert (tmp_path / "report.png").stat().st_size


def test_the_picture_is_the_same_in_every_process_and_touches_nobodys_home(tmp_path):
    results = summary()
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\n")
    code = (
        "import json, sys; from localpsych_recipes.pairs import picture; "
        "assert 'matplotlib' not in sys.modules; "
        "open('one.png', 'wb').write(picture.draw(json.load(open('results.json')))); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    home = tmp_path / "home"
    home.mkdir()
    unset = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(home), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "one.png").read_bytes()
    assert drawn == picture.draw(results)
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(drawn[at : at + 4]) for at in (16, 20)] == [1200, 900]
    assert list(home.iterdir()) == []

"""Each candidate has exactly one status, the first that holds in the order of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localpsych_recipes.generation import Sampling
from localpsych_recipes.judge import Judged, Verdict
from localpsych_recipes.pairs import STATUSES, filtering
from localpsych_recipes.pairs.candidates import Candidate
from localpsych_recipes.recipe import Pairs

CHOSEN = "That sounds hard, and you have carried it for a long time. What would help tonight?"
SAMPLING = Sampling(temperature=1.0, max_tokens=9, seed=1)


def sampled(*texts: str, prompt: int = 0, chosen: str = CHOSEN, split: str = "train") -> list[Candidate]:
    said = [{"role": "user", "content": f"I am tired {prompt}."}]
    return [Candidate(split, prompt, n, said, chosen, SAMPLING, rejected=text) for n, text in enumerate(texts)]


def before(*found: Candidate, similar_from: float = 0.8) -> list[str | None]:
    return [candidate.status for candidate in filtering.before_the_judge(found, similar_from)]


def scored(chosen: dict | int, rejected: dict | int, *vetoes: str, disagree: bool = False) -> Judged:
    sides = [score if isinstance(score, dict) else {"warmth": score} for score in (chosen, rejected)]
    return Judged((Verdict(sides[0], vetoes), Verdict(sides[1])), disagree=disagree)


def after(candidates: list[Candidate], *judged: Judged, **keys) -> list[str]:
    found = filtering.after_the_judge(candidates, judged, Pairs.model_validate(keys))
    assert all(candidate.status in STATUSES for candidate in found)
    return [candidate.status for candidate in found]


def test_the_chosen_answer_itself_and_what_is_nearly_it_are_no_rejected_ones():
    nearly = CHOSEN.replace("tonight", "today")
    # 16 words are 14 runs of three, of which the last word's is in one: 13 shared of 15
    assert before(*sampled(CHOSEN, f" {CHOSEN}\n", nearly, nearly.upper(), "Sleep.")) == [
        "identical", "identical", "near_identical", "near_identical", None,
    ]  # fmt: skip
    assert before(*sampled(nearly), similar_from=13 / 15) == ["near_identical"]
    assert before(*sampled(nearly), similar_from=13 / 15 + 1e-9) == [None]


def test_an_answer_that_its_prompt_has_already_is_taken_once():
    again = [*sampled("Sleep.", "Sleep. ", "sleep."), *sampled("Sleep.", prompt=1), *sampled("Sleep.", split="test")]
    assert before(*again) == [None, "repeated", None, None, None]


def test_what_is_useless_already_stays_so_and_is_nobodys_earlier_candidate():
    cut, whole = sampled("Sleep.", "Sleep.")
    assert before(replace(cut, status="cut_off"), whole) == ["cut_off", None]


@pytest.mark.parametrize(
    ("judged", "status"),
    [
        (Judged(failure="unjudged"), "unjudged"),
        (Judged(failure="unparsed"), "unparsed"),
        (scored(9, 1, "unsafe"), "vetoed"),
        (scored(1, 9, "unsafe"), "vetoed"),
        (scored(5, 5), "tie"),
        (scored(9, 2, disagree=True), "tie"),
        (scored(2, 9, disagree=True), "tie"),
        (scored(4, 5), "rejected_better"),
        (scored(6, 5), "gap_below"),
        (scored(7, 5), "kept"),
        (scored(10, 1), "kept"),
        # on average: 3 + 3 + 0 over three criteria
        (scored({"a": 9, "b": 8, "c": 5}, {"a": 6, "b": 5, "c": 5}), "kept"),
        (scored({"a": 9, "b": 8, "c": 5}, {"a": 6, "b": 5, "c": 6}), "gap_below"),
        # as numbers of a computer 29/3 - 23/3 is less than 2
        (scored({"a": 10, "b": 10, "c": 9}, {"a": 8, "b": 8, "c": 7}), "kept"),
    ],
)
def test_verdicts_decide_in_the_order_of_the_table(judged, status):
    assert after(sampled("Sleep."), judged) == [status]


def test_a_veto_on_the_rejected_answer_is_no_reason_to_drop_the_pair():
    judged = Judged((Verdict({"warmth": 9}), Verdict({"warmth": 2}, ("unsafe",))))
    (found,) = filtering.after_the_judge(sampled("Sleep."), [judged], Pairs())
    assert found.status == "kept" and found.vetoes == {"chosen": [], "rejected": ["unsafe"]}
    assert (found.scores, found.gap) == ({"chosen": {"warmth": 9.0}, "rejected": {"warmth": 2.0}}, 7.0)


@pytest.mark.parametrize(
    ("pick", "statuses"),
    [
        ("near", ["spare", "kept", "spare", "gap_below", "spare", "kept"]),
        ("worst", ["kept", "spare", "spare", "gap_below", "spare", "kept"]),
        ("all", ["kept", "kept", "kept", "gap_below", "kept", "kept"]),
    ],
)
def test_of_a_prompts_candidates_with_enough_of_a_gap_one_is_picked(pick, statuses):
    candidates = [*sampled(*"abcde"), *sampled("f", prompt=1)]
    # chosen has 9: 7 is the nearest with a gap of 2, and the first of two; 3 the worst, and the first of two
    judged = [scored(9, score) for score in (3, 7, 7, 8, 3)] + [scored(9, 1)]
    assert after(candidates, *judged, pick=pick) == statuses


def test_the_same_prompt_number_in_the_other_split_is_another_prompt():
    candidates = [*sampled("a"), *sampled("a", split="test")]
    assert after(candidates, scored(9, 3), scored(9, 3)) == ["kept", "kept"]


def test_those_that_were_of_no_use_before_are_passed_over():
    useless, *others = filtering.before_the_judge(sampled(CHOSEN, "Sleep.", "Rest."), 0.8)
    assert after([useless, *others], scored(9, 3), scored(9, 9)) == ["identical", "kept", "tie"]

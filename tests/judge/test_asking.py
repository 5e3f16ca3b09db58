"""Each question is asked once, and once more where the verdict cannot be read; two orders make one verdict."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from localpsych_recipes.generation import Answer, Sampling
from localpsych_recipes.judge import Case, Rubric, Verdict, ask, ask_all
from tests.scripted_judge import quoted

TALK = [{"role": "user", "content": "I am tired."}]
GREEDY = Sampling(temperature=0.0, max_tokens=64, seed=5)
POINTWISE = Rubric({"warmth": "is kind"}, {"unsafe": "harms"})
PAIRWISE = Rubric({"warmth": "is kind"}, {}, mode="pairwise")


class Judge:
    """Gives to each reply what is written for it: a score, a text, None for a refusal, or a list of these, in turn."""

    def __init__(self, **says):
        self.says, self.requests, self.calls = says, [], 0

    def __call__(self, requests):
        self.calls += 1
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.requests.append(request)
        said = self.says[quoted(request.messages[0]["content"], "Reply")]
        said = said[request.sampling.seed - 5] if isinstance(said, list) else said
        if said is None:
            return None
        return Answer(json.dumps({"warmth": said, "unsafe": False}) if isinstance(said, int) else said, cut=False)


class Comparing(Judge):
    """Gives (score of A, score of B) by which replies stand there, such as "good bad"."""

    def answer(self, request):
        self.requests.append(request)
        text = request.messages[0]["content"]
        said = self.says[f"{quoted(text, 'Reply A')}_{quoted(text, 'Reply B')}"]
        if not isinstance(said, tuple):
            return said if said is None else Answer(said, cut=False)
        return Answer(json.dumps({side: {"warmth": score} for side, score in zip("ab", said)}), cut=False)


def test_a_chosen_answer_is_judged_once_for_all_candidates_of_its_prompt():
    judge = Judge(good=8, bad=3, worse=2)
    found = ask([Case(TALK, ("good", "bad")), Case(TALK, ("good", "worse"))], POINTWISE, GREEDY, judge)
    assert [[v.mean for v in case.verdicts] for case in found.judged] == [[8, 3], [8, 2]]
    assert len(judge.requests) == 3 and judge.calls == 1 and (found.retried, found.unparsed) == (0, 0)
    assert all(r.sampling == GREEDY and r.schema == POINTWISE.schema() for r in judge.requests)


def test_what_cannot_be_read_is_asked_once_more_by_another_seed_and_not_greedily():
    judge = Judge(good=8, odd=["Kind!", 6], wrong=["Kind!", "Very kind!"], refused=None)
    cases = [Case(TALK, ("good", other)) for other in ("odd", "wrong", "refused")]
    found = ask(cases, POINTWISE, GREEDY, judge)
    assert [case.failure for case in found.judged] == [None, "unparsed", "unjudged"]
    assert found.judged[0].verdicts[1] == Verdict({"warmth": 6}) and (found.retried, found.unparsed) == (2, 1)
    again = [r.sampling for r in judge.requests if r.sampling != GREEDY]
    assert again == [Sampling(temperature=0.3, max_tokens=64, seed=6)] * 2
    # what was refused may be asked by the next run
    assert Counter(quoted(r.messages[0]["content"], "Reply") for r in judge.requests)["refused"] == 1


def test_a_judge_that_samples_keeps_its_temperature():
    judge = Judge(odd=["Kind!", 6])
    warm = Sampling(temperature=0.7, max_tokens=64, seed=5)
    ask([Case(TALK, ("odd",))], POINTWISE, warm, judge)
    assert [r.sampling.temperature for r in judge.requests] == [0.7, 0.7]


def test_a_case_with_one_unread_answer_has_no_verdict_and_other_cases_keep_theirs():
    judge = Judge(good=8, bad=3, unreadable="?", refused=None)
    cases = [Case(TALK, ("unreadable", "bad")), Case(TALK, ("refused", "unreadable")), Case(TALK, ("good", "bad"))]
    found = ask(cases, POINTWISE, GREEDY, judge).judged
    assert [case.failure for case in found] == ["unparsed", "unjudged", None]
    assert [len(case.verdicts) for case in found] == [0, 0, 2]


@pytest.mark.parametrize(
    ("there", "back", "means", "disagree"),
    [
        ((8, 3), (4, 9), (8.5, 3.5), False),
        ((8, 3), (3, 8), (8, 3), False),
        ((5, 5), (6, 6), (5.5, 5.5), False),  # two ties agree
        ((8, 3), (9, 4), (6, 6), True),  # the first shown one wins, whichever it is
        ((8, 3), (6, 6), (7, 4.5), True),
        ((3, 8), (6, 5), (4, 7), False),
    ],
)
def test_the_two_orders_of_a_pair_are_averaged_and_have_to_agree_on_the_better_one(there, back, means, disagree):
    judge = Comparing(good_bad=there, bad_good=back)
    (case,) = ask([Case(TALK, ("good", "bad"))], PAIRWISE, GREEDY, judge).judged
    assert tuple(v.mean for v in case.verdicts) == means and case.disagree is disagree
    assert [r.sampling.max_tokens for r in judge.requests] == [2 * GREEDY.max_tokens] * 2  # for two verdicts each


@pytest.mark.parametrize(("back", "failure"), [("?", "unparsed"), (None, "unjudged")])
def test_one_order_alone_is_no_verdict(back, failure):
    (case,) = ask([Case(TALK, ("good", "bad"))], PAIRWISE, GREEDY, Comparing(good_bad=(8, 3), bad_good=back)).judged
    assert case.failure == failure and not case.verdicts


def test_several_rubrics_are_asked_at_once_and_each_keeps_its_own_verdicts_and_counts():
    judge = Judge(good=8, odd=["Kind!", 6], wrong=["Kind!", "Very kind!"])
    other = Rubric({"warmth": "is warm"}, {"unsafe": "harms"}, scale=(1, 5))
    cases = [Case(TALK, (answer,)) for answer in ("good", "odd", "wrong")]
    one, two = ask_all([(cases, POINTWISE), (cases, other)], GREEDY, judge)
    assert judge.calls == 2  # once for all, and once for what could not be read
    assert [case.failure for case in one.judged] == [None, None, "unparsed"] and (one.retried, one.unparsed) == (2, 1)
    assert [case.failure for case in two.judged] == ["unparsed"] * 3 and (two.retried, two.unparsed) == (3, 3)  # 8 of 5
    assert one == ask(cases, POINTWISE, GREEDY, judge)

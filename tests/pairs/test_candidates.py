"""Which answers are sampled, and how some are made worse; other keys of the recipe leave the others as they were."""

from __future__ import annotations

from collections import Counter

import pytest

from localpsych_recipes.generation import Answer
from localpsych_recipes.pairs import candidates
from localpsych_recipes.pairs.candidates import Candidate, truncated, without_first_sentence
from localpsych_recipes.recipe import Pairs

TEXT = "I hear you. That is a lot to carry alone. What would help tonight?"


def row(question: str, answer: str = "Rest now.") -> dict:
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def plan(questions: list[str], seed: int = 42, test: tuple[str, ...] = (), **keys) -> list[Candidate]:
    rows = {"train": [row(q, f"Answer {n}.") for n, q in enumerate(questions)], "test": map(row, test)}
    return candidates.planned(rows, Pairs.model_validate(keys), seed)


def requests(found: list[Candidate]) -> dict[tuple, str]:
    return {(*c.of, c.candidate): c.request.key("") for c in found}


def one(**settings) -> Candidate:
    (found,) = plan(["I am tired."], candidates=1, **settings)
    return found


def test_each_prompt_of_both_splits_has_its_candidates_in_order():
    found = plan(["I am tired.", "I am alone."], test=("I cannot sleep.",), candidates=2)
    assert [(*c.of, c.candidate) for c in found] == [
        ("train", 0, 0), ("train", 0, 1), ("train", 1, 0), ("train", 1, 1), ("test", 0, 0), ("test", 0, 1),
    ]  # fmt: skip
    assert [c.chosen for c in found[::2]] == ["Answer 0.", "Answer 1.", "Rest now."]
    assert found[2].request.messages == [{"role": "user", "content": "I am alone."}]
    assert len(set(requests(found).values())) == 6


def test_the_recipes_settings_are_sampled_with():
    said = {"temperature": 1.2, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.3, "max_tokens": 11}
    sampling = one(**said).sampling
    assert {name: getattr(sampling, name) for name in said} == said
    assert one(**said, degrade={"repetition": 1.0}).sampling.repetition_penalty == 1.0


def test_more_candidates_and_more_prompts_leave_the_others_requests_as_they_were():
    questions = [f"I am tired {n}." for n in range(6)] + ["I am tired 1."]
    few = requests(plan(questions, test=("I am tired 9.",), candidates=2, max_prompts=3))
    many = requests(plan(questions, test=("I am tired 9.", "I."), candidates=5))
    assert len(few) == 8 and few.items() <= many.items()


def test_another_seed_samples_anew():
    assert not set(requests(plan(["I."], seed=1)).values()) & set(requests(plan(["I."], seed=2)).values())


def test_a_question_with_several_answers_has_answers_of_the_models_for_each():
    found = plan(["I am tired."] * 3, test=("I am tired.",), candidates=2)
    assert len({c.request.key("") for c in found}) == 8


def test_the_shares_of_degradations_are_kept_and_only_repetition_changes_what_is_sampled():
    questions = [f"I am tired {n}." for n in range(1000)]
    shares = {"truncate": 0.3, "first_sentence": 0.2, "repetition": 0.1}
    found = plan(questions, degrade=shares, candidates=2)
    drawn = Counter(c.planned for c in found)
    # of 2,000 draws a share is off by three standard deviations at most: 3 * sqrt(p (1 - p) / 2000)
    for kind, share in shares.items():
        assert abs(drawn[kind] / 2000 - share) < 3 * (share * (1 - share) / 2000) ** 0.5, kind
    others = plan(questions, degrade={"repetition": 0.1, "truncate": 0.9}, candidates=2)
    assert requests(found) == requests(others)
    assert [c.planned == "repetition" for c in found] == [c.planned == "repetition" for c in others]
    assert {c.planned for c in plan(questions)} == {None}
    warmer = plan(questions, degrade=shares, candidates=2, temperature=1.0, min_gap=1.0)
    assert [c.planned for c in found] == [c.planned for c in warmer]


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (Answer(TEXT, cut=False), None, TEXT),
        (Answer(f" {TEXT}\n", cut=False), None, TEXT),
        (Answer(f"<think>So.\n</think>\n\n{TEXT}", cut=False), None, TEXT),
        (Answer(TEXT[:30], cut=True), "cut_off", TEXT[:30]),
        (Answer("<think>So", cut=True), "cut_off", ""),
        (Answer("<think>So.</think> \n", cut=False), "empty", ""),
        (Answer("  \n", cut=False), "empty", ""),
        (None, "ungenerated", ""),
    ],
)
def test_an_answer_is_taken_without_its_reasoning_and_useless_ones_say_why(answer, status, text):
    found = candidates.answered(one(), answer)
    assert (found.status, found.rejected, found.degraded) == (status, text, None)


def test_an_answer_is_made_worse_after_its_reasoning_is_gone_and_only_if_it_is_whole():
    thinking = Answer(f"<think>One. Two.</think>{TEXT}", cut=False)
    cut = candidates.answered(one(degrade={"truncate": 1.0}), thinking)
    assert (cut.rejected, cut.degraded) == ("I hear you. That is a lot to carry", "truncate")  # 9 of 14 words
    without = candidates.answered(one(degrade={"first_sentence": 1.0}), thinking)
    assert (without.rejected, without.degraded) == (
        "That is a lot to carry alone. What would help tonight?",
        "first_sentence",
    )
    broken_off = candidates.answered(one(degrade={"truncate": 1.0}), Answer(TEXT, cut=True))
    assert (broken_off.status, broken_off.rejected, broken_off.degraded) == ("cut_off", TEXT, None)


@pytest.mark.parametrize("kind", ["truncate", "first_sentence"])
def test_what_cannot_be_made_worse_counts_as_it_is(kind):
    found = candidates.answered(one(degrade={kind: 1.0}), Answer("Sleep.", cut=False))
    assert (found.rejected, found.degraded, found.status) == ("Sleep.", None, None)


def test_repetition_is_a_way_of_sampling():
    repeating = one(degrade={"repetition": 1.0})
    assert candidates.answered(repeating, Answer("No, no, no.", cut=False)).degraded == "repetition"
    assert candidates.answered(repeating, None).degraded is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("one two three four five six seven eight nine ten", "one two three four five six seven"),
        ("one\n\n two   three four", "one\n\n two"),  # 2.8 words
        ("one two", "one"),
        ("one", "one"),
    ],
)
def test_seventy_percent_of_the_words_stay_with_their_white_space(text, kept):
    assert truncated(text) == kept


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("I hear you. Rest now.", "Rest now."),
        ("i hear you! rest now", "rest now"),
        ("Really? Yes.", "Yes."),
        ("Oh… Yes.", "Yes."),
        ("Oh... Yes.", "Yes."),
        ("“You matter.” Say it.", "Say it."),
        ('"You matter." Say it.', "Say it."),
        ("(I hear you.) Rest.", "Rest."),
        ("**I hear you.** Rest.", "Rest."),
        ("I hear you\n\nRest. Now.", "Rest. Now."),
        ("Dr. Lee told you that. Rest, e.g. now. Yes.", "Rest, e.g. now. Yes."),
        ("1. Breathe in. 2. Rest.", "2. Rest."),
        ("It cost 3.50 and hurt. Rest.", "Rest."),
        ("辛苦了。休息吧。", "休息吧。"),
        ("I hear you.", "I hear you."),
        ("no marks at all", "no marks at all"),
    ],
)
def test_the_first_sentence_goes_if_another_follows(text, left):
    assert without_first_sentence(text) == left


@pytest.mark.parametrize("again", [".", "?", " ", " Dr.", ".)", "“", "\t \n"])
def test_what_a_model_says_a_million_times_is_looked_through_once(again):
    text = f"Rest{again * 1_000_000}now"  # would take hours where each repetition looks at all that follow
    assert without_first_sentence(text) in (text, "now")

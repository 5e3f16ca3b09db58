"""Length, variety and repetition against hand counts and a plain second implementation; forms that are broken."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from localpsych_recipes import suites
from localpsych_recipes.scoring import text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Don't worry: it's 3 o'clock.", ["don't", "worry", "it's", "3", "o'clock"]),
        ("I’m well-being", ["i'm", "well", "being"]),
        ("Déjà vu, naïve_one", ["déjà", "vu", "naïve", "one"]),
        ("'quoted'  **bold**\n- item", ["quoted", "bold", "item"]),
        ("... !", []),
    ],
)
def test_words_are_runs_of_letters_digits_and_inner_apostrophes(answer, words):
    assert text.words(answer) == words


def test_distinct_words_and_repetition_by_hand():
    answer = "the cat sat on the mat, the cat sat on the rug"  # 12 words: the 4, cat, sat, on 2 each, mat, rug
    assert text.distinct_n(answer, 1) == 6 / 12
    assert (
        text.distinct_n(answer, 2) == 7 / 11
    )  # the-cat, cat-sat, sat-on, on-the twice; the-mat, mat-the, the-rug once
    assert text.repetition(answer) == 2 / 9  # of nine runs of four, "the cat sat on" and "cat sat on the" came before


@pytest.mark.parametrize("seed", range(5))
def test_distinct_n_and_repetition_equal_a_count_in_a_loop(seed):
    words = random.Random(seed).choices(["rain", "tea", "walk", "you", "breathe"], k=60)
    for n in (1, 2, 4):
        seen = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        assert text.distinct_n(" ".join(words), n) == pytest.approx(len(seen) / sum(seen.values()))
    repeated = sum(" ".join(words[i : i + 4]) in {" ".join(words[j : j + 4]) for j in range(i)} for i in range(57))
    assert text.repetition(" ".join(words)) == pytest.approx(repeated / 57)


def test_too_short_an_answer_has_no_variety_and_no_repetition():
    assert text.distinct_n("", 1) is None
    assert text.distinct_n("one", 2) is None
    assert text.repetition("one two three") is None
    assert text.repetition("one two three four") == 0


@pytest.mark.parametrize(
    "answer",
    [
        "", "  \n", "...", "Take care.<|im_end|>", "<start_of_turn>user\nHi", "[INST] again [/INST]", "Fine.</s>",
        "<think>The user is sad.</think> I'm here.", "bye<|eot_id|>", "Well.<turn|>", "I hear you. " * 5,
        "We can talk. " + "and on and on and " * 4, "ha " * 20,
    ],
)  # fmt: skip
def test_empty_answers_leaked_tokens_reasoning_and_loops_are_malformed(answer):
    assert text.malformed(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I hear you.", "No, no, no, no, no!", "a < b and c > d", "<3", "[in short] yes",
        "I think that helps. I think so.",
        "Breathe in. Breathe out. Breathe in. Breathe out.", "1. rest\n2. rest\n3. rest", "s/he said <em>maybe</em>",
    ],
)  # fmt: skip
def test_ordinary_answers_are_not(answer):
    assert not text.malformed(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("मैं ठीक हूँ और आज", 5),
        ("re\u0301sume\u0301 cafe\u0301", 2),  # accents as characters of their own
        ("أَنَا حزين", 2),
        ("我很难过，但是我会没事的。", 2),  # no blanks: what stands between two marks
        ("😊 👍", 0),
    ],
)
def test_words_of_other_scripts_are_not_cut_at_their_signs(answer, words):
    assert len(text.words(answer)) == words


OTHERS = [
    "Es tut mir sehr leid, dass du dich so fühlst. Bitte ruf die Seelsorge an oder wende dich an jemanden, dem du traust.",
    "Siento mucho que estés pasando por esto. Por favor llama al 024 o habla con alguien de confianza, tu familia.",
    "Je suis désolé que vous ressentiez cela. Appelez le 3114, on vous répond jour et nuit, ou parlez à un proche.",
    "Wat vreselijk dat je je zo voelt. Bel 113 of praat met iemand die je vertrouwt, of met je huisarts. Ben je veilig?",
    "Det gør mig ondt at høre, at du har det sådan. Ring til Livslinien på 70 201 201, eller tal med en, du stoler på.",
    "お辛いですね。話してくださってありがとうございます。よりそいホットラインに電話してください。信頼できる人に話すこともできます。",
]


@pytest.mark.parametrize("answer", OTHERS)
def test_another_language_is_not_taken_for_english(answer):
    assert not text.in_english(answer)


def test_english_is_found_in_every_shipped_paragraph_and_a_short_answer_is_taken_for_it():
    assert all(text.in_english(paragraph) for paragraph in suites.paragraphs("general"))
    assert text.in_english("Ouch! Thick socks.") and text.in_english("Danke!")
    assert not text.in_english("") and not text.in_english("ありがとう")

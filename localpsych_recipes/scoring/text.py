"""Measures of an answer's form: length, variety, repetition, what is malformed."""

from __future__ import annotations

import re
import unicodedata

# vowel signs of Hindi, Thai or pointed Hebrew, accents that stand alone: of the word, and no letters to `re`
_SIGNS = "".join(chr(code) for code in range(0x300, 0x2100) if unicodedata.category(chr(code))[0] == "M")
_LETTERS = rf"[^\W_](?:[^\W_]|[{_SIGNS}])*"
_WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
# tokens that chat templates put around turns, and tags of reasoning
_TOKENS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_turn>|</?(?:bos|eos|s|turn|pad|unk)>|<\|?turn\|?>|\[/?INST\]|<</?SYS>>"
    r"|</?(?:think|thinking|reasoning|scratchpad)>|<\|?channel\|?>|\[/?THINK\]|<｜[^<>]{1,40}｜>",
    re.IGNORECASE,
)
# the commonest words of English, less those that are as common in its neighbours ("so", "me", "or")
_ENGLISH = frozenset(
    _WORD.findall(
        "the and of to you your that this these those it's it is its are be been with for from have has not but what "
        "when who how if can could would will i i'm i'll i've you're that's they their them she he we about there by "
        "out don't don did just some any an in a my"
    )
)
ENGLISH = 0.1  # share of these below which a text is in another language
TELLING = 12  # words from which the share tells
LOOP = 4  # times that one run of words must stand in a row, up to the end
LONGEST = 30  # words of such a run


def words(answer: str) -> list[str]:
    """Lower-cased runs of letters, digits and inner apostrophes: "don't" is one word, "well-being" two.

    Where a script puts no blank between words, as Chinese and Thai do, what stands between two marks is one.
    """
    return [word.lower().replace("’", "'") for word in _WORD.findall(answer)]


def distinct_n(answer: str, n: int) -> float | None:
    """Different runs of n words through all of them; None for an answer of fewer words.

    Li et al. 2016, https://arxiv.org/abs/1510.03055, here of one answer. Longer answers have lower values by nature.
    """
    runs = _runs(answer, n)
    return len(set(runs)) / len(runs) if runs else None


def repetition(answer: str) -> float | None:
    """Share of the runs of four words that occurred before in the answer; None for fewer than four words.

    seq-rep-4 of Welleck et al. 2020, https://arxiv.org/abs/1908.04319, on words in the place of tokens.
    """
    distinct = distinct_n(answer, 4)
    return None if distinct is None else 1 - distinct


def malformed(answer: str) -> bool:
    """Whether the answer is empty (no letter, no digit), holds a chat template's token or a tag of reasoning, or loops.

    A loop is one run of at most 30 words at the end, four times or more. Misses loops that vary, and a wrong language.
    """
    found = words(answer)
    return not found or bool(_TOKENS.search(answer)) or _loops(found)


def in_english(answer: str) -> bool:
    """Whether the answer is in English, as far as its letters and its commonest words tell. A few words are taken for it.

    The small words of Grefenstette 1995, Comparing two language identification schemes. The limit is judgement,
    held against the suites' English and answers in other languages by tests/scoring/test_text.py. Misses an answer that
    only begins in English.
    """
    found = words(answer)
    letters = "".join(found)
    if 2 * sum(letter.isascii() for letter in letters) <= len(letters):
        return False  # another script, or nothing at all
    return len(found) < TELLING or sum(word in _ENGLISH for word in found) >= ENGLISH * len(found)


def _loops(found: list[str]) -> bool:
    """A single word needs eight times: "no, no, no, no" is speech."""
    for length in range(1, min(LONGEST, len(found) // LOOP) + 1):
        times = LOOP if length > 1 else 2 * LOOP
        tail = found[-length * times :]
        if len(tail) == length * times and tail == found[-length:] * times:
            return True
    return False


def _runs(answer: str, n: int) -> list[tuple[str, ...]]:
    found = words(answer)
    return list(zip(*(found[start:] for start in range(n))))

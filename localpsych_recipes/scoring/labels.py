"""The label that an answer gives, of those that it may give."""

from __future__ import annotations

import re
from collections.abc import Sequence


def given(answer: str, labels: Sequence[str], lead: str = "") -> str | None:
    """The label that the answer begins with, or the only one that it names; None where there is neither.

    lead: words that an answer may begin with before its label ("The person felt"). Case, white space and marks of
    emphasis count for nothing. Where one label is part of another ("stress" of "no stress") the longer one is read. Does
    not see negations ("not joy" names joy) or other words for a label ("happiness").
    """
    text, plain_lead = _plain(answer), _plain(lead)
    named = [match[0] for match in _any_of(labels).finditer(text)]
    begun = _any_of(labels).match(text.removeprefix(plain_lead).lstrip(" :"))
    said = {begun[0]} if begun else set(named)
    return next((label for label in labels if said == {_plain(label)}), None)


def _any_of(labels: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(map(_plain, labels), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[*_`\"“”]", "", text).casefold().split())

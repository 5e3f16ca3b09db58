"""Telephone numbers in a text: those that somebody is told to call or to write to."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

# letters on a telephone's keys
_KEYS = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")
# 800-656-HOPE (4673), 800-SUICIDE
_WORDED = re.compile(r"(\d{3}[-. ]?\d{3}[-. ]?)([A-Z]{4})\b(?:\s*\(\s*\d{4}\s*\))?|(\d{3}[-. ])([A-Z]{7})\b")
# what has digits and is no number to call; "24/7" comes first, since it often follows one
_OTHER = re.compile(
    r"24\s?/\s?7|24[- ]h(?:ours?|rs?)?\b|\d+\s?(?:am|pm|a\.m\.|p\.m\.|%)|\b\d{1,2}:\d\d\b|\d{4}-\d\d-\d\d"
    r"|\b\d{1,2}/\d{1,2}\b"
    r"|\b(?:19|20)\d\d\s?[-–]\s?(?:19|20)\d\d\b|[$€£]\s?\d[\d.,]*|\b\d{1,3}(?:,\d{3})+\b|(?m:^[ \t]*\d{1,2}[.)]\s)",
    re.IGNORECASE,
)
_SPOKEN = dict(
    zip(["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], "00123456789")
)
_ONE = rf"(?:(?:double|triple) )?(?:{'|'.join(_SPOKEN)})"
_IN_WORDS = re.compile(rf"\b{_ONE}(?:(?:, ?|[ -]){_ONE}){{0,12}}\b", re.IGNORECASE)  # nine eight eight, triple zero
_SLASH = re.compile(r"\b(0\d{2,4})(\s?)/(\s?)(?=\d{5})")  # 0800/1110111, but 988/911
_HYPHEN = r"[-\u2010-\u2015]"
_GAP = rf"(?:\.(?=\d)|[ \u00a0]?{_HYPHEN}[ \u00a0]?|[ \u00a0]?\((?=\d{{1,4}}\)[ -]?\d)|\)[ \u00a0-]?|[ \u00a0]|)"
_DIGITS = re.compile(rf"(?<![\w.,$€£#@])\+?\(?\d(?:{_GAP}\d)*(?!\w)")
_CALL = r"(?:call(?:s|ing)?|dial(?:l?ing)?|ring(?:ing)?|phon(?:e|ing)|text(?:ing)?|sms|whatsapp|message)"
# a few words before a number, and no other number between
_BEFORE = re.compile(
    rf"(?:\b{_CALL}\b|\b(?:lines?|hotlines?|helplines?|lifelines?|numbers?|services?|samaritans|telefonseelsorge"
    "|reach|contact"
    r"|available|free|emergency|crisis|ambulance|police)\b)[^\d.!?\n]{0,45}$"
    r"|\bthere(?:'s| is) (?:also )?\W{0,3}$|[:(]\W{0,4}$|\d\W{0,3}(?:/|or|and|,)\W{0,3}$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"^[^\w\n]{0,4}(?:is|are|can be) (?:there|open|free|answered|staffed|available|called|reached)\b"
    r"|^[^\w\n]{0,4}(?:(?:for|is|the|and|your|an?|in|suicide|mental|health|national|emergency|crisis|free|call|text)\b"
    r"[^\w\n]{0,4}){0,5}(?:life\s?line|help\s?line|hot\s?line|line|crisis|emergency|ambulance|police|suicide"
    r"|samaritans)\b",
    re.IGNORECASE,
)
# right before one: "call 555", "text HELLO to 51444"
_AT_ONCE = re.compile(rf"\b{_CALL}\b(?:\s+(?!me\b|us\b|him\b|her\b|them\b)[\w']+){{0,4}}\s+\W*$", re.IGNORECASE)
# "Samaritans are there on 116 132": whose number it is, and then the number
_ON = re.compile(r"\b(?:on|at|via|number|is)\W{1,3}$", re.IGNORECASE)
_COUNTED = re.compile(
    r"^\s?(?:-\s?)?(?:second|minute|min|hour|day|week|month|year|time|people|person|friend|thing|step|word"
    "|breath|deep|of|or more"
    r"|pill|tablet|mg|percent|degree|row|page|point|kg|km|mile|metre|meter|other|more|question)s?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Number:
    """digits: "18007997233"; start and end: its place in the text."""

    digits: str
    start: int
    end: int


def called(text: str, known: Container[str] = ()) -> list[Number]:
    """Numbers that the text gives to call or write to.

    Numbers of seven digits and more by their looks; shorter ones by the words around them, for which less will do where
    they are `known`. Misses short ones without any word about calling.
    """
    text = _SLASH.sub(r"\1\2-\3", _worded(text))
    text = _OTHER.sub(lambda match: " " * len(match[0]), text)
    return [number for number in _all(text) if _is_called(text, number, known)]


def digits(written: str) -> str:
    """Only the digits of a number as it is written, less North America's leading 1."""
    found = re.sub(r"\D", "", written)
    return found[1:] if re.fullmatch(r"1[2-9]\d{9}", found) else found


def in_digits(text: str, known: Container[str]) -> str:
    """The text with the `known` numbers that it has in words in digits: "nine eight eight", "triple zero".

    Others stay, since people count their breaths in words too: a made-up number in words is missed.
    """

    def dialled(match: re.Match[str]) -> str:
        number, times = "", 1
        for word in re.findall(r"[a-z]+", match[0].lower()):
            number += _SPOKEN.get(word, "") * times
            times = {"double": 2, "triple": 3}.get(word, 1)
        return number if number in known else match[0]

    return _IN_WORDS.sub(dialled, text)


def _all(text: str) -> Iterator[Number]:
    for match in _DIGITS.finditer(text):
        if found := digits(match[0]):
            yield Number(found, match.start(), match.end())


def _is_called(text: str, number: Number, known: Container[str]) -> bool:
    before, after = text[max(0, number.start - 70) : number.start], text[number.end : number.end + 70]
    length = len(number.digits)
    if length >= 7:
        return True
    if length < 2 or _COUNTED.search(after):
        return False
    if number.digits in known and length > 2:
        return length >= 5 or bool(_BEFORE.search(before) or _AFTER.search(after))
    if length >= 5 and _ON.search(before) and _BEFORE.search(before):
        return not after.startswith("-")  # 1-800-4-A-CHILD
    return bool(_AT_ONCE.search(before)) and (length > 2 or number.digits in known)


def _worded(text: str) -> str:
    """800-656-HOPE (4673) -> 800-656-4673, padded to its length."""

    def dialled(match: re.Match[str]) -> str:
        number, word = filter(None, match.groups())
        return (number + word.translate(_KEYS)).ljust(len(match[0]))

    return _WORDED.sub(dialled, text)

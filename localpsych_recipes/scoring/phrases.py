"""What a text says, and not merely mentions: sentences, negations, quotations; patterns of phrases, put together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# one character for every way of typing it
_SAME = str.maketrans("’‘ʼ`´“”„«»", "'" * 5 + '"' * 5)
_DASHES = re.compile(r"[\u00ad\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_MARKS = re.compile(r"[*_#>]+")  # Markdown's emphasis, headings and quotations
_ENDS = re.compile(r"(?<=[.!?:;])[\"')\]]*\s+|\n+")


def one_of(*listed: str) -> str:
    """The pattern of any of these: "a, b", "c d" -> (?:a|b|c d). Each may be a pattern without ", " in it."""
    return f"(?:{'|'.join(', '.join(listed).split(', '))})"


def either(*patterns: str) -> re.Pattern[str]:
    """One pattern of several, each from the beginning of a word to the end of one."""
    return re.compile(rf"(?<![\w'])(?:{'|'.join(patterns)})(?!\w)")


# a clause ends where another begins that a negation does not reach
_CLAUSE = re.compile(r"\b(?:but|however|instead(?! of)|though|although)\b|[;:]|,(?!\s*(?:or|nor)\b)")
_NEGATION = one_of(
    "not, no, never, nobody, no one, none, cannot, nor, neither, without, avoid, avoiding, refuse, unable",
    "against, rather than, instead of, stop, dont, wont, cant, isnt, doesnt",
)
_NOT = re.compile(rf"(?:\b{_NEGATION}\b|n't\b)(?!,)(?:\W+[\w']+){{0,8}}\W*$")
# what is asked, supposed or reported is not said
_SUPPOSED = one_of(
    "if, whether, unless, until, before, when, in case, suppose, said, mentioned, worried",
    "you (?:think|feel|believe)",
)
_OPEN = re.compile(rf"\b{_SUPPOSED}\b(?:\W+[\w']+){{0,6}}\W*$")
# how an answer tells somebody to do a thing: "you could", "just", "the best way is to", or at the beginning of a clause
_TOLD = one_of(
    "you (?:can|could|should|need to|have to|must|might want to|may want to|might try to), just, simply, try to",
    "go ahead and, best to, easiest to, quickest to, is to, would be to, and, then",
    "i(?:'d| would) (?:suggest|recommend|advise)(?: (?:that )?you)?(?: to)?",
)
_AT_ONCE = r"(?:^|(?<=[,(\"-] ))(?:(?:then|first|next|just|simply|and|now) )*"
DO = rf"(?:{_TOLD} (?:(?:just|also|simply|then|always|safely|even) )*|{_AT_ONCE})"


def plain(text: str) -> str:
    """Lower case, straight quotes, hyphens of one kind, no Markdown marks; lines stay lines."""
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    return re.sub(r"[ \t]+", " ", _MARKS.sub("", _DASHES.sub("-", text))).lower().strip()


def sentences(text: str) -> list[str]:
    """The sentences of `plain(text)`, list items and clauses after a colon or semicolon too."""
    return [piece for piece in _ENDS.split(plain(text)) if piece.strip()]


def mentions(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether a sentence holds the pattern, however it is meant."""
    return any(pattern.search(sentence) for sentence in sentences(text))


def says(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether a sentence holds the pattern and no negation reaches it: up to eight words before, in the same clause."""
    return any(not _NOT.search(before) for before in _before(text, pattern))


def advises(text: str, pattern: re.Pattern[str]) -> bool:
    """As `says`, and not behind "if", "whether", "before" and the like, and not as a question."""
    said = _before(text, pattern, questions=False)
    return any(not _NOT.search(before) and not _OPEN.search(before) for before in said)


def is_question(sentence: str) -> bool:
    return sentence.rstrip("\"') ").endswith("?")


def without_quotes(text: str) -> str:
    """The text less what stands in double quotes on one line: other people's words, named to be spoken about."""
    return re.sub(r"\"[^\"\n]{1,200}\"", " ", text.translate(_SAME))


def _before(text: str, pattern: re.Pattern[str], questions: bool = True) -> Iterator[str]:
    """The clause up to each match."""
    for sentence in sentences(text):
        if questions or not is_question(sentence):
            yield from (_CLAUSE.split(sentence[: match.start()])[-1] for match in pattern.finditer(sentence))

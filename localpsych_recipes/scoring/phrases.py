"""What a text says, and not merely mentions: sentences, negations, quotations; patterns of phrases, put together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# one character for every way of typing it
_SAME = str.maketrans("’‘‛ʼ′`´“”„«»", "'" * 7 + '"' * 5)
_DASHES = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")  # soft hyphens, joiners, blanks of no width
_MARKS = re.compile(r"[*_#>]+")  # Markdown's emphasis, headings and quotations
_TITLE = r"(?<!\bdr\.)(?<!\bmr\.)(?<!\bms\.)(?<!\bmrs\.)"
_ENDS = re.compile(rf"(?<=[.!?:;]){_TITLE}[\"')\]]*\s+|\n+")


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
_AT_ONCE = r"(?:^|(?<=[,(\"-] ))(?:(?:then|first|next|just|simply|and|now) ){0,4}"
_REACH = 400  # characters before a match that are read: eight words, and room to spare
DO = rf"(?:{_TOLD} (?:(?:just|also|simply|then|always|safely|even) ){{0,4}}|{_AT_ONCE})"


def typed(text: str) -> str:
    """The text as a keyboard has it: straight quotes, digits and letters of one width, nothing unseen between them.

    Letters that only look like others (a Cyrillic one for a Latin one) stay.
    """
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", text.translate(_SAME)))


def plain(text: str) -> str:
    """`typed`, in lower case, hyphens of one kind, no Markdown marks; lines stay lines."""
    text = typed(text)
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
            for match in pattern.finditer(sentence):
                yield _CLAUSE.split(sentence[max(0, match.start() - _REACH) : match.start()])[-1]

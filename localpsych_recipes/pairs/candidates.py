"""Prompts of the prepared rows -> requests to the SFT model, and its answers, some of them made worse on purpose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from localpsych_recipes import chat_templates, rundir
from localpsych_recipes.generation import Answer, Messages, Request, Sampling
from localpsych_recipes.recipe import Degrade, Pairs

KEPT_PERCENT = 70  # of the words of a truncated answer
# repetition first: it alone changes what is sampled, so that the other shares leave every request as it was
KINDS = ("repetition", "truncate", "first_sentence")
# a sentence's last marks with what closes a quotation, and the white space behind them; a line's end
# (each begins at the beginning of its run, or 30,000 dots would take as many times as long as one)
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_]*+\s+|[。！？]+[”’」』）]*\s*|(?<!\s)\s*\n\s*")
_NO_END = re.compile(r"(?:^\s*\d{1,2}|\b(?:dr|mr|mrs|ms|prof|st|vs|e\.g|i\.e))\.\s*$", re.IGNORECASE)
_LONGEST = 5  # characters of these before their last full stop, with the one that `\b` looks at


@dataclass(frozen=True)
class Candidate:
    """A prompt with the data's answer and one of the model's own, and what became of it; steps fill in the rest.

    candidate: its number within the prompt; planned: how it is to be made worse, degraded: how it was; status: one of
    pairs.STATUSES, None as long as it may still be kept. scores, vetoes: of "chosen" and "rejected".
    """

    split: str
    prompt_number: int
    candidate: int
    prompt: Messages
    chosen: str
    sampling: Sampling
    planned: str | None = None
    status: str | None = None
    degraded: str | None = None
    rejected: str = ""
    scores: Mapping[str, Mapping[str, float]] | None = None
    vetoes: Mapping[str, list[str]] | None = None
    gap: float | None = None

    @property
    def request(self) -> Request:
        return Request(self.prompt, self.sampling)

    @property
    def of(self) -> tuple[str, int]:
        """The prompt that it shares with other candidates."""
        return self.split, self.prompt_number


def planned(rows: Mapping[str, Iterable[Mapping[str, Any]]], pairs: Pairs, seed: int) -> list[Candidate]:
    """The candidates of each split's first `max_prompts` rows of SFT, in order of split, prompt and number.

    A request depends on its prompt, its number and how often the same prompt came before in its split, so that more
    candidates or prompts leave the others as they were, and several answers to one question are not all paired with
    the same one of the model's. seed: the recipe's.
    """
    return [made for split, of_split in rows.items() for made in _of_split(split, of_split, pairs, seed)]


def _of_split(split: str, rows: Iterable[Mapping[str, Any]], pairs: Pairs, seed: int) -> Iterator[Candidate]:
    before: Counter[str] = Counter()
    for number, row in enumerate(islice(rows, pairs.max_prompts)):
        prompt, said = row["prompt"], rundir.fingerprint(row["prompt"])
        for candidate in range(pairs.candidates):
            which = (seed, split, said, before[said], candidate)
            kind = _drawn(pairs.degrade, _number("degrade", *which) / 2**32)
            sampling = _sampling(pairs, _number("sample", *which) >> 1, kind)
            yield Candidate(split, number, candidate, prompt, row["completion"][-1]["content"], sampling, kind)
        before[said] += 1


def _number(*of: Any) -> int:
    """32 bits that follow from all of it."""
    return int(rundir.fingerprint(*of)[:8], 16)


def _drawn(shares: Degrade, at: float) -> str | None:
    """at: in [0, 1)."""
    for kind in KINDS:
        at -= getattr(shares, kind)
        if at < 0:
            return kind
    return None


def _sampling(pairs: Pairs, seed: int, kind: str | None) -> Sampling:
    penalty = 1.0 if kind == "repetition" else pairs.repetition_penalty
    return Sampling(pairs.temperature, pairs.max_tokens, seed, pairs.top_p, pairs.top_k, pairs.min_p, penalty)


def answered(candidate: Candidate, answer: Answer | None) -> Candidate:
    """With the model's answer, None for one that was refused: without its reasoning, and made worse where planned."""
    if answer is None:
        return replace(candidate, status="ungenerated")
    sampled_so = "repetition" if candidate.planned == "repetition" else None
    text = (chat_templates.without_reasoning(answer.text) or "").strip()
    if not text or answer.cut:  # cut off within its reasoning, it has no text either
        return replace(candidate, status="cut_off" if answer.cut else "empty", rejected=text, degraded=sampled_so)
    worse = WORSE[candidate.planned](text) if candidate.planned in WORSE else text
    return replace(candidate, rejected=worse, degraded=sampled_so or (candidate.planned if worse != text else None))


def truncated(text: str) -> str:
    """The first 70 % of its words, one at least, with the white space between them."""
    words = re.findall(r"\s*\S+", text)
    return "".join(words[: max(1, len(words) * KEPT_PERCENT // 100)])


def without_first_sentence(text: str) -> str:
    """What follows its first sentence or line; the text itself where nothing does."""
    for end in _END.finditer(text):
        if end[0].strip() and _NO_END.search(text, max(0, end.start() - _LONGEST), end.end()):
            continue  # an abbreviation, or the number of a list's first line
        return text[end.end() :] or text
    return text


WORSE = {"truncate": truncated, "first_sentence": without_first_sentence}

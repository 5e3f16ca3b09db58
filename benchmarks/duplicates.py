"""Finding duplicates among a million rows: planted ones found, unrelated ones left alone, in how much time and memory.

    python benchmarks/duplicates.py [--rows 1000000] [--libraries 50000]

Rows of 400 to 1,200 characters are made from 20,000 invented words with Zipf's frequencies; a tenth of them come from
templates and share half of their 3-grams without being duplicates. 5 % are planted copies, 5 % planted near duplicates:
a few words replaced, case and punctuation changed, a sentence added, all above the threshold by the true Jaccard index.
They go to two JSONL files in a temporary folder ($TMPDIR); each step runs in a process of its own and its peak memory
(ru_maxrss) is the whole process's, rows included. --libraries also runs rensa and datasketch on so many rows, if installed.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIMILARITY = 0.8
ORIGINAL, COPY, NEAR = range(3)
SHARES = (0.9, 0.05, 0.05)
WORDS_IN_ROW = (80, 160)
SLOT_EVERY = 8  # of a template's words, one is free: its rows share about 5 of 11 3-grams


class Rows:
    """`count` seeded rows: their tokens made in order, `kind` and `origin` (index of the row it was made from) of each."""

    def __init__(self, count: int, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.vocabulary = self._vocabulary(20_000)
        frequencies = 1 / (np.arange(len(self.vocabulary)) + 2.7)  # Zipf's law as Mandelbrot wrote it
        self.cumulative = np.cumsum(frequencies / frequencies.sum())
        self.templates = [self._sentences() for _ in range(max(1, count // 1000))]
        self.kind = self.random.choice(3, count, p=SHARES)
        self.kind[0] = ORIGINAL
        originals, before = np.flatnonzero(self.kind == ORIGINAL), np.cumsum(self.kind == ORIGINAL)
        self.origin = np.where(self.kind == ORIGINAL, np.arange(count), originals[self.random.integers(0, before)])

    def __iter__(self) -> Iterator[str]:
        needed, originals = set(self.origin[self.kind != ORIGINAL].tolist()), {}
        for row, (kind, origin) in enumerate(zip(self.kind.tolist(), self.origin.tolist())):
            text = self._original() if kind == ORIGINAL else originals[origin]
            if row in needed:
                originals[row] = text
            yield self._near(text) if kind == NEAR else text

    def _vocabulary(self, size: int) -> list[str]:
        """Invented words, the frequent ones short."""
        syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
        pairs = [a + b for a in syllables for b in syllables]
        self.random.shuffle(pairs)
        return (syllables + pairs + [a + b for a in pairs[:200] for b in pairs[:200]])[:size]

    def _words(self, count: int) -> list[str]:
        ranks = np.searchsorted(self.cumulative, self.random.random(count)).clip(max=len(self.vocabulary) - 1)
        return [self.vocabulary[rank] for rank in ranks.tolist()]

    def _sentences(self) -> list[str]:
        words = self._words(int(self.random.integers(*WORDS_IN_ROW)))
        while sum(map(len, words)) + len(words) < 400:
            words += self._words(10)
        return [
            f"{word}." if at % 12 == 11 else word.title() if at % 12 == 0 else word for at, word in enumerate(words)
        ]

    def _original(self) -> str:
        if self.random.random() > 0.1:
            return " ".join(self._sentences())
        tokens = list(self.templates[self.random.integers(len(self.templates))])
        slots = range(0, len(tokens), SLOT_EVERY)
        for slot, word in zip(slots, self.random.integers(100, len(self.vocabulary), len(slots)).tolist()):
            tokens[slot] = self.vocabulary[word]
        return " ".join(tokens)

    def _near(self, text: str) -> str:
        """An edited copy, which is no longer identical and is above the threshold."""
        while True:
            edited = self._edit(text)
            if edited != text and jaccard(text, edited) >= SIMILARITY:
                return edited

    def _edit(self, text: str) -> str:
        tokens = text.split(" ")
        for at in self.random.integers(0, len(tokens), self.random.integers(0, 4)).tolist():
            tokens[at] = self._words(1)[0]
        if self.random.random() < 0.5:
            tokens = [token.upper() if at % 7 == 0 else token.replace(".", "!") for at, token in enumerate(tokens)]
        if self.random.random() < 0.5:
            tokens += [*self._words(5), "..."]
        return " ".join(tokens)


def jaccard(a: str, b: str) -> float:
    """The index itself, from sets of words: what the Finder's hashes stand for."""
    a, b = (set(zip(words, words[1:], words[2:])) for words in (re.findall("[a-z]+", text.lower()) for text in (a, b)))
    return len(a & b) / len(a | b)


def main() -> None:
    options = _options()
    if options.step:
        STEPS[options.step](options.folder, options)
        return
    with tempfile.TemporaryDirectory(prefix="duplicates-") as folder:
        for step in ("make", "find", "prepare", *(LIBRARIES if options.libraries else ())):
            command = [sys.executable, __file__, *sys.argv[1:], "--step", step, "--folder", folder]
            subprocess.run(command, check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--libraries", type=int, default=0, help="rows for rensa and datasketch")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def make(folder: Path, options: argparse.Namespace) -> None:
    rows, characters, files = Rows(options.rows), 0, [(folder / name).open("w") for name in FILES]
    start = time.monotonic()
    for row, text in enumerate(rows):
        characters += len(text)
        tokens = text.split(" ")
        cells = {"prompt": " ".join(tokens[:20]), "response": " ".join(tokens[20:])}
        files[row * len(files) // options.rows].write(json.dumps(cells) + "\n")
    for file in files:
        file.close()
    np.save(folder / "kind.npy", rows.kind)
    np.save(folder / "origin.npy", rows.origin)
    planted = np.bincount(rows.kind, minlength=3)
    print(
        f"{options.rows:,} rows of {characters / options.rows:.0f} characters on average: {planted[COPY]:,} copies, "
        f"{planted[NEAR]:,} near duplicates of Jaccard {SIMILARITY} or more ({time.monotonic() - start:.0f} s to make)",
        flush=True,
    )


FILES = ("a.jsonl", "b.jsonl")


def _texts(folder: Path) -> list[str]:
    return ["\n".join(json.loads(line).values()) for name in FILES for line in (folder / name).open()]


def find(folder: Path, options: argparse.Namespace) -> None:
    """The Finder alone, in a process that holds the rows too."""
    from localpsych_recipes.data.duplicates import Finder

    texts, read = _timed(lambda: _texts(folder))
    before, finder = _peak(), Finder(SIMILARITY)
    _, added = _timed(lambda: [None for text in texts if finder.add(text)])
    found, compared = _timed(finder.found)
    kind, origin = np.load(folder / "kind.npy"), np.load(folder / "origin.npy")
    for name, figure in {**planted(texts, kind, origin), **quality(found, texts, kind, origin)}.items():
        print(f"  {name:46}{figure:.5g}")
    print(f"  seconds: read {read}, add {added}, find {compared}")
    print(f"  peak memory: {_peak():.2f} GB, {before:.2f} GB before the first row was added", flush=True)


def planted(texts: list[str], kind: np.ndarray, origin: np.ndarray) -> dict[str, float]:
    """How near the near duplicates are."""
    indices = [jaccard(texts[row], texts[origin[row]]) for row in np.flatnonzero(kind == NEAR)]
    percentiles = zip(("least", "10th percentile of", "median"), np.percentile(indices, (0, 10, 50)))
    return {f"{name} Jaccard of near duplicates": index for name, index in percentiles}


def quality(found: Any, texts: list[str], kind: np.ndarray, origin: np.ndarray) -> dict[str, float]:
    """Shares of the planted ones that lead to their origin; rows that are led to one that they are not made from.

    An edited copy may equal another of the same origin, so what is called identical is held to the texts.
    """
    rows = np.arange(len(texts))
    different = sum(texts[row] != texts[found.exact[row]] for row in np.flatnonzero(found.exact != rows))
    return {
        "share of copies found": (found.exact == origin)[kind == COPY].mean(),
        "share of near duplicates found": (found.near == origin)[kind == NEAR].mean(),
        "different rows called identical": different,
        "unrelated rows called near": ((found.near != rows) & (found.near != origin)).sum(),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, str]:
    """What work returns; its seconds by the clock and of the processor, which mean the same on a busy machine."""
    start, used = time.monotonic(), time.process_time()
    return work(), f"{time.monotonic() - start:.1f} ({time.process_time() - used:.1f} CPU)"


def _peak() -> float:
    """Gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """What a recipe does with the two files: read, clean, find and drop duplicates, shuffle, split, mix, write."""
    import datasets  # noqa: F401  (not part of the work)

    from localpsych_recipes import data
    from localpsych_recipes.recipe import Columns, Data, Source

    columns, before = Columns(prompt="prompt", response="response"), _peak()
    mixture = [
        Source(source=str(folder / name), columns=columns, weight=weight, test_size=0.1)
        for name, weight in zip(FILES, (1.0, 0.5))
    ]
    recipe = Data(mixture=mixture, shuffle_seed=1, duplicates="drop", near_duplicates="drop", similarity=SIMILARITY)
    prepared, preparing = _timed(lambda: data.prepare(recipe))
    (folder / "rows").mkdir()
    _, writing = _timed(lambda: data.write(prepared, folder / "rows"))
    print(f"  data.prepare: {data.describe(prepared.counts)}")
    print(f"  duplicates {prepared.counts['duplicates']:,}, near {prepared.counts['near_duplicates']:,}")
    print(f"  seconds: prepare {preparing}, write {writing}")
    print(f"  peak memory: {_peak():.2f} GB, {before:.2f} GB after the imports", flush=True)


def rensa(folder: Path, options: argparse.Namespace) -> None:
    from rensa import RMinHash, RMinHashLSH

    def sketch(grams: list[str]) -> RMinHash:
        minhash = RMinHash(128, 0)
        minhash.update(grams)
        return minhash

    _stream("rensa", sketch, RMinHashLSH(SIMILARITY, 128, 32), folder, options)


def datasketch(folder: Path, options: argparse.Namespace) -> None:
    from datasketch import MinHash, MinHashLSH

    def sketch(grams: list[str]) -> MinHash:
        minhash = MinHash(128)
        minhash.update_batch([gram.encode() for gram in grams])
        return minhash

    _stream("datasketch", sketch, MinHashLSH(SIMILARITY, 128), folder, options)


def finder(folder: Path, options: argparse.Namespace) -> None:
    """The Finder, at the size at which the libraries run."""
    from localpsych_recipes.data.duplicates import Finder

    texts, ours = _texts(folder)[: options.libraries], Finder(SIMILARITY)
    before, start = _peak(), time.monotonic()
    for text in texts:
        ours.add(text)
    near = ours.found().near
    _compare("Finder", near, time.monotonic() - start, before, folder)


def _stream(name: str, sketch: Callable, index: Any, folder: Path, options: argparse.Namespace) -> None:
    """Each row asks the index for candidates, the signatures decide, then it joins the index."""
    texts, near, kept = _texts(folder)[: options.libraries], [], []
    before, start = _peak(), time.monotonic()
    for row, text in enumerate(texts):
        words = re.findall("[a-z]+", text.lower())
        minhash = sketch([" ".join(gram) for gram in zip(words, words[1:], words[2:])])
        like = [other for other in index.query(minhash) if kept[other].jaccard(minhash) >= SIMILARITY]
        near.append(near[min(like)] if like else row)
        kept.append(minhash)
        index.insert(row, minhash)
    _compare(name, np.array(near), time.monotonic() - start, before, folder)


def _compare(name: str, near: np.ndarray, seconds: float, before: float, folder: Path) -> None:
    kind, origin = (np.load(folder / file)[: len(near)] for file in ("kind.npy", "origin.npy"))
    share, wrong = (near == origin)[kind == NEAR].mean(), ((near != np.arange(len(near))) & (near != origin)).sum()
    memory = (_peak() - before) * 1e9 / len(near)
    print(
        f"  {name:12}{len(near):,} rows, {seconds:.1f} s, {memory:,.0f} bytes a row, {share:.4f} of the near found, "
        f"{wrong} unrelated",
        flush=True,
    )


LIBRARIES = {"finder": finder, "rensa": rensa, "datasketch": datasketch}
STEPS = {"make": make, "find": find, "prepare": prepare, **LIBRARIES}

if __name__ == "__main__":
    main()

"""Rows that are identical, and rows that differ in little, among millions in little memory.

Two texts are as similar as the Jaccard index of their sets of word 3-grams: shared ones over all. Of each row the hashes
of its set are kept. MinHash with banding proposes pairs (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.3
and 3.4), and the sets themselves decide.

Why neither rensa nor datasketch: their MinHash signatures alone say how similar two rows are, at 128 values to 0.035, and
so miss some that are just similar enough and take in some that are not. The sets decide exactly where texts are short. On
50,000 rows rensa 0.5.0 is as fast, with three times the memory; datasketch 2.0.0 takes nine times as long and five times
the memory (benchmarks/duplicates.py).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from xxhash import xxh3_64_intdigest

# Hashes kept of a row, 4 bytes each. A text of up to 130 words is kept whole and compared exactly; of a longer one the
# smallest 128 are a fair sample (Broder 1997, On the resemblance and containment of documents), which takes a similarity
# of 0.8 for 0.8 +- 0.035, one standard deviation.
SKETCH = 128
MISSED = 0.001  # of the pairs that are just similar enough, the share that no band proposes
MINHASHES = 100  # of a row, at most
NEIGHBOURS = 4  # rows that one is compared with in a band: a million rows of one template take no million squared
BATCH_WORDS, BLOCK_ROWS, BLOCK_PAIRS = 1 << 18, 1 << 13, 1 << 11  # what is worked on at once: some 20 MB

_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)  # multiplying loses no bit


class _Spaced(dict):
    """For str.translate, three times as fast as a regular expression: letters and digits stay, the rest are spaces."""

    def __missing__(self, code: int) -> int:
        return self.setdefault(code, code if chr(code).isalnum() else ord(" "))


_SPACED = _Spaced()


class Found(NamedTuple):
    """For each row, in the order of adding, the index of a row: its own where none before it is like it."""

    exact: np.ndarray  # the first identical row
    near: np.ndarray  # the first row of its cluster: all that pairs of near duplicates link, identical rows included


class Finder:
    """Takes rows one by one, keeps at most 524 bytes of each, and tells the duplicates at the end.

    The result depends on the texts and their order alone. Identical means each character. Near ones are compared without
    case, punctuation and white space; texts of one or two words by their words; a text without words is near nothing but
    identical ones; in scripts without spaces between words a word is what stands between two marks, so fewer are found.

    similarity: from which on two rows are near duplicates, in (0, 1).
    """

    def __init__(self, similarity: float = 0.8):
        self.similarity = similarity
        self._texts = array("Q")  # a hash of each: two of a million differing texts share one with a chance of 3e-8
        self._sketches, self._sizes = array("I"), array("I")  # row after row, each sorted; hashes of each row
        self._words, self._lengths = array("Q"), array("I")  # of the rows that wait to be sketched

    def add(self, text: str) -> None:
        self._texts.append(xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")))
        words = text.lower().translate(_SPACED).encode().split()
        self._words.extend(map(xxh3_64_intdigest, words))
        self._lengths.append(len(words))
        if len(self._words) >= BATCH_WORDS:
            self._sketch()

    def found(self) -> Found:
        self._sketch()
        exact = _first_equal(np.array(self._texts, np.uint64))
        sketches = _Sketches(np.frombuffer(self._sketches, np.uint32), np.frombuffer(self._sizes, np.uint32))
        near = exact
        rows = np.flatnonzero((exact == np.arange(len(exact))) & (sketches.sizes > 0))
        for a, b in _candidates(sketches, rows, self.similarity):
            new = near[a] != near[b]
            a, b = a[new], b[new]
            similar = sketches.similarity(a, b) >= self.similarity
            near = _link(near, a[similar], b[similar])
        return Found(exact, near)

    def _sketch(self) -> None:
        words, lengths = np.array(self._words, np.uint64), np.array(self._lengths, np.int64)
        hashes, sizes = _sketch(words, lengths)
        self._sketches.frombytes(hashes.tobytes())
        self._sizes.frombytes(sizes.tobytes())
        self._words, self._lengths = array("Q"), array("I")


def similarity(a: str, b: str) -> float:
    """Jaccard index of two texts as `Finder` compares them, of all their 3-grams; 0 where one has no words."""
    one, other = _grams(a), _grams(b)
    return len(one & other) / len(one | other) if one and other else 0.0


def _grams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().translate(_SPACED).split()
    size = 3 if len(words) >= 3 else 1
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def _sketch(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of words, row after row -> the SKETCH smallest hashes of each row's 3-grams, sorted; how many they are."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    whole = np.flatnonzero(row[2:] == row[:-2])  # where a 3-gram starts that ends in the same row
    short = np.flatnonzero(lengths[row] < 3)
    grams = sum((words[whole + i] * _ODD[i] for i in range(3)), np.zeros(len(whole), np.uint64))
    hashes = np.concatenate([_top_bits(grams), _top_bits(words[short])])
    rows = np.concatenate([row[whole], row[short]]).astype(np.uint64)
    ordered = np.sort(rows << np.uint64(32) | hashes)
    distinct = ordered[np.diff(ordered, prepend=~ordered[:1]) != 0]  # np.unique takes five times as long
    rows = (distinct >> np.uint64(32)).astype(np.int64)
    kept = distinct[_place(rows, len(lengths)) < SKETCH]
    sizes = np.bincount((kept >> np.uint64(32)).astype(np.int64), minlength=len(lengths))
    return kept.astype(np.uint32), sizes.astype(np.uint32)


def _top_bits(hashes: np.ndarray) -> np.ndarray:
    """64 bits -> 32, each depending on all (the finish of splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB) >> np.uint64(32)


def _place(sorted_groups: np.ndarray, count: int) -> np.ndarray:
    """For each element its position within its group; groups are numbers below `count`, in order."""
    sizes = np.bincount(sorted_groups, minlength=count)
    return np.arange(len(sorted_groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _first_equal(values: np.ndarray) -> np.ndarray:
    _, first, group = np.unique(values, return_index=True, return_inverse=True)
    return first[group]


class _Sketches:
    """The sorted hashes of all rows, one row after the other."""

    def __init__(self, hashes: np.ndarray, sizes: np.ndarray):
        self.hashes, self.sizes = hashes, sizes.astype(np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Jaccard index of rows a[i] and b[i]; of sets that were cut, over the range of hashes that both cover."""
        blocks = range(0, len(a), BLOCK_PAIRS)
        parts = [self._similarity(a[i : i + BLOCK_PAIRS], b[i : i + BLOCK_PAIRS]) for i in blocks]
        return np.concatenate([np.empty(0), *parts])

    def _similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows, pairs = np.concatenate([a, b]), np.tile(np.arange(len(a)), 2)
        pair = np.repeat(pairs, self.sizes[rows])
        owner = np.repeat(np.arange(len(rows)), self.sizes[rows])
        hashes = self.hashes[self.starts[rows][owner] + _place(owner, len(rows))]
        covered = hashes <= np.minimum(self._end(a), self._end(b))[pair]
        keys = np.sort((pair.astype(np.uint64) << np.uint64(32) | hashes)[covered])
        twice = keys[1:][keys[1:] == keys[:-1]]
        both, all_of_both = (
            np.bincount((k >> np.uint64(32)).astype(np.int64), minlength=len(a)) for k in (twice, keys)
        )
        return both / (all_of_both - both)

    def _end(self, rows: np.ndarray) -> np.ndarray:
        """Up to which hash a sketch holds all of its row's."""
        last = self.hashes[self.starts[rows] + self.sizes[rows] - 1]
        return np.where(self.sizes[rows] < SKETCH, np.uint32(2**32 - 1), last)

    def least(self, factor: np.uint32, shift: np.uint32) -> np.ndarray:
        """One MinHash value of each row: the least of its hashes under x -> factor * x + shift; 0 where it has none."""
        values = np.zeros(len(self.sizes), np.uint32)
        filled = np.flatnonzero(self.sizes)
        for i in range(0, len(filled), BLOCK_ROWS):
            rows = filled[i : i + BLOCK_ROWS]
            start, end = self.starts[rows[0]], self.starts[rows[-1]] + self.sizes[rows[-1]]
            values[rows] = np.minimum.reduceat(self.hashes[start:end] * factor + shift, self.starts[rows] - start)
        return values


def _candidates(sketches: _Sketches, rows: np.ndarray, similarity: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows that agree in a band, as two arrays of indices; among many such rows each with its neighbours.

    The order among them is that of another band, so that the likest are neighbours.
    """
    for other, band in pairwise(_bands(sketches, rows, similarity)):
        order = np.lexsort((other, band))
        band, ordered = band[order], rows[order]
        for distance in range(1, NEIGHBOURS + 1):
            equal = band[distance:] == band[:-distance]
            yield ordered[:-distance][equal], ordered[distance:][equal]


def _bands(sketches: _Sketches, rows: np.ndarray, similarity: float) -> Iterator[np.ndarray]:
    """One key of each row for each band, and one more for the order within the first."""
    bands, width = _shape(similarity)
    numbers = np.random.default_rng(0).integers(0, 2**32, (bands + 1, width, 2), np.uint32)
    for band in numbers:
        key = np.zeros(len(rows), np.uint64)
        for factor, shift in band:
            key = key * _ODD[0] + sketches.least(factor | np.uint32(1), shift)[rows]
        yield key


def _shape(similarity: float) -> tuple[int, int]:
    """Bands and values in a band: the widest bands, so the fewest vain pairs, that miss MISSED at most, within MINHASHES.

    Two rows of that similarity agree in one of b bands of r values with probability 1 - (1 - similarity**r)**b.
    """
    shapes = [(math.ceil(math.log(MISSED) / math.log1p(-(similarity**r))), r) for r in range(1, 33)]
    return next(((b, r) for b, r in reversed(shapes) if b * r <= MINHASHES), (MINHASHES, 1))


def _link(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Clusters joined by the pairs (a[i], b[i]); the label of a row is the first row of its cluster, before and after."""
    labels = labels.copy()
    while (apart := labels[a] != labels[b]).any():
        a, b = a[apart], b[apart]
        np.minimum.at(labels, np.maximum(labels[a], labels[b]), np.minimum(labels[a], labels[b]))
        while (labels != labels[labels]).any():
            labels = labels[labels]
    return labels

"""Identical rows and rows that differ in little are found among many; rows that only sound alike are left alone."""

from __future__ import annotations

import hashlib
import os
import random
import re
import runpy
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import networkx
import numpy as np
import pytest

from localpsych_recipes.data import duplicates
from localpsych_recipes.data.duplicates import Finder, Found, similarity

CHECKOUT = Path(__file__).resolve().parents[2]
BENCHMARK = runpy.run_path(str(CHECKOUT / "benchmarks" / "duplicates.py"))


def find(texts: list[str], similarity: float = 0.8) -> Found:
    finder = Finder(similarity)
    for text in texts:
        finder.add(text)
    return finder.found()


def jaccard(a: str, b: str) -> float:
    """As it is defined, on the words themselves."""
    a, b = (
        set(zip(words, words[1:], words[2:])) or set(words)
        for words in (re.findall(r"[a-z0-9]+", text.lower()) for text in (a, b))
    )
    return len(a & b) / len(a | b)


def clusters(texts: list[str], similarity: float) -> list[int]:
    """Every pair compared: for each text the first one of its connected component."""
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(texts)))
    pairs = combinations(range(len(texts)), 2)
    graph.add_edges_from((a, b) for a, b in pairs if jaccard(texts[a], texts[b]) >= similarity)
    first = {row: min(component) for component in networkx.connected_components(graph) for row in component}
    return [first[row] for row in range(len(texts))]


def sentence(seed: random.Random, words: int) -> list[str]:
    return [f"w{seed.randrange(5000)}" for _ in range(words)]


def edited(words: list[str], seed: random.Random, edits: int) -> list[str]:
    words = list(words)
    for at in seed.sample(range(len(words)), edits):
        words[at] = f"new{seed.randrange(5000)}"
    return words


def test_planted_duplicates_are_found_among_20_000_rows_and_no_unrelated_row_is_reported() -> None:
    rows = BENCHMARK["Rows"](20_000, seed=1)
    texts = list(rows)
    assert min(map(len, texts)) >= 400
    quality = BENCHMARK["quality"](find(texts), texts, rows.kind, rows.origin)
    assert quality["share of copies found"] >= 0.99
    assert quality["share of near duplicates found"] >= 0.95
    assert quality["different rows called identical"] == quality["unrelated rows called near"] == 0


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95])
def test_the_clusters_are_those_of_comparing_every_pair(similarity: float) -> None:
    seed = random.Random(int(similarity * 100))
    texts = [sentence(seed, 60) for _ in range(40)]
    texts += [edited(seed.choice(texts), seed, seed.randrange(12)) for _ in range(120)]
    texts = [" ".join(words) for words in texts]
    assert find(texts, similarity).near.tolist() == clusters(texts, similarity)


def test_questions_of_one_template_or_topic_are_different_questions() -> None:
    feelings = ["anxious", "sad", "angry", "lonely", "ashamed", "tired", "numb", "worried"]
    people = ["my mother", "my father", "my boss", "my best friend", "an old colleague", "my new partner"]
    templates = [
        "I feel {feeling} whenever I talk to {who}. What can I do?",
        "Why am I always so {feeling} around {who}, and how do I stop it?",
        "How do I tell {who} that I am {feeling} again?",
    ]
    texts = [t.format(feeling=feeling, who=who) for t in templates for feeling in feelings for who in people]
    assert 0.5 < max(jaccard(a, b) for a, b in combinations(texts, 2)) < 0.8
    assert find(texts).near.tolist() == list(range(len(texts)))


def test_near_duplicates_are_found_in_a_crowd_of_one_template() -> None:
    seed = random.Random(3)
    template = sentence(seed, 90)
    crowd = [list(template) for _ in range(3000)]
    for words in crowd:
        words[::8] = [f"slot{seed.randrange(10**6)}" for _ in words[::8]]
    near = [edited(crowd[row], seed, 2) for row in range(100)]
    found = find([" ".join(words) for words in crowd + near]).near
    assert found[:3000].tolist() == list(range(3000))
    assert (found[3000:] == np.arange(100)).mean() >= 0.95


def test_case_punctuation_and_white_space_make_no_difference_between_near_ones() -> None:
    texts = [
        "I can't sleep - what now?",
        "  i CAN’T sleep,\n\twhat now",
        "I can't sleep - what now?",
        "I can sleep now",
    ]
    found = find(texts)
    assert found.near.tolist() == [0, 0, 0, 3]
    assert found.exact.tolist() == [0, 1, 0, 3]


def test_texts_of_one_or_two_words_are_compared_by_their_words() -> None:
    assert find(["Thank you", "thank you!", "you, thank", "thank", "Yes", "yes."]).near.tolist() == [0, 0, 0, 3, 4, 4]


def test_a_text_without_words_is_like_identical_ones_only() -> None:
    assert find(["", "...", "", "?!", "..."]).near.tolist() == [0, 1, 0, 3, 1]


def test_every_script_has_words() -> None:
    texts = ["Мне очень грустно сегодня.", "мне ОЧЕНЬ грустно сегодня", "Мне очень весело сегодня.", "\ud83d", "今日は"]
    assert find(texts).near.tolist() == [0, 0, 2, 3, 4]


def test_no_rows_have_no_duplicates() -> None:
    assert [len(rows) for rows in find([])] == [0, 0]


def test_long_texts_are_told_apart_by_a_sample_of_their_words() -> None:
    seed = random.Random(5)
    texts = [sentence(seed, 3000) for _ in range(50)]
    near, far = [edited(text, seed, 50) for text in texts], [edited(text, seed, 250) for text in texts]
    assert min(jaccard(" ".join(a), " ".join(b)) for a, b in zip(texts, near)) > 0.9
    assert max(jaccard(" ".join(a), " ".join(b)) for a, b in zip(texts, far)) < 0.65
    found = find([" ".join(words) for words in texts + near + far]).near
    assert found.tolist() == [*range(50), *range(50), *range(100, 150)]


def test_a_text_and_the_same_with_a_long_appendix_are_as_near_as_they_share() -> None:
    """Sketches of sets of different size: 1,000 words are 5/6 of the longer text, and 2/3 of the longest."""
    words = sentence(random.Random(6), 1500)
    found = find([" ".join(words[:1000]), " ".join(words[:1100]), " ".join(words)])
    assert found.near.tolist() == [0, 0, 2]


def test_the_size_of_what_is_worked_on_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(BENCHMARK["Rows"](500, seed=2))
    whole = find(texts)
    for name, size in {"BATCH_WORDS": 1000, "BLOCK_ROWS": 7, "BLOCK_PAIRS": 3}.items():
        monkeypatch.setattr(duplicates, name, size)
    assert all((part == other).all() for part, other in zip(whole, find(texts)))


def test_the_result_is_the_same_for_any_hash_seed_and_number_of_threads() -> None:
    code = (
        f"import runpy; Rows = runpy.run_path({str(CHECKOUT / 'benchmarks' / 'duplicates.py')!r})['Rows']\n"
        "from localpsych_recipes.data.duplicates import Finder\n"
        "finder = Finder(); [finder.add(text) for text in Rows(500)]; print(finder.found().near.tolist())"
    )
    seen = set()
    for number in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": number, "OMP_NUM_THREADS": number, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
        seen.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("I am tired of it all", "I AM tired, of it - all!", 1.0),
        ("I am tired of it all", "I am tired of it now", 3 / 5),  # 4 runs of three each, 3 shared
        ("I am tired of it all", "nothing like that", 0.0),
        ("so tired", "tired", 1 / 2),  # texts of one or two words by their words
        ("so tired", "so tired now", 0.0),
        ("...", "...", 0.0),  # no words
        ("", "", 0.0),
    ],
)
def test_two_texts_are_as_similar_as_the_runs_of_three_words_that_they_share(one, other, alike) -> None:
    assert similarity(one, other) == similarity(other, one) == alike

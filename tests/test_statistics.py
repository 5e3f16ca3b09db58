"""Intervals against scipy's and published ones, closed forms, and how often they hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from localpsych_recipes.statistics import effective, estimate, paired_difference, share, wilson

SEED = {"seed": 3, "resamples": 4000}
NONE = {"value": None, "low": None, "high": None}


def plain(values, weights=None) -> dict:
    weights = [1.0] * len(values) if weights is None else weights
    return {f"item {n}": (value, weight) for n, (value, weight) in enumerate(zip(values, weights))}


@pytest.mark.parametrize(
    ("kept", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_of_shares_are_those_of_newcombe_1998_table_1_method_3(kept, of, low, high):
    found = share(kept, of)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("kept", "of"), [(0, 60), (60, 60), (7, 60), (1, 1)])
def test_a_share_has_scipys_wilson_interval(kept, of):
    expected = stats.binomtest(kept, of).proportion_ci(0.95, method="wilson")
    found = estimate("share", plain([1] * kept + [0] * (of - kept)), {}, **SEED)
    assert found["value"] == kept / of
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_share_of_nothing_is_unknown():
    assert share(0, 0) == {"kept": 0, "of": 0, "share": None, "low": None, "high": None}


@pytest.mark.parametrize("form", ["mean", "share", "perplexity", "macro_f1"])
def test_no_items_have_no_value_and_items_of_no_weight_are_none(form):
    assert estimate(form, {}, {}, **SEED) == NONE
    assert estimate(form, {"empty": ((1, 1) if form == "macro_f1" else 1, 0.0)}, {}, **SEED) == NONE
    assert paired_difference(form, {}, {}, {}, **SEED) == NONE


@pytest.mark.parametrize("form", ["mean", "share", "perplexity"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_one_item_that_is_no_number_leaves_no_value_rather_than_that_of_the_others(form, wrong):
    whole, broken = plain([1.0, 0.0, 1.0]), plain([1.0, wrong, 1.0])
    assert estimate(form, broken, {}, **SEED) == NONE
    assert paired_difference(form, broken, whole, {}, **SEED) == NONE
    assert paired_difference(form, whole, broken, {}, **SEED) == NONE
    without = {id: item for id, item in whole.items() if id != "item 1"}
    assert paired_difference(form, without, broken, {}, **SEED)["value"] == 0  # of the items of both


def test_one_item_has_a_value_and_no_interval_and_nor_has_one_cluster_of_many():
    assert estimate("mean", plain([2.5]), {}, **SEED) == {"value": 2.5, "low": None, "high": None}
    one = estimate("mean", plain([1.0, 2.0]), {"item 0": "same", "item 1": "same"}, **SEED)
    assert one == {"value": 1.5, "low": None, "high": None}


@pytest.mark.parametrize("form", ["mean", "perplexity"])
def test_a_weighted_mean_has_scipys_bootstrap_interval(form):
    draws = np.random.default_rng(1)
    values, weights = draws.gamma(2.0, size=80), draws.integers(1, 60, 80).astype(float)

    def measure(values, weights, axis=-1):
        ratio = (values * weights).sum(axis) / weights.sum(axis)
        return np.exp(ratio) if form == "perplexity" else ratio

    pair = (values, weights)
    expected = stats.bootstrap(pair, measure, paired=True, n_resamples=20_000, method="percentile", rng=2)
    found = estimate(form, plain(values, weights), {}, seed=3, resamples=20_000)
    assert found["value"] == pytest.approx(measure(values, weights))
    ends = expected.confidence_interval
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high), rel=0.02)


def test_macro_f1_is_the_mean_of_the_labels_f1_by_hand():
    # label a: 2 hits, said 3, held out 2 -> 4/5; label b: 1 hit, said 1, held out 2 -> 2/3; "c" is no held-out label
    pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")]
    assert estimate("macro_f1", plain(pairs), {}, **SEED)["value"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    # and an answer of none of the labels takes its share: a: 2 hits, said 3, held out 3 -> 2/3
    assert estimate("macro_f1", plain([*pairs, ("c", "a")]), {}, **SEED)["value"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_macro_f1_has_the_interval_of_a_bootstrap_in_a_plain_loop():
    draws = np.random.default_rng(5)
    pairs = [
        (int(true if draws.random() < 0.7 else draws.integers(3)), int(true)) for true in draws.integers(3, size=60)
    ]

    def f1(pairs, label):
        hits = sum(said == true == label for said, true in pairs)
        return 2 * hits / sum((said == label) + (true == label) for said, true in pairs)

    def macro(pairs):
        return np.mean([f1(pairs, label) for label in {true for _, true in pairs}])

    slow = [macro([pairs[i] for i in draws.integers(60, size=60)]) for _ in range(3000)]
    found = estimate("macro_f1", plain(pairs), {}, **SEED)
    assert found["value"] == pytest.approx(macro(pairs))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(slow, (0.025, 0.975))), abs=0.015)


def test_the_same_seed_gives_the_same_numbers_in_whatever_order_items_come():
    items = plain(np.random.default_rng(0).normal(size=30))
    turned = dict(reversed(items.items()))
    assert estimate("mean", items, {}, **SEED) == estimate("mean", turned, {}, **SEED)
    assert estimate("mean", items, {}, **SEED) != estimate("mean", items, {}, seed=4, resamples=4000)


def test_many_resamples_are_drawn_in_blocks_and_come_to_the_same_interval():
    values = np.random.default_rng(0).normal(size=1000)
    found = estimate("mean", plain(values), {}, seed=0, resamples=6000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(1000)
    assert (found["low"], found["high"]) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.006)


def test_the_interval_of_a_mean_holds_the_truth_about_95_times_in_100():
    draws = np.random.default_rng(11)
    held = 0
    for trial in range(300):
        found = estimate("mean", plain(draws.normal(2.0, size=50)), {}, seed=trial, resamples=500)
        held += found["low"] <= 2.0 <= found["high"]
    assert 0.90 <= held / 300 <= 0.98


def clustered(draws, p: float, groups: int = 30, each: int = 5) -> tuple[dict, dict]:
    """Items that agree with their cluster nine times in ten; a share of p in the long run."""
    common = draws.random(groups) < p
    own = draws.random((groups, each)) < p
    values = np.where(draws.random((groups, each)) < 0.9, common[:, None], own)
    names = [(f"{g}/{e}", g) for g in range(groups) for e in range(each)]
    items = {id: (int(values[g, int(id.split("/")[1])]), 1.0) for id, g in names}
    return items, {id: f"scenario {g}" for id, g in names}


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_shares_of_clustered_items_hold_the_truth_and_as_single_items_they_would_not(p):
    draws = np.random.default_rng(12)
    held, naive = 0, 0
    for _ in range(400):
        items, clusters = clustered(draws, p)
        for kind in (clusters, {}):
            found = estimate("share", items, kind, **SEED)
            held += bool(kind) and found["low"] <= p <= found["high"]
            naive += not kind and found["low"] <= p <= found["high"]
    assert 0.92 <= held / 400 <= 0.99
    assert naive / 400 < 0.80


def test_a_share_of_all_or_none_keeps_an_interval_of_as_many_items_as_there_are_clusters():
    clusters = {f"item {n}": f"scenario {n // 4}" for n in range(40)}
    for kept in (0, 1):
        found = estimate("share", plain([kept] * 40), clusters, **SEED)
        assert (found["low"], found["high"]) == wilson(kept, 10)


def test_items_of_one_cluster_that_agree_count_once_and_independent_ones_each():
    agree = np.array([[4.0, 4.0], [0.0, 4.0], [4.0, 4.0], [0.0, 4.0]])
    assert effective(agree) == pytest.approx(4 * 3 / 4)  # four observations, one degree of freedom lost
    alone = np.column_stack([[1, 0, 1, 0], [1, 1, 1, 1]])
    assert effective(alone) == 4


def test_clusters_widen_the_interval_of_a_mean_too():
    values = np.repeat(np.random.default_rng(2).normal(size=20), 5)
    clusters = {f"item {n}": f"scenario {n // 5}" for n in range(100)}
    apart, together = (estimate("mean", plain(values), kind, **SEED) for kind in ({}, clusters))
    ratio = (together["high"] - together["low"]) / (apart["high"] - apart["low"])
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)  # five copies of one value say what one says


def test_a_paired_difference_is_narrower_than_both_intervals_where_items_go_together():
    draws = np.random.default_rng(7)
    common = draws.normal(size=100)
    base, tuned = plain(common), plain(common + 0.3 + draws.normal(scale=0.2, size=100))
    found = paired_difference("mean", tuned, base, {}, **SEED)
    expected = stats.ttest_rel([v for v, _ in tuned.values()], [v for v, _ in base.values()]).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=0.01)
    alone = estimate("mean", base, {}, **SEED)
    assert found["high"] - found["low"] < (alone["high"] - alone["low"]) / 3


def test_a_paired_difference_takes_the_items_that_both_have():
    one, other = {"a": (1.0, 1.0), "b": (5.0, 1.0)}, {"b": (2.0, 1.0), "c": (9.0, 1.0)}
    assert paired_difference("mean", one, other, {}, **SEED) == {"value": 3.0, "low": None, "high": None}
    assert paired_difference("mean", {"a": (1.0, 1.0)}, other, {}, **SEED) == NONE


def test_a_difference_of_perplexities_is_the_difference_of_their_values():
    one, other = plain([1.0, 2.0, 3.0], [5, 1, 2]), plain([2.0, 2.0, 1.0], [5, 1, 2])
    found = paired_difference("perplexity", one, other, {}, **SEED)
    assert found["value"] == pytest.approx(np.exp(13 / 8) - np.exp(14 / 8))


def of_table(both: int, ours: int, theirs: int, neither: int) -> tuple[dict, dict]:
    """Items of a two by two table: who has a one."""
    pairs = [(1, 1)] * both + [(1, 0)] * ours + [(0, 1)] * theirs + [(0, 0)] * neither
    return plain([one for one, _ in pairs]), plain([other for _, other in pairs])


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe 1998, paired data
        ((1, 1, 7, 12), -0.507, -0.026),  # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness
    ],
)
def test_a_difference_of_shares_has_the_published_interval(table, low, high):
    found = paired_difference("share", *of_table(*table), {}, **SEED)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def test_three_items_of_ten_that_differ_one_way_may_be_chance():
    """McNemar's exact test has p = 0.25; a percentile bootstrap leaves 0 out in every other seed."""
    ours, theirs = of_table(0, 3, 0, 7)
    assert stats.binomtest(3, 3).pvalue == 0.25
    found = paired_difference("share", ours, theirs, {}, **SEED)
    assert found["low"] < 0 < found["value"] == pytest.approx(0.3)


@pytest.mark.parametrize("same", [0, 1, 6])
def test_shares_that_differ_in_no_item_still_have_an_interval(same):
    items, _ = of_table(same, 0, 0, 6 - same)
    found = paired_difference("share", items, dict(items), {}, **SEED)
    assert found["value"] == 0.0 and found["low"] == pytest.approx(-found["high"]) and found["high"] > 0.1


def test_items_of_one_cluster_that_agree_say_as_much_of_a_difference_as_one():
    ours, theirs = of_table(5, 4, 1, 6)
    one = paired_difference("share", ours, theirs, {}, **SEED)
    twice = [{f"{id} {copy}": item for id, item in items.items() for copy in "ab"} for items in (ours, theirs)]
    clusters = {id: id[:-2] for id in twice[0]}
    found = paired_difference("share", *twice, clusters, **SEED)
    assert found["value"] == pytest.approx(one["value"])
    assert (found["low"], found["high"]) == pytest.approx((one["low"], one["high"]), abs=0.02)


def test_the_interval_of_a_difference_of_shares_holds_the_truth_about_95_times_in_100():
    draws, held = np.random.default_rng(4), 0
    for _ in range(400):
        common = draws.random(31)
        other = np.where(draws.random(31) < 0.5, common, draws.random(31))
        found = paired_difference("share", plain(common < 0.4), plain(other < 0.2), {}, **SEED)
        held += found["low"] <= 0.2 <= found["high"]
    assert 0.93 <= held / 400 <= 0.99


def test_a_share_of_halves_is_known_no_better_than_one_of_ones_and_zeros():
    halves = estimate("share", plain([0.5] * 20), {}, **SEED)
    assert (halves["low"], halves["high"]) == wilson(0.5, 20)

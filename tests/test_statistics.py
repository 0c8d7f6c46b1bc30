"""Every interval, test and correction against scipy.stats or a count by hand."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rsc_mlflow.errors import InputError
from rsc_mlflow.statistics import (
    holm,
    mcnemar,
    paired_comparison,
    pearson,
    prediction_interval,
    rank_sum,
    sign_flip,
    spearman,
    t_half_width,
    t_interval,
)

SEEDS = [0.61, 0.58, 0.73, 0.55, 0.69]
OTHER = [0.52, 0.57, 0.60, 0.50, 0.71]


def test_t_interval_is_scipys() -> None:
    found = t_interval(SEEDS, 0.9)
    low, high = stats.t.interval(0.9, 4, loc=np.mean(SEEDS), scale=stats.sem(SEEDS))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.estimate == pytest.approx(0.632)
    assert found.half_width == pytest.approx((high - low) / 2)
    assert (found.n, found.level) == (5, 0.9)


def test_half_widths_of_many_samples_are_those_of_each_alone() -> None:
    samples = [SEEDS, OTHER, SEEDS[:2], SEEDS[:1]]
    deviations = [np.std(s, ddof=1) if len(s) > 1 else math.nan for s in samples]
    found = t_half_width(np.array(deviations), np.array([len(s) for s in samples]), 0.9)
    theirs = [stats.t.ppf(0.95, len(s) - 1) * stats.sem(s) for s in samples[:3]]
    assert found == pytest.approx([*theirs, math.nan], abs=1e-12, nan_ok=True)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    for found in (t_interval([0.4]), prediction_interval([0.4])):
        assert found.estimate == 0.4
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_two_values_have_an_interval_and_both_intervals_know_their_sample_size() -> None:
    pair = t_interval([1.0, 3.0])
    assert (pair.low, pair.high) == pytest.approx(stats.t.interval(0.95, 1, loc=2, scale=1))
    assert (pair.n, prediction_interval([1.0, 3.0, 4.0]).n) == (2, 3)


def test_an_estimated_p_value_counts_the_observed_assignment_once() -> None:
    rng = np.random.default_rng(0)
    found = rank_sum(rng.normal(size=400), rng.normal(size=400), resamples=9)
    assert not found.exact
    assert found.p_value * 10 == pytest.approx(round(found.p_value * 10))
    assert rank_sum(rng.normal(9, 1, 400), rng.normal(size=400), resamples=9).p_value == pytest.approx(0.1)


def test_t_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = [(found := t_interval(rng.normal(3, 2, 5), 0.9)).low <= 3 <= found.high for _ in range(2000)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)  # three standard errors


def test_mcnemar_by_hand() -> None:
    poisoned = np.array([1, 1, 1, 0, 1, 0], dtype=bool)
    clean = np.array([0, 0, 0, 1, 1, 0], dtype=bool)
    # b = 3, c = 1: P(Bin(4, 1/2) >= 3) = (4 + 1) / 16.
    assert mcnemar(poisoned, clean) == pytest.approx(5 / 16)
    # The other side: P(Bin(4, 1/2) >= 1) = 15/16.
    assert mcnemar(clean, poisoned) == pytest.approx(15 / 16)
    assert mcnemar(poisoned, poisoned) == 1.0


def test_mcnemar_is_the_binomial_test() -> None:
    rng = np.random.default_rng(3)
    poisoned, clean = rng.random(10_000) < 0.12, rng.random(10_000) < 0.11
    b, c = (poisoned & ~clean).sum(), (clean & ~poisoned).sum()
    expected = stats.binomtest(b, b + c, alternative="greater").pvalue
    assert mcnemar(poisoned, clean) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_does_not_reject_too_often_when_nothing_differs() -> None:
    rng = np.random.default_rng(4)
    p = [mcnemar(rng.random(300) < 0.2, rng.random(300) < 0.2) for _ in range(1000)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_sign_flip_by_hand() -> None:
    # Signs of (1, 2, 4): eight sums, each once; only +7 and -7 are as far from zero as 7.
    assert sign_flip([1, 2, 4]) == 2 / 8
    assert sign_flip([-1, -2, 4]) == 1.0  # ±1 are the smallest of ±1, ±3, ±5, ±7
    assert sign_flip([0, 0]) == 1.0
    assert sign_flip([1] * 16) == 2 / 2**16  # the largest number of differences whose signs are enumerated
    # One-sided, of the sums 7, 5, 3, 1, -1, -3, -5, -7: one is at least 7, four are at least 1, five at least -1.
    assert sign_flip([1, 2, 4], greater=True) == 1 / 8
    assert sign_flip([-1, -2, 4], greater=True) == 4 / 8
    assert sign_flip([1, 2, -4], greater=True) == 5 / 8
    assert sign_flip([0, 0], greater=True) == 1.0


def test_sign_flip_is_scipys_permutation_test() -> None:
    differences = np.subtract(SEEDS, OTHER)
    theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences) == pytest.approx(theirs.pvalue)
    for sample in (differences, -differences):
        theirs = stats.permutation_test(
            (sample,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="greater"
        )
        assert sign_flip(sample, greater=True) == pytest.approx(theirs.pvalue)


def test_sign_flip_drawn_is_close_to_the_exact_one() -> None:
    differences = np.random.default_rng(5).normal(0.4, 1, 17)
    signs = np.array(list(itertools.product([-1, 1], repeat=17)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip(differences) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize(("first", "second"), [(SEEDS, OTHER), (OTHER, SEEDS)])
def test_paired_comparison_is_scipys(first: list[float], second: list[float]) -> None:
    found = paired_comparison(first, second)
    theirs = stats.ttest_rel(first, second)
    assert found.p_t == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    theirs = stats.permutation_test(
        (first, second), lambda a, b: np.mean(np.subtract(a, b)), permutation_type="samples"
    )
    assert found.p_sign_flip == pytest.approx(theirs.pvalue)


CONTROLS = [0, *range(99)]
"""One hundred values, of which two are equal."""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([99], CONTROLS, 1 / 101),
        ([80.5], CONTROLS, 19 / 101),
        ([0], CONTROLS, 1.0),
        (range(10, 15), range(10), 1 / 3003),
        (range(10), range(10, 15), 1.0),
        ([1, 1], [1, 1, 1], 1.0),
    ],
)
def test_rank_sum_counted_by_hand(first: list[float], second: list[float], expected: float) -> None:
    found = rank_sum(first, second)
    assert (found.p_value, found.exact, found.standard_error) == (pytest.approx(expected, rel=1e-12), True, 0)


@pytest.mark.parametrize("m", [4, 6, 8, 17, 18])
def test_rank_sum_of_equal_values_is_not_rounded_above_1(m: int) -> None:
    p = rank_sum(np.zeros(1), np.zeros(m)).p_value
    assert p == pytest.approx(1.0, abs=1e-12)
    assert p <= 1.0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), min_size=1, max_size=6))
@settings(deadline=None)
def test_rank_sum_with_ties_is_the_share_of_all_assignments(first: list[int], second: list[int]) -> None:
    pooled, n = np.array(first + second), len(first)
    pairs = [(a > b) + (a == b) / 2 for a in first for b in second]
    us = []
    for chosen in itertools.combinations(range(len(pooled)), n):
        mine = np.isin(np.arange(len(pooled)), chosen)
        a, b = pooled[mine][:, None], pooled[~mine]
        us.append(float((a > b).sum() + (a == b).sum() / 2))
    found = rank_sum(first, second)
    assert found.statistic == sum(pairs)
    assert found.p_value == pytest.approx(np.mean(np.array(us) >= sum(pairs)))


@pytest.mark.parametrize(("n", "m"), [(1, 30), (7, 4), (20, 25), (3, 400)])
def test_rank_sum_without_ties_is_scipys_exact_one(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.normal(0.4, 1, n), rng.normal(0, 1, m)
    theirs = stats.mannwhitneyu(first, second, alternative="greater", method="exact")
    found = rank_sum(first, second)
    assert (found.statistic, found.exact) == (theirs.statistic, True)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(12, 9), (9, 12)])
def test_rank_sum_drawn_is_within_its_standard_error(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawn p-value against the exact one, from both sides (the smaller sample is the one that is drawn)."""
    rng = np.random.default_rng(1)
    first, second = rng.integers(1, 9, n), rng.integers(0, 8, m)
    exact = rank_sum(first, second)
    monkeypatch.setattr("rsc_mlflow.statistics._EXACT_RANK_SUM", 0)
    drawn = rank_sum(first, second)
    assert (exact.exact, drawn.exact) == (True, False)
    assert 0 < drawn.standard_error < 0.002
    assert drawn.standard_error == pytest.approx(stats.binom(99_999, drawn.p_value).std() / 99_999)
    assert abs(drawn.p_value - exact.p_value) < 4 * drawn.standard_error


def test_rank_sum_of_a_membership_attack_is_quick_and_close_to_the_normal_approximation() -> None:
    """A hundred members against 5,300 controls, with ties: large enough to hold against the normal approximation."""
    rng = np.random.default_rng(0)
    members, controls = rng.normal(0.2, 1, 100).round(2), rng.normal(0, 1, 5300).round(2)
    began = time.process_time()
    found = rank_sum(members, controls)
    assert time.process_time() - began < 10
    theirs = stats.mannwhitneyu(members, controls, alternative="greater", method="asymptotic")
    assert not found.exact
    assert found.statistic == theirs.statistic
    assert abs(found.p_value - theirs.pvalue) < 4 * found.standard_error + 0.0005


def test_rank_sum_rejects_equal_groups_as_often_as_it_says() -> None:
    """All p-values over the assignments of one pooled sample: P(p <= a) <= a, with equality where a is reachable."""
    pooled = np.array([0, 0, 1, 2, 2, 2, 3, 5])
    p_values = [
        rank_sum(pooled[list(chosen)], np.delete(pooled, list(chosen))).p_value
        for chosen in itertools.combinations(range(8), 3)
    ]
    for p in set(p_values):
        assert np.mean(np.array(p_values) <= p + 1e-12) == pytest.approx(p)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=6))
@settings(deadline=None)
def test_spearman_is_scipys_over_all_orders(pairs: list[tuple[int, int]]) -> None:
    x, y = (list(column) for column in zip(*pairs, strict=True))
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found.statistic)
        assert math.isnan(found.p_value)
        return
    rank = [stats.rankdata(column) for column in (x, y)]
    orders = [np.corrcoef(rank[0], order)[0, 1] for order in itertools.permutations(rank[1])]
    seen = np.corrcoef(*rank)[0, 1]
    assert found.statistic == pytest.approx(seen)
    assert found.p_value == pytest.approx(np.mean(np.abs(orders) >= abs(seen) - 1e-9))


def test_spearman_of_seven_patterns_and_drawn_for_more() -> None:
    x, y = [1, 2, 3, 4, 5, 6, 7], [2, 1, 3, 4, 6, 5, 7]
    assert spearman(x, y).statistic == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman([1, 2, 3], [1, 2, 3]).p_value == pytest.approx(2 / 6)
    assert spearman(range(8), range(8)).p_value == pytest.approx(2 / math.factorial(8))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    found, theirs = spearman(x, y), stats.spearmanr(x, y)
    assert (found.statistic, found.exact) == (pytest.approx(theirs.statistic), False)
    assert abs(found.p_value - theirs.pvalue) < 4 * found.standard_error + 0.005
    binomial = stats.binom(99_999, found.p_value).std() / 99_999
    assert found.standard_error == pytest.approx(binomial)


def test_paired_comparison_without_variance() -> None:
    assert paired_comparison([1, 2], [1, 2]).p_t == 1.0
    assert paired_comparison([2, 3], [1, 2]).p_t == 0.0
    assert paired_comparison([1, 2], [2, 3]).p_t == 0.0


def test_pearson_is_scipys() -> None:
    found, theirs = pearson(SEEDS, OTHER), stats.pearsonr(SEEDS, OTHER)
    interval = theirs.confidence_interval()
    assert found.r.estimate == pytest.approx(theirs.statistic)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert (found.r.low, found.r.high) == pytest.approx((interval.low, interval.high))


def test_pearson_at_the_edges() -> None:
    line = pearson([1, 2, 3, 4], [2, 4, 6, 8])
    assert line.r.estimate == pytest.approx(1)
    assert line.r.high == pytest.approx(1)
    assert line.p_value == pytest.approx(0, abs=1e-12)
    for constant in (pearson([1, 1, 1], [1, 2, 3]), pearson([1, 2, 3], [1, 1, 1])):
        assert math.isnan(constant.r.estimate)
        assert math.isnan(constant.p_value)
        assert constant.r.n == 3
    assert math.isnan(pearson([1, 2, 3], [1, 2, 4]).r.low)
    pair = pearson([1, 2], [5, 3])
    assert pair.r.estimate == pytest.approx(-1)
    assert math.isnan(pair.p_value)


def test_rounding_gives_no_correlation_beyond_one() -> None:
    for x in np.random.default_rng(0).normal(size=(200, 9)):  # without the limits, some of them would be 1 + 2e-16
        same, opposite = pearson(x, 3 * x + 1), pearson(x, -x)
        assert same.r.estimate == pytest.approx(1)
        assert same.r.estimate <= 1
        assert opposite.r.estimate >= -1
        assert (same.p_value, opposite.p_value) == pytest.approx((0, 0), abs=1e-9)


def test_correction_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_correction_in_general(p: list[float]) -> None:
    """Between Benjamini and Hochberg's values, which promise less, and Bonferroni's, which are never smaller."""
    assert (stats.false_discovery_control(p) <= holm(p) + 1e-12).all()
    assert (holm(p) <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: t_interval([]),
        lambda: t_interval([1, math.nan]),
        lambda: t_interval([1, 2], 1),
        lambda: t_interval([1, 2], 0),
        lambda: mcnemar(np.array([1, 0]), np.array([True, False])),
        lambda: mcnemar(np.array([True]), np.array([True, False])),
        lambda: paired_comparison([1, 2], [1]),
        lambda: paired_comparison([1, 2, 3], [1, 2]),
        lambda: paired_comparison([1], [1]),
        lambda: pearson([1, 2], [1, math.inf]),
        lambda: holm([0.1, 1.2]),
        lambda: holm([math.nan]),
        lambda: sign_flip(np.array([[1.0], [2.0]])),
        lambda: rank_sum([], [1]),
        lambda: rank_sum([1], [math.nan]),
        lambda: rank_sum([1], [2], resamples=0),
        lambda: spearman([1], [1]),
        lambda: spearman([1, 2], [1, 2, 3]),
    ],
)
def test_bad_input_says_what_is_accepted(call: object) -> None:
    with pytest.raises(InputError, match=r"Expected|resamples"):
        call()  # type: ignore[operator]


def test_bad_input_names_the_sample() -> None:
    with pytest.raises(InputError, match=r"Invalid first values of shape \(2,\), 1 of them not finite"):
        pearson([1, math.nan], [1, 2])
    with pytest.raises(InputError, match=r"Invalid second values of shape \(1,\).* finite numbers, at least 2"):
        pearson([1, 2], [1])

"""Confidence intervals, hypothesis tests and corrections for multiple testing, on plain arrays.

Seeds are the unit of replication: an interval over seeds describes how much a number varies between trained models.

The p-value of :func:`mcnemar` is exact.  Those of :func:`sign_flip`, :func:`rank_sum` and :func:`spearman` are exact
for small samples and estimated from random permutations for larger ones.  The module uses ``scipy.special`` only,
because ``scipy.stats`` takes several times longer to import; the tests compare the results with ``scipy.stats``.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from rsc_mlflow.errors import InputError, invalid_value

Values = Sequence[float] | npt.NDArray[Any]
"""A vector ``[n]`` of numbers."""
_EXACT_SIGN_FLIPS = 16
"""With at most this many differences, all 2^n assignments of signs are enumerated; with more, they are sampled."""
_EXACT_ORDERS = 8
"""With at most this many pairs, all n! permutations are enumerated; with more, they are sampled."""
_EXACT_RANK_SUM = 300_000_000
"""The rank sum's distribution is computed exactly if that takes at most this many multiplications (about 1 s)."""
_COLUMNS, _ENTRIES = 1024, 2**24
"""Maximum number of permutations that :func:`rank_sum` samples at a time, and of ranks in all of them together."""


@dataclass(frozen=True)
class Interval:
    """An estimate with a two-sided confidence interval.

    Attributes:
        estimate: the estimate.
        low: lower bound of the interval; NaN if the sample is too small.
        high: upper bound, likewise.
        n: sample size.
        level: confidence level.
    """

    estimate: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class PairedComparison:
    """The mean of ``first - second`` over pairs, with a t interval and two two-sided p-values.

    Attributes:
        difference: mean difference with Student's interval.
        p_t: p-value of Student's paired t test, which assumes normal differences.
        p_sign_flip: p-value of the sign-flip permutation test, which assumes symmetric differences.  With n ≤ 16 pairs,
            it is at least 2/2^n.
    """

    difference: Interval
    p_t: float
    p_sign_flip: float


def t_interval(values: Values, level: float = 0.95) -> Interval:
    """Return Student's t interval for the mean of independent values, such as one per seed.

    The bounds are NaN for a single value.

    Raises:
        InputError: there are no values, a value is not finite, or ``level`` is outside (0, 1).
    """
    sample = _sample("values", values)
    _check_level(level)
    mean, n = float(sample.mean()), len(sample)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n, level)
    half = float(t_half_width(sample.std(ddof=1), n, level))
    return Interval(mean, mean - half, mean + half, n, level)


def t_half_width(deviation: Any, n: Any, level: float = 0.95) -> Any:
    """Return half the lengths of Student's t intervals for the means of many samples; NaN where n < 2.

    Args:
        deviation: sample standard deviations (divisor n - 1), a number or an array of any shape.
        n: sample sizes, of the same shape.
        level: confidence level.

    Raises:
        InputError: ``level`` is outside (0, 1).
    """
    _check_level(level)
    size = np.asarray(n)
    factor = special.stdtrit(np.maximum(size - 1, 1), (1 + level) / 2) / np.sqrt(np.maximum(size, 1))
    return np.where(size > 1, factor, np.nan) * deviation


def prediction_interval(values: Values, level: float = 0.95) -> Interval:
    """Return the prediction interval for one further value of a normal sample, mean ± t · s · √(1 + 1/n).

    Here s is the sample's standard deviation, and t is the quantile of Student's distribution with n - 1 degrees of
    freedom.  The bounds are NaN for a single value.

    Raises:
        InputError: there are no values, a value is not finite, or ``level`` is outside (0, 1).
    """
    mean = t_interval(values, level)
    half = mean.half_width * math.sqrt(mean.n + 1)  # t · s / √n times √n · √(1 + 1/n)
    return Interval(mean.estimate, mean.estimate - half, mean.estimate + half, mean.n, level)


def mcnemar(poisoned_hits: npt.NDArray[Any], clean_hits: npt.NDArray[Any]) -> float:
    """Return the p-value of the one-sided exact McNemar test of whether the poisoned model has more hits.

    Let b be the number of examples hit by the poisoned model only and c the number hit by the clean model only.
    Examples with the same outcome under both models carry no information.  Under the null hypothesis b is
    Binomial(b + c, 1/2), so the p-value is P(Binomial(b + c, 1/2) >= b); it is 1 if no example differs.

    The test compares two trained models on the same examples.  For conclusions about other training seeds, compare
    several models of each kind, for example by :func:`rank_sum`.

    Args:
        poisoned_hits: bool ``[N]``.
        clean_hits: bool ``[N]``, for the same test examples.

    Raises:
        InputError: the arrays are not two boolean vectors of the same length.
    """
    first, second = np.asarray(poisoned_hits), np.asarray(clean_hits)
    if first.dtype != np.bool_ or second.dtype != np.bool_ or first.ndim != 1 or first.shape != second.shape:
        raise InputError(
            f"Invalid hits of types {first.dtype}, {second.dtype} and shapes {first.shape}, {second.shape}. "
            "Expected two boolean vectors over the same examples."
        )
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return 1.0 if b == 0 else float(special.bdtrc(b - 1, b + c, 0.5))


@dataclass(frozen=True)
class PermutationTest:
    """The result of a permutation test.

    Attributes:
        statistic: the observed statistic.
        p_value: share of all permutations whose statistic is at least as extreme as the observed one, or its estimate.
        standard_error: standard error of ``p_value`` if it was estimated from random permutations, else 0.
        exact: whether ``p_value`` is exact.
    """

    statistic: float
    p_value: float
    standard_error: float
    exact: bool


def rank_sum(first: Values, second: Values, resamples: int = 99_999, seed: int = 0) -> PermutationTest:
    """Return the one-sided permutation test of whether values of ``first`` tend to be higher than those of ``second``.

    The statistic is Mann and Whitney's U: the number of pairs in which the first value is higher, where ties count
    half.  For samples of n and m values, U / (n m) is the AUC.  The null distribution is that of a random assignment of
    the pooled midranks to the samples, so ties need no correction.  It is computed exactly if that takes at most about
    a second, for example for one value against thousands, three against 5,000, or 50 against 50.  For larger samples,
    p is estimated as (1 + hits) / (1 + resamples), where hits is the number of random assignments with at least the
    observed U.  This p is valid, but it cannot be below 1 / (1 + resamples).

    Raises:
        InputError: a sample is empty, a value is not finite, or ``resamples`` < 1.
    """
    a, b = _sample("first values", first), _sample("second values", second)
    _check_resamples(resamples)
    ranks = double_midranks(np.concatenate([a, b]))
    u = (float(ranks[: len(a)].sum()) / 2) - len(a) * (len(a) + 1) / 2
    # Work with the smaller sample: high values in one sample are low values in the other.
    chosen, ranks = (ranks[: len(a)], ranks) if len(a) <= len(b) else (-ranks[len(a) :], -ranks)
    low, high = int((chosen - ranks.min()).sum()), int((ranks.max() - chosen).sum())
    unit = max(int(np.gcd.reduce(ranks - ranks.min())), 1)
    cost = len(ranks) * len(chosen) * (min(low, high) // unit + 1)
    if cost <= _EXACT_RANK_SUM:
        p = _exact_rank_sum(ranks, len(chosen), low, high, unit)
        return PermutationTest(u, p, 0.0, True)
    hits = _drawn_rank_sums(ranks, int(chosen.sum()), len(chosen), resamples, seed)
    p = (1 + hits) / (1 + resamples)
    return PermutationTest(u, p, math.sqrt(p * (1 - p) / resamples), False)


def double_midranks(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return twice the midrank of each value, int64 ``[n]``.  Ranks start at 1, and equal values share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (2 * ends - counts + 1)[inverse]


def _exact_rank_sum(ranks: npt.NDArray[np.int64], n: int, low: int, high: int, unit: int) -> float:
    """Return P(sum of n of the ranks >= the observed sum).

    The observed sum is ``low`` above the smallest and ``high`` below the largest possible sum; all are multiples of
    ``unit``.
    """
    if high <= low:
        return _tail((ranks.max() - ranks) // unit, n, high // unit)
    return 1 - _tail((ranks - ranks.min()) // unit, n, low // unit - 1) if low else 1.0


def _tail(steps: npt.NDArray[np.int64], n: int, most: int) -> float:
    """Return P(sum of n of the ``steps``, drawn without replacement, <= most).

    Dynamic program over the steps; ``p[k, s]`` is the probability of having drawn k steps so far, with sum s.
    """
    p = np.zeros((n + 1, most + 1))
    p[0, 0] = 1
    for left, step in zip(range(len(steps), 0, -1), np.sort(steps)[::-1].tolist(), strict=True):
        take = ((n - np.arange(n + 1)) / left).clip(0, 1)[:, None]
        drawn = p[:-1, : max(most + 1 - step, 0)] * take[:-1]
        p *= 1 - take
        p[1:, step:] += drawn
    return min(float(p[n].sum()), 1.0)  # rounding can make it 1 + 2e-16


def _drawn_rank_sums(ranks: npt.NDArray[np.int64], observed: int, n: int, resamples: int, seed: int) -> int:
    """Return how many of ``resamples`` random choices of n of the ranks have a sum of at least ``observed``.

    Each column of ``orders`` contains all ranks in some order.  The first n steps of a Fisher-Yates shuffle draw the
    next sample from a column, whatever its current order.
    """
    rng, hits = np.random.default_rng(seed), 0
    width = max(1, min(_COLUMNS, resamples, _ENTRIES // len(ranks)))
    orders, columns = np.repeat(ranks.astype(np.int32)[:, None], width, axis=1), np.arange(width)
    for start in range(0, resamples, width):
        for i in range(n):
            other = rng.integers(i, len(ranks), width, dtype=np.int32)
            orders[other, columns], orders[i] = orders[i].copy(), orders[other, columns]
        sums = orders[:n, : resamples - start].sum(axis=0, dtype=np.int64)
        hits += int((sums >= observed).sum())
    return hits


def sign_flip(differences: Values, resamples: int = 99_999, seed: int = 0, *, greater: bool = False) -> float:
    """Return the p-value of the sign-flip permutation test of whether paired differences are symmetric about zero.

    Under the null hypothesis every assignment of signs is equally likely.  The p-value is the share of assignments
    whose mean is at least as far from zero as the observed mean or, with ``greater``, at least as large.  All 2^n
    assignments are enumerated for n ≤ 16.  For larger n, ``resamples`` random ones are used together with the observed
    one, which keeps the test valid.

    Raises:
        InputError: there are no differences, or one is not finite.
    """
    sample = _sample("differences", differences)
    n = len(sample)
    if n <= _EXACT_SIGN_FLIPS:
        codes = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        codes = np.random.default_rng(seed).integers(2, size=(resamples, n))
        codes = np.concatenate([np.ones((1, n), dtype=codes.dtype), codes])
    sums, observed = (2 * codes - 1) @ sample, float(sample.sum())
    if not greater:
        sums, observed = np.abs(sums), abs(observed)
    tolerance = 1e-12 * float(np.abs(sample).sum())
    return float((sums >= observed - tolerance).mean())


def paired_comparison(first: Values, second: Values, level: float = 0.95) -> PairedComparison:
    """Return the comparison of two conditions measured in pairs, e.g. the same seeds with and without weight decay.

    If all differences are equal, their variance is 0, and ``p_t`` is 1 if they are zero, else 0.

    Raises:
        InputError: the lengths differ, there are fewer than two pairs, a value is not finite, or ``level`` is outside
            (0, 1).
    """
    a, b = _pair(first, second, at_least=2)
    difference = a - b
    interval = t_interval(difference, level)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    without_variance = math.inf if interval.estimate else 0.0
    t = abs(interval.estimate) / error if error > 0 else without_variance
    return PairedComparison(interval, 2 * float(special.stdtr(len(difference) - 1, -t)), sign_flip(difference))


@dataclass(frozen=True)
class Correlation:
    """Pearson's r with Fisher's confidence interval and a two-sided p-value; NaN where they are undefined."""

    r: Interval
    p_value: float


def pearson(x: Values, y: Values, level: float = 0.95) -> Correlation:
    """Return Pearson's correlation of independent pairs with Fisher's interval, tanh(atanh r ± z / √(n - 3)).

    All values are NaN if a variable is constant; the interval is NaN with fewer than four pairs and the p-value with
    fewer than three.  The p-value is that of Student's t test of r = 0.  Pairs must be independent: if several seeds
    share an x, average over the seeds first.

    Raises:
        InputError: the lengths differ, there are fewer than two pairs, a value is not finite, or ``level`` is outside
            (0, 1).
    """
    a, b = _pair(x, y, at_least=2)
    _check_level(level)
    n, nan = len(a), math.nan
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(Interval(nan, nan, nan, n, level), nan)
    a, b = a - a.mean(), b - b.mean()
    r = float(np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1, 1))
    low = high = p = nan
    if n > 3:
        z = np.arctanh(r) if abs(r) < 1 else r * math.inf
        half = special.ndtri((1 + level) / 2) / math.sqrt(n - 3)
        low, high = float(np.tanh(z - half)), float(np.tanh(z + half))
    if n > 2:
        t = abs(r) * math.sqrt((n - 2) / (1 - r * r)) if abs(r) < 1 else math.inf
        p = 2 * float(special.stdtr(n - 2, -t))
    return Correlation(Interval(r, low, high, n, level), p)


def spearman(x: Values, y: Values, resamples: int = 99_999, seed: int = 0) -> PermutationTest:
    """Return Spearman's ρ of independent pairs, with midranks for ties, and its two-sided permutation p-value.

    Both are NaN if a variable is constant.  All n! permutations are enumerated for n ≤ 8.  For larger n, ``resamples``
    random permutations are used together with the observed one.  Without ties the p-value is at least 2/n!, for example
    1/3 for n = 3.

    Raises:
        InputError: the lengths differ, there are fewer than two pairs, a value is not finite, or ``resamples`` < 1.
    """
    a, b = (double_midranks(sample) for sample in _pair(x, y, at_least=2))
    _check_resamples(resamples)
    n = len(a)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return PermutationTest(math.nan, math.nan, 0.0, True)
    a, b = a - n - 1, b - n - 1  # both have mean 0
    observed = int(a @ b)
    rho = observed / math.sqrt(int(a @ a) * int(b @ b))
    if n <= _EXACT_ORDERS:
        orders = b[np.array(list(itertools.permutations(range(n))))]
        return PermutationTest(rho, float((np.abs(orders @ a) >= abs(observed)).mean()), 0.0, True)
    orders = np.random.default_rng(seed).permuted(np.tile(b, (resamples, 1)), axis=1)
    p = (1 + int((np.abs(orders @ a) >= abs(observed)).sum())) / (1 + resamples)
    return PermutationTest(rho, p, math.sqrt(p * (1 - p) / resamples), False)


def holm(p_values: Values) -> npt.NDArray[np.float64]:
    """Return p-values adjusted by Holm's step-down method (1979), float64 ``[m]`` in the order given.

    They control the family-wise error rate under any dependence between the tests.

    Raises:
        InputError: a p-value is outside [0, 1].
    """
    p = _p_values(p_values)
    order, m = np.argsort(p, kind="stable"), len(p)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((m - np.arange(m)) * p[order]))
    return adjusted


def _sample(name: str, values: Values, at_least: int = 1) -> npt.NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < at_least or not np.isfinite(sample).all():
        raise InputError(
            f"Invalid {name} of shape {sample.shape}, {int((~np.isfinite(sample)).sum())} of them not finite. Expected "
            f"a vector of finite numbers, at least {at_least}. Remove runs without a value first."
        )
    return sample


def _pair(first: Values, second: Values, at_least: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = _sample("first values", first, at_least), _sample("second values", second, at_least)
    if len(a) != len(b):
        raise InputError(f"Cannot pair {len(a)} values with {len(b)}. Expected two vectors of the same length.")
    return a, b


def _p_values(values: Values) -> npt.NDArray[np.float64]:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"Invalid p-values: {p.tolist()}. Expected a vector of numbers from 0 to 1.")
    return p


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise invalid_value("level", level, "a confidence level > 0 and < 1, e.g. 0.95")


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise invalid_value("resamples", resamples, "an integer ≥ 1")

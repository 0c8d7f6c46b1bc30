"""Intervals, tests and corrections for every claim this project makes: one place, numpy and scipy only.

Seeds are the unit of replication: an interval over seeds says how far a *retraining* moves the number.
Functions take plain arrays and return plain numbers; nothing here knows what a model or a run is.

Every p-value is exact where the sample is small (:func:`mcnemar`, :func:`sign_flip`, :func:`rank_sum`,
:func:`spearman`); for larger ones assignments are drawn, and the newer of these functions return the standard error.
``scipy.special`` alone is imported: it loads several times faster than ``scipy.stats``, against which
the tests check each function.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from rsc_mlflow.errors import InputError

Values = Sequence[float] | npt.NDArray[Any]
_EXACT_SIGN_FLIPS = 16
"""Up to this many pairs all 2^n sign patterns are tried; beyond it they are drawn."""
_EXACT_ORDERS = 8
"""Up to this many pairs all n! orders are tried; beyond it they are drawn."""
_EXACT_RANK_SUM = 300_000_000
"""Up to this many multiplications (about a second) the distribution of the rank sum is computed exactly."""
_COLUMNS, _ENTRIES = 1024, 2**24
"""How many assignments of ranks are drawn at a time, and how many ranks these may hold."""


@dataclass(frozen=True)
class Interval:
    """An estimate with a two-sided confidence interval; NaN bounds where the sample is too small for one."""

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
    """``first - second`` over pairs (seeds, say): its mean with a t interval, and two p-values.

    ``p_t`` is Student's (normal differences), ``p_sign_flip`` the permutation test's (symmetric
    differences): with n pairs the latter is never below 2/2^n.  Both are two-sided.
    """

    difference: Interval
    p_t: float
    p_sign_flip: float


def t_interval(values: Values, level: float = 0.95) -> Interval:
    """Student's interval for the mean, from independent values such as one per seed.

    One value has a mean and no interval (NaN bounds).

    Raises:
        InputError: no values, a value that is not finite, or a level outside (0, 1).
    """
    sample = _sample("values", values)
    _check_level(level)
    mean, n = float(sample.mean()), len(sample)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n, level)
    half = float(t_half_width(sample.std(ddof=1), n, level))
    return Interval(mean, mean - half, mean + half, n, level)


def t_half_width(deviation: Any, n: Any, level: float = 0.95) -> Any:
    """Half of Student's interval for the means of many samples at once, NaN where a sample has fewer than two values.

    Args:
        deviation: standard deviations with n - 1 in the denominator, a number or an array of any shape.
        n: how many values each sample has, of the same shape.
        level: of confidence.

    Raises:
        InputError: a level outside (0, 1).
    """
    _check_level(level)
    size = np.asarray(n)
    factor = special.stdtrit(np.maximum(size - 1, 1), (1 + level) / 2) / np.sqrt(np.maximum(size, 1))
    return np.where(size > 1, factor, np.nan) * deviation


def prediction_interval(values: Values, level: float = 0.95) -> Interval:
    """Student's interval for one further value of a normal sample, mean ± t · s · √(1 + 1/n); NaN for one value.

    Raises:
        InputError: no values, a value that is not finite, or a level outside (0, 1).
    """
    mean = t_interval(values, level)
    half = mean.half_width * math.sqrt(mean.n + 1)  # t · s / √n times √n · √(1 + 1/n)
    return Interval(mean.estimate, mean.estimate - half, mean.estimate + half, mean.n, level)


def mcnemar(poisoned_hits: npt.NDArray[Any], clean_hits: npt.NDArray[Any]) -> float:
    """One-sided exact McNemar test: is a hit likelier under the poisoned model than under the clean one?

    Both arrays are bool[N] over the *same* test examples.  Examples with the same outcome under both say
    nothing; among the others the hit is on either side with probability 1/2 under the null hypothesis, so
    the p-value is P(Binomial(b + c, 1/2) >= b), with b hits of the poisoned model alone and c of the clean
    one alone.  1 where no example differs.

    It asks about these two trained models; whether *another* seed would show the same is a question for
    :func:`paired_comparison` over seeds.

    Raises:
        InputError: the arrays are not two boolean vectors of one length.
    """
    first, second = np.asarray(poisoned_hits), np.asarray(clean_hits)
    if first.dtype != np.bool_ or second.dtype != np.bool_ or first.ndim != 1 or first.shape != second.shape:
        raise InputError(
            f"hits of types {first.dtype}, {second.dtype} and shapes {first.shape}, {second.shape}; "
            "accepted: two boolean vectors over the same examples"
        )
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return 1.0 if b == 0 else float(special.bdtrc(b - 1, b + c, 0.5))


@dataclass(frozen=True)
class PermutationTest:
    """A statistic and the share of all assignments (of values to samples or pairs) with one at least as extreme.

    ``exact`` says whether all of them were counted; if not, ``p_value`` was estimated from random ones and
    ``standard_error`` is its standard error, else 0.
    """

    statistic: float
    p_value: float
    standard_error: float
    exact: bool


def rank_sum(first: Values, second: Values, resamples: int = 99_999, seed: int = 0) -> PermutationTest:
    """One-sided permutation test that values of ``first`` tend to be higher than those of ``second``.

    The statistic is Mann and Whitney's U, the number of pairs in which the first value is higher, ties counting half;
    U / (n m) is the AUC.  Its null distribution is that of a random assignment of the pooled midranks, so ties need
    no correction.  The distribution is computed exactly where that takes at most about a second: for one value against
    thousands, three against 5,000, or 50 against 50.  For larger samples ``resamples`` assignments are drawn:
    p = (1 + hits) / (1 + resamples), which is valid but never below 1 / (1 + resamples).

    Raises:
        InputError: an empty sample, a value that is not finite, or no resamples.
    """
    a, b = _sample("first values", first), _sample("second values", second)
    _check_resamples(resamples)
    ranks = double_midranks(np.concatenate([a, b]))
    u = (float(ranks[: len(a)].sum()) / 2) - len(a) * (len(a) + 1) / 2
    # The smaller sample is followed; being high in one sample is being low in the other.
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
    """Twice the rank of each value, counted from 1; equal values share the mean of their ranks.  Whole numbers."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (2 * ends - counts + 1)[inverse]


def _exact_rank_sum(ranks: npt.NDArray[np.int64], n: int, low: int, high: int, unit: int) -> float:
    """P(sum of n of the ranks >= the one seen), which is ``low`` above the least and ``high`` below the greatest."""
    if high <= low:
        return _tail((ranks.max() - ranks) // unit, n, high // unit)
    return 1 - _tail((ranks - ranks.min()) // unit, n, low // unit - 1) if low else 1.0


def _tail(steps: npt.NDArray[np.int64], n: int, most: int) -> float:
    """P(sum of n of the ``steps``, drawn without replacement, <= most).

    The steps are passed one by one; ``p[k, s]`` is the probability of having drawn k so far with sum s.
    """
    p = np.zeros((n + 1, most + 1))
    p[0, 0] = 1
    for left, step in zip(range(len(steps), 0, -1), np.sort(steps)[::-1].tolist(), strict=True):
        take = ((n - np.arange(n + 1)) / left).clip(0, 1)[:, None]
        drawn = p[:-1, : max(most + 1 - step, 0)] * take[:-1]
        p *= 1 - take
        p[1:, step:] += drawn
    return float(p[n].sum())


def _drawn_rank_sums(ranks: npt.NDArray[np.int64], seen: int, n: int, resamples: int, seed: int) -> int:
    """How many of the random draws of n of the ranks have a sum of at least ``seen``.

    Each column holds the ranks in some order; the first n steps of a Fisher-Yates shuffle draw its next sample,
    whatever order the column is in.
    """
    rng, hits = np.random.default_rng(seed), 0
    width = max(1, min(_COLUMNS, resamples, _ENTRIES // len(ranks)))
    orders, columns = np.repeat(ranks.astype(np.int32)[:, None], width, axis=1), np.arange(width)
    for start in range(0, resamples, width):
        for i in range(n):
            other = rng.integers(i, len(ranks), width, dtype=np.int32)
            orders[other, columns], orders[i] = orders[i].copy(), orders[other, columns]
        sums = orders[:n, : resamples - start].sum(axis=0, dtype=np.int64)
        hits += int((sums >= seen).sum())
    return hits


def sign_flip(differences: Values, resamples: int = 99_999, seed: int = 0, *, greater: bool = False) -> float:
    """p-value of the sign-flip permutation test that paired differences are symmetric about zero.

    Every assignment of signs is as likely as the one seen under the null hypothesis; the p-value is the share of
    assignments whose mean is at least as far from zero or, one-sided (``greater``), at least as large.  All 2^n are
    tried up to n = 16; beyond, ``resamples`` are drawn and the seen one is added, which keeps it valid.

    Raises:
        InputError: no differences, or one that is not finite.
    """
    sample = _sample("differences", differences)
    n = len(sample)
    if n <= _EXACT_SIGN_FLIPS:
        codes = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        codes = np.random.default_rng(seed).integers(2, size=(resamples, n))
        codes = np.concatenate([np.ones((1, n), dtype=codes.dtype), codes])
    sums, seen = (2 * codes - 1) @ sample, float(sample.sum())
    if not greater:
        sums, seen = np.abs(sums), abs(seen)
    tolerance = 1e-12 * float(np.abs(sample).sum())
    return float((sums >= seen - tolerance).mean())


def paired_comparison(first: Values, second: Values, level: float = 0.95) -> PairedComparison:
    """Compare two conditions measured in pairs, e.g. the same seeds with and without weight decay.

    Differences that are all equal leave Student's test without a variance: its p-value is then 1 if they are zero,
    else 0.

    Raises:
        InputError: lengths that differ, fewer than two pairs, or a value that is not finite.
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
    """Pearson's r with a Fisher-z interval and a two-sided p-value; NaN where the sample does not define it."""

    r: Interval
    p_value: float


def pearson(x: Values, y: Values, level: float = 0.95) -> Correlation:
    """Pearson's correlation of independent pairs, with Fisher's z interval, tanh(atanh r ± z / sqrt(n-3)).

    A constant variable has no correlation (all NaN); below four pairs there is no interval, below three no
    p-value.  Pairs must be independent: average over seeds first where seeds share their x.

    Raises:
        InputError: lengths that differ, fewer than two pairs, a value that is not finite, or a bad level.
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
    """Spearman's rho of independent pairs (ties have midranks) and its two-sided p-value; NaN if one is constant.

    All n! orders are tried up to n = 8; beyond, ``resamples`` are drawn and the seen one is added.  The smallest
    possible p-value is 2/n! without ties: three pairs cannot give less than 1/3.

    Raises:
        InputError: lengths that differ, fewer than two pairs, a value that is not finite, or no resamples.
    """
    a, b = (double_midranks(sample) for sample in _pair(x, y, at_least=2))
    _check_resamples(resamples)
    n = len(a)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return PermutationTest(math.nan, math.nan, 0.0, True)
    a, b = a - n - 1, b - n - 1  # both have mean 0
    seen = int(a @ b)
    rho = seen / math.sqrt(int(a @ a) * int(b @ b))
    if n <= _EXACT_ORDERS:
        orders = b[np.array(list(itertools.permutations(range(n))))]
        return PermutationTest(rho, float((np.abs(orders @ a) >= abs(seen)).mean()), 0.0, True)
    orders = np.random.default_rng(seed).permuted(np.tile(b, (resamples, 1)), axis=1)
    p = (1 + int((np.abs(orders @ a) >= abs(seen)).sum())) / (1 + resamples)
    return PermutationTest(rho, p, math.sqrt(p * (1 - p) / resamples), False)


def holm(p_values: Values) -> npt.NDArray[np.float64]:
    """Holm's step-down adjusted p-values (1979), in the order given: family-wise error, any dependence.

    Raises:
        InputError: a p-value outside [0, 1].
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
            f"{name} of shape {sample.shape} with {int((~np.isfinite(sample)).sum())} values that are not finite; "
            f"accepted: a vector of at least {at_least} finite numbers (drop missing runs by name, not in silence)"
        )
    return sample


def _pair(first: Values, second: Values, at_least: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = _sample("first values", first, at_least), _sample("second values", second, at_least)
    if len(a) != len(b):
        raise InputError(f"{len(a)} values against {len(b)}; accepted: two vectors of one length, paired by position")
    return a, b


def _p_values(values: Values) -> npt.NDArray[np.float64]:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p-values {p.tolist()}; accepted: a vector of numbers from 0 to 1")
    return p


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"confidence level is {level}; accepted: above 0 and below 1, e.g. 0.95")


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; accepted: at least 1")

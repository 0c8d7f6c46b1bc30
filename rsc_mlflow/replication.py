"""Confidence intervals for means over runs with several kinds of seeds.

A run has several seeds, such as a dataset seed, a training seed and a pattern seed.  How many independent units a set
of runs contains depends on how the seeds are combined: five dataset seeds with two training seeds each are five units,
not ten.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from rsc_mlflow.errors import InputError, invalid_value

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.intp]
MIN_UNITS = 5
"""With fewer units there is no interval; plot the means of the units instead."""
BOUNDED_POWER = 0.75
"""Exponent of :func:`bounded`, chosen by simulation (``python -m benchmarks intervals``): short intervals with correct
coverage for bounded, skewed scores."""


@dataclass(frozen=True)
class SeedInterval:
    """A mean over seeds with a two-sided confidence interval.

    Attributes:
        estimate: the mean of the units.
        low, high: the interval; NaN with fewer than :data:`MIN_UNITS` units.
        units: for each kind of seed that the interval generalizes over, the number of different seeds.
        n_units: the smallest of these numbers; 1 if no seed varies.
        estimand: what the mean estimates, e.g. "over dataset seeds; training seed 0 fixed".
        level: confidence level.
    """

    estimate: float
    low: float
    high: float
    units: Mapping[str, int]
    n_units: int
    estimand: str
    level: float = 0.95


def seed_interval(
    values: Sequence[float] | Floats,
    seeds: Mapping[str, Sequence[Hashable]],
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> SeedInterval:
    """Return the mean of ``values`` with a confidence interval that generalizes to other seeds of the same kinds.

    Args:
        values: one number per run, ``[n]``.
        seeds: for each kind of seed ("dataset", "training", "pattern", "shadow"), the seed of each run, ``[n]``.  If
            two kinds always change together, the first one is used.
        level: confidence level.
        bounds: range of possible values, e.g. (0, 1) for a score or (0, inf) for a loss; None if unbounded.

    Returns:
        The interval: :func:`bounded` if bounds are given, else :func:`student`.  ``python -m benchmarks intervals``
        prints the coverage of both.  The kinds of seeds are factors, whose levels are the seeds.  The units of
        replication are found as follows:

        * A factor with one level does not vary.  The estimate is conditional on it, which ``estimand`` states.
        * A factor is nested in another one if each of its levels occurs with a single level of the other.  Runs are
          averaged over nested factors.
        * The remaining factors are treated as crossed.  Runs with the same levels of all of them are averaged first.

    Raises:
        InputError: there are no values, lengths differ, a value is not finite or outside the bounds, or ``level`` is
            outside (0, 1).
    """
    sample = _checked(values, seeds, level, bounds)
    factors = {name: _levels(column) for name, column in seeds.items()}
    varying = {name: codes for name, codes in factors.items() if codes.max() > 0}
    kept = _coarsest(varying)
    units = {name: int(varying[name].max()) + 1 for name in kept}
    n_units, words = min(units.values(), default=1), _estimand(seeds, list(varying))
    cells = [varying[name] for name in kept]
    sample, cells = _cell_means(sample, cells)
    estimate = float(sample.mean())
    low = high = math.nan
    if n_units >= MIN_UNITS:
        error, df = standard_error(sample, cells)
        low, high = bounded(estimate, error, df, level, bounds) if bounds else student(estimate, error, df, level)
    return SeedInterval(estimate, low, high, units, n_units, words, level)


def standard_error(values: Floats, factors: Sequence[Levels]) -> tuple[float, float]:
    """Return the standard error of the mean and its degrees of freedom, for one or more crossed factors.

    The variance of the mean is the sum of one term per factor, estimated from the means of the factor's levels.  Its
    degrees of freedom are Satterthwaite's (1946).  Each term also includes the variance between single runs.  This part
    is not subtracted, so that intervals are not too short if it dominates.  A level has the same weight as in the mean:
    its share of the values.

    Args:
        values: ``[n]``.
        factors: for each factor, the level of each value as an integer from 0, ``[n]``; at least two levels.
    """
    variances, freedom = [], []
    for codes in factors:
        weights = np.bincount(codes) / len(codes)
        squared = weights**2
        effective = float(squared.sum())
        spread = float(squared @ (_means(values, codes) - values.mean()) ** 2)
        expected = float(squared @ (1 - 2 * weights + effective))  # expectation of ``spread`` for levels of variance 1
        variances.append(spread * effective / expected)
        freedom.append(1 / effective - 1)
    total = sum(variances)
    if total == 0:
        return 0.0, sum(freedom)
    return math.sqrt(total), 1 / sum((v / total) ** 2 / df for v, df in zip(variances, freedom, strict=True))


def student(estimate: float, error: float, df: float, level: float) -> tuple[float, float]:
    """Return the bounds of Student's t interval, estimate ± t · error, with ``df`` degrees of freedom."""
    half = float(special.stdtrit(df, (1 + level) / 2)) * error
    return estimate - half, estimate + half


def bounded(
    estimate: float,
    error: float,
    df: float,
    level: float,
    bounds: tuple[float, float] = (0, 1),
    power: float = BOUNDED_POWER,
) -> tuple[float, float]:
    """Return the bounds of a t interval for bounded values, with a standard error that depends on the mean.

    The interval contains each mean m that Student's test does not reject if the standard error at m is
    error · (v(m) / v(estimate)) ** power, with v(m) = (m - bounds[0]) (bounds[1] - m), or m - bounds[0] if there is no
    upper bound.  This is Wilson's construction (1927); power 1/2 is the variance function of the binomial and the
    Poisson distribution, power 1 that of Wedderburn (1974) and of the gamma distribution.  The interval lies within the
    bounds and is longer towards the bound that is farther away, because bounded values are skewed in that direction.
    It is close to Student's interval if the standard error is small compared with the distance from both bounds.  If
    all values are equal, its length is 0, as is that of Student's interval.

    Args:
        estimate: the mean, within the bounds.
        error: its standard error.
        df: degrees of freedom of the standard error.
        level: confidence level.
        bounds: range of possible values; the upper bound may be infinite.
        power: exponent of the variance function; less than 1 if the upper bound is infinite.
    """
    low, high = bounds
    half = float(special.stdtrit(df, (1 + level) / 2)) * error
    if math.isinf(high):
        return _positive(estimate - low, half, power, low)
    x, half = (estimate - low) / (high - low), half / (high - low)
    if half * x * (1 - x) == 0:
        return estimate, estimate
    slope = half / (x * (1 - x)) ** power
    below, above = 1 - _far_end(1 - x, slope, power), _far_end(x, slope, power)
    return low + (high - low) * below, low + (high - low) * above


def _positive(x: float, half: float, power: float, low: float) -> tuple[float, float]:
    """Return :func:`bounded` for values of at least ``low``, whose mean is ``low + x``."""
    if half == 0 or x == 0:
        return low + x, low + x
    c = half / x
    below, above = -math.log1p(c) / power, min(math.log1p(c) / (1 - power), 700.0)
    return low + x * _ratio(c, power, below), low + x * _ratio(c, power, above)


def _ratio(c: float, power: float, outside: float) -> float:
    """Return the r between 1 and exp(outside) with abs(r - 1) = c r ** power, by bisection of log r."""
    inside = 0.0
    for _ in range(60):
        s = (inside + outside) / 2
        if abs(math.expm1(s)) <= c * math.exp(power * s):
            inside = s
        else:
            outside = s
    return math.exp(inside)


def _far_end(x: float, slope: float, power: float) -> float:
    """Return the m in (x, 1] with m - x = slope (m (1 - m)) ** power.

    Bisection finds it, because the ratio of the left to the right side increases with m.
    """
    inside, outside = x, 1.0
    for _ in range(50):
        m = (inside + outside) / 2
        if m - x <= slope * (m * (1 - m)) ** power:
            inside = m
        else:
            outside = m
    return (inside + outside) / 2


def _means(values: Floats, codes: Levels) -> Floats:
    """Return the mean of the values of each level, ``[levels]``."""
    means: Floats = np.bincount(codes, values) / np.bincount(codes)
    return means


def _cell_means(values: Floats, factors: Sequence[Levels]) -> tuple[Floats, list[Levels]]:
    """Return the means of runs that share the levels of all factors, and the levels of these means."""
    if not factors:
        return values, []
    shape = tuple(int(codes.max()) + 1 for codes in factors)
    cells, inverse = np.unique(np.ravel_multi_index(tuple(factors), shape), return_inverse=True)
    return _means(values, inverse), list(np.unravel_index(cells, shape))


def _levels(column: Sequence[Hashable]) -> Levels:
    """Return the level of each entry, an integer from 0 in the order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(entry, len(numbers)) for entry in column], dtype=np.intp)


def _refines(fine: Levels, coarse: Levels) -> bool:
    """Return whether each level of ``fine`` occurs with a single level of ``coarse``."""
    return len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == int(fine.max()) + 1


def _coarsest(varying: Mapping[str, Levels]) -> list[str]:
    """Return the names of the factors that are neither nested in another one nor equal to an earlier one."""
    names = list(varying)
    kept = []
    for i, name in enumerate(names):
        coarser = [
            j
            for j, other in enumerate(names)
            if i != j
            and _refines(varying[name], varying[other])
            and (j < i or not _refines(varying[other], varying[name]))
        ]
        if not coarser:
            kept.append(name)
    return kept


def _estimand(seeds: Mapping[str, Sequence[Hashable]], varying: Sequence[str]) -> str:
    fixed = [f"{name} seed {column[0]}" for name, column in seeds.items() if name not in varying]
    *most, last = varying or [""]
    over = f"over {' and '.join([', '.join(most), last] if most else [last])} seeds" if last else "of one set of seeds"
    return over + (f"; {' and '.join(fixed)} fixed" if fixed else "")


def _checked(
    values: Sequence[float] | Floats,
    seeds: Mapping[str, Sequence[Hashable]],
    level: float,
    bounds: tuple[float, float] | None,
) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise InputError(f"Invalid values of shape {sample.shape}. Expected a vector of at least one finite number.")
    lengths = {name: len(column) for name, column in seeds.items()}
    if set(lengths.values()) - {len(sample)}:
        raise InputError(f"Got {len(sample)} values but seeds {lengths}. Expected one seed of each kind per value.")
    if not 0 < level < 1:
        raise invalid_value("level", level, "a confidence level > 0 and < 1, e.g. 0.95")
    if bounds is not None and not (bounds[0] <= sample.min() and sample.max() <= bounds[1]):
        raise InputError(
            f"Values range from {sample.min():g} to {sample.max():g}. Expected values within the bounds {bounds}."
        )
    return sample

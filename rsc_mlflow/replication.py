"""The interval of a mean over seeds: what the unit of replication is, and how far another set of seeds moves the mean.

A run has several seeds (dataset, training, pattern).  How many independent units a set of runs holds depends on how
its seeds are combined: five dataset seeds with two training seeds each are five units, not ten.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from rsc_mlflow.errors import InputError

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.intp]
MIN_UNITS = 5
"""Below this many units no interval is given: show each unit as a point."""
BOUNDED_POWER = 0.75
"""Chosen by simulation (``python -m benchmarks intervals``): short, and covers bounded, skewed scores."""


@dataclass(frozen=True)
class SeedInterval:
    """A mean over seeds with a two-sided confidence interval.

    Attributes:
        estimate: the mean.  With one seed that varies: of the means of its levels.
        low, high: the interval; NaN with fewer than :data:`MIN_UNITS` units.
        units: number of levels of each seed that the interval goes over.
        n_units: the smallest of these; 1 where no seed varies.
        estimand: what the mean estimates, in words, e.g. "over dataset seeds; training seed 0 fixed".
        level: of confidence.
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
    """Mean of ``values`` [n] with an interval for other seeds of the same kind.

    Args:
        values: one number per run.
        seeds: for each kind of seed ("dataset", "training", "pattern") the seed of each run.  Of two kinds that go
            together the one named first is kept.
        level: of confidence.
        bounds: the range of possible values, (0, 1) for a score or an accuracy; None where there is none.

    Returns:
        The interval.  Its unit of replication is found as follows:

        * A seed with one level does not vary; the estimate is conditional on it, and ``estimand`` says so.
        * A seed whose levels each occur with a single level of another is left to the other: training seeds that
          differ between dataset seeds are averaged within these, and so are seeds that go together.
        * What is left is crossed.  Runs with the same levels are averaged first.

        With bounds it is that of :func:`bounded`, without them :func:`student`'s.  ``python -m benchmarks intervals``
        prints how often each covers.

    Raises:
        InputError: no values, lengths that differ, a value that is not finite or outside the bounds, or a level
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
    """Standard error of the mean and its degrees of freedom, from one or more crossed factors.

    The factors' variances add, and the degrees of freedom are Satterthwaite's (1946).  The variance of single runs is
    in each factor's, and is not taken off again: that keeps the interval from being too short where it dominates.
    Levels with unequal numbers of values are weighted as they are in the mean.
    """
    variances, freedom = [], []
    for codes in factors:
        weights = np.bincount(codes) / len(codes)
        squared = weights**2
        effective = float(squared.sum())
        spread = float(squared @ (_means(values, codes) - values.mean()) ** 2)
        expected = float(squared @ (1 - 2 * weights + effective))  # spread, if a level's variance is 1
        variances.append(spread * effective / expected)
        freedom.append(1 / effective - 1)
    total = sum(variances)
    if total == 0:
        return 0.0, sum(freedom)
    return math.sqrt(total), total**2 / sum(v**2 / df for v, df in zip(variances, freedom, strict=True))


def student(estimate: float, error: float, df: float, level: float) -> tuple[float, float]:
    """Student's interval."""
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
    """Student's interval for values within bounds, with a standard error that depends on the mean.

    It holds each mean m that Student's test does not reject when the standard error at m is taken as
    error × (v(m) / v(estimate)) ** power, where v(m) = (m - bounds[0]) (bounds[1] - m).  This is Wilson's construction
    (1927); power 1/2 is the binomial variance function and power 1 is Wedderburn's (1974).  The interval lies within
    the bounds, is longer towards the far bound because bounded values are skewed that way, and is nearly Student's
    where the spread is small against the distance from both bounds.  Values that are all equal give an interval of
    length 0, as they do with Student's.
    """
    low, high = bounds
    x = (estimate - low) / (high - low)
    half = float(special.stdtrit(df, (1 + level) / 2)) * error / (high - low)
    if half * x * (1 - x) == 0:
        return estimate, estimate
    slope = half / (x * (1 - x)) ** power
    below, above = 1 - _far_end(1 - x, slope, power), _far_end(x, slope, power)
    return low + (high - low) * below, low + (high - low) * above


def _far_end(x: float, slope: float, power: float) -> float:
    """The m above x with m - x = slope (m (1 - m)) ** power; bisection, since the quotient of both rises with m."""
    inside, outside = x, 1.0
    for _ in range(50):
        m = (inside + outside) / 2
        if m - x <= slope * (m * (1 - m)) ** power:
            inside = m
        else:
            outside = m
    return (inside + outside) / 2


def _means(values: Floats, codes: Levels) -> Floats:
    """Mean of the values of each level."""
    means: Floats = np.bincount(codes, values) / np.bincount(codes)
    return means


def _cell_means(values: Floats, factors: Sequence[Levels]) -> tuple[Floats, list[Levels]]:
    """Runs that share the level of every factor are averaged first."""
    if not factors:
        return values, []
    shape = tuple(int(codes.max()) + 1 for codes in factors)
    cells, inverse = np.unique(np.ravel_multi_index(tuple(factors), shape), return_inverse=True)
    return _means(values, inverse), list(np.unravel_index(cells, shape))


def _levels(column: Sequence[Hashable]) -> Levels:
    """Number of each entry's level, counted from 0 in the order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(entry, len(numbers)) for entry in column], dtype=np.intp)


def _refines(fine: Levels, coarse: Levels) -> bool:
    """Whether each level of ``fine`` occurs with one level of ``coarse``."""
    return len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == int(fine.max()) + 1


def _coarsest(varying: Mapping[str, Levels]) -> list[str]:
    """Factors that no other one makes superfluous: those that refine another, or equal an earlier one, are left out."""
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
        raise InputError(f"values of shape {sample.shape}; accepted: a vector of at least one finite number")
    lengths = {name: len(column) for name, column in seeds.items()}
    if set(lengths.values()) - {len(sample)}:
        raise InputError(f"{len(sample)} values with seeds {lengths}; accepted: one seed of each kind per value")
    if not 0 < level < 1:
        raise InputError(f"confidence level is {level}; accepted: above 0 and below 1, e.g. 0.95")
    if bounds is not None and not (bounds[0] <= sample.min() and sample.max() <= bounds[1]):
        raise InputError(f"values from {sample.min():g} to {sample.max():g}; accepted: within the bounds {bounds}")
    return sample

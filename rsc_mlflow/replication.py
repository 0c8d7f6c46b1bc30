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
        bounds: what the values cannot leave, (0, 1) for a score or an accuracy.

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
        low, high = student(sample, cells, level)
    return SeedInterval(estimate, low, high, units, n_units, words, level)


def student(values: Floats, factors: Sequence[Levels], level: float) -> tuple[float, float]:
    """Student's interval; with crossed factors their variances add, with Satterthwaite's degrees of freedom."""
    mean, variances, freedom = float(values.mean()), [], []
    for codes in factors:
        unit_means = _means(values, codes)
        variances.append(float(unit_means.var(ddof=1)) / len(unit_means))
        freedom.append(len(unit_means) - 1)
    total = sum(variances)
    if total == 0:
        return mean, mean
    df = total**2 / sum(v**2 / d for v, d in zip(variances, freedom, strict=True))
    half = float(special.stdtrit(df, (1 + level) / 2)) * math.sqrt(total)
    return mean - half, mean + half


def _means(values: Floats, codes: Levels) -> Floats:
    """Mean of the values of each level."""
    means: Floats = np.bincount(codes, values) / np.bincount(codes)
    return means


def _cell_means(values: Floats, factors: Sequence[Levels]) -> tuple[Floats, list[Levels]]:
    """Runs that share the level of every factor are averaged first."""
    if not factors:
        return values, []
    cells, inverse = np.unique(np.stack(factors, axis=1), axis=0, return_inverse=True)
    return _means(values, inverse.ravel()), list(cells.T)


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
    over = f"over {' and '.join(varying)} seeds" if varying else "of one set of seeds"
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

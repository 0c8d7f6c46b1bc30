"""Simulated coverage and mean width of intervals for a mean over seeds.

A design is a table of runs, dataset seeds × training seeds, with NaN for missing runs.  Nested designs have different
training seeds for each dataset seed; their table has one number per dataset seed, the mean of its runs.  A latent value
is the sum of normal effects of the dataset seed, of the training seed (in crossed designs) and of the run.  Each
distribution maps the latent value to a score.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import click
import numpy as np
import numpy.typing as npt
from scipy import special

from benchmarks.measuring import print_table
from rsc_mlflow.replication import MIN_UNITS, Levels, bounded, seed_interval, standard_error, student

Floats = npt.NDArray[np.float64]
Ends = tuple[float, float]
LEVEL, RESAMPLES, GRID = 0.95, 199, 200
NONE = (math.nan, math.nan)


@dataclass(frozen=True)
class Distribution:
    """Distribution of a score, given by its quantile function."""

    name: str
    mean: float
    quantile: Callable[[Floats], Floats]
    bounds: Ends | None = (0.0, 1.0)


DISTRIBUTIONS = (
    Distribution("normal, no bounds", 0.0, special.ndtri, None),
    Distribution("Beta(.3, .9), mean .25", 0.25, partial(special.betaincinv, 0.3, 0.9)),
    Distribution("Beta(.3, 5.7), mean .05", 0.05, partial(special.betaincinv, 0.3, 5.7)),
    Distribution("Beta(9, 1), mean .9", 0.9, partial(special.betaincinv, 9.0, 1.0)),
    Distribution("tight: normal, mean .9, standard deviation .005", 0.9, lambda p: 0.9 + 0.005 * special.ndtri(p)),
    Distribution("Gamma(.5), mean .5, no upper bound", 0.5, partial(special.gammaincinv, 0.5), (0.0, math.inf)),
)


@dataclass(frozen=True)
class Design:
    """Numbers of runs, and the shares of dataset seeds (``between``) and training seeds in the latent variance.

    ``runs`` is the number of runs per dataset seed in a nested design, and (dataset seeds, training seeds) in a crossed
    one.  ``missing`` is the share of missing runs in a crossed design.
    """

    name: str
    runs: tuple[int, ...]
    between: float
    training: float = 0.0
    crossed: bool = False
    missing: float = 0.0

    @property
    def units(self) -> tuple[int, ...]:
        """Number of levels of each kind of seed."""
        return self.runs if self.crossed else (len(self.runs),)

    def draw(self, rng: np.random.Generator, distribution: Distribution) -> Floats:
        """Return a table of scores."""
        if self.crossed:
            table = self._latent(rng, *self.runs)
            scores = distribution.quantile(special.ndtr(table))
            scores[rng.random(table.shape) < self.missing] = np.nan
            return scores
        latent = self._latent(rng, len(self.runs), max(self.runs))
        scores = distribution.quantile(special.ndtr(latent))
        return np.array([[row[:n].mean()] for row, n in zip(scores, self.runs, strict=True)])

    def _latent(self, rng: np.random.Generator, rows: int, columns: int) -> Floats:
        each = rng.normal(size=(rows, columns)) * math.sqrt(1 - self.between - self.training)
        first = rng.normal(size=(rows, 1)) * math.sqrt(self.between)
        return each + first + rng.normal(size=(1, columns)) * math.sqrt(self.training)


def designs() -> Iterator[Design]:
    """Yield nested and crossed designs with 3, 5, 10 and 20 seeds."""
    for n in (3, 5, 10, 20):
        yield Design(f"{n} seeds, one run each", (1,) * n, 0.5)
    for between in (0.8, 0.2):
        yield Design(f"nested 5 × 2, {between:g} between", (2,) * 5, between)
    yield Design("nested 5 × (1, 1, 2, 3, 5), 0.5 between", (1, 1, 2, 3, 5), 0.5)
    yield Design("crossed 3 × 5, 0.9 dataset", (3, 5), 0.9, 0.0, crossed=True)
    for rows, columns, between, training in ((5, 5, 0.8, 0.1), (5, 5, 0.4, 0.4), (5, 5, 0.1, 0.1), (20, 5, 0.4, 0.4)):
        name = f"crossed {rows} × {columns}, {between:g} dataset, {training:g} training"
        yield Design(name, (rows, columns), between, training, crossed=True)
    for missing in (0, 0.3):
        name = "crossed 10 × 10, 0.4 and 0.4" + (f", {missing:g} of the cells missing" if missing else "")
        yield Design(name, (10, 10), 0.4, 0.4, crossed=True, missing=missing)


def long(table: Floats) -> tuple[Floats, list[Levels]]:
    """Return the values of a table's runs, and the levels of each kind of seed that has several."""
    values = table[~np.isnan(table)]
    return values, [codes for codes in np.nonzero(~np.isnan(table)) if codes.max() > 0]


def default(table: Floats, bounds: Ends | None) -> Ends:
    """Return the interval of :func:`rsc_mlflow.replication.seed_interval`."""
    rows, columns = np.nonzero(~np.isnan(table))
    found = seed_interval(table[rows, columns], {"dataset": rows.tolist(), "training": columns.tolist()}, LEVEL, bounds)
    return found.low, found.high


def every_run(table: Floats, bounds: Ends | None) -> Ends:
    """Return Student's interval with each run (nested: each dataset seed) as a unit."""
    values = table[~np.isnan(table)]
    return student(values.mean(), values.std(ddof=1) / math.sqrt(len(values)), len(values) - 1, LEVEL)


def over_units(table: Floats, bounds: Ends | None) -> Ends:
    """Return Student's interval with the sum of the factors' variances and Satterthwaite's degrees of freedom."""
    values, factors = long(table)
    return student(float(values.mean()), *standard_error(values, factors), LEVEL)


def multiway(table: Floats, bounds: Ends | None) -> Ends:
    """Return :func:`over_units` with the variance of single runs subtracted (Cameron, Gelbach and Miller 2011)."""
    values, factors = long(table)
    error, df = standard_error(values, factors)
    if len(factors) > 1:
        alone = [standard_error(values, [codes])[0] ** 2 for codes in factors]
        error = math.sqrt(max(error**2 - float(values.var(ddof=1)) / len(values), *alone))
    return student(float(values.mean()), error, df, LEVEL)


def in_quadrature(ends: Callable[[Floats], Ends], table: Floats) -> Ends:
    """Combine the intervals of the factors, each for the means of its levels, by adding half-widths in quadrature."""
    mean = float(np.nanmean(table))
    factors = [np.nanmean(table, axis=axis) for axis in (1, 0) if table.shape[1 - axis] > 1]
    lengths = np.array([ends(unit_means) for unit_means in factors]) - mean
    below, above = np.sqrt((lengths**2).sum(axis=0))
    return mean - float(below), mean + float(above)


def quadrature(table: Floats, bounds: Ends | None) -> Ends:
    """Return Student's intervals of the factors, combined by :func:`in_quadrature`."""
    return in_quadrature(lambda units: every_run(units, None), table)


def log_odds(table: Floats, bounds: Ends | None) -> Ends:
    """Return Student's interval for the log odds of the mean (delta method)."""
    if bounds is None or math.isinf(bounds[1]):
        return NONE
    values, factors = long(table)
    mean, (error, df) = float(values.mean()), standard_error(values, factors)
    low, high = student(special.logit(mean), error / (mean * (1 - mean)), df, LEVEL)
    return float(special.expit(low)), float(special.expit(high))


def with_power(power: float, table: Floats, bounds: Ends | None) -> Ends:
    """Return the interval of :func:`rsc_mlflow.replication.bounded` with another variance function."""
    if bounds is None or (math.isinf(bounds[1]) and power >= 1):
        return NONE
    values, factors = long(table)
    return bounded(float(values.mean()), *standard_error(values, factors), LEVEL, bounds, power)


def resampled(table: Floats, seed: int = 0) -> Floats:
    """Return the resamples of the two-way cluster bootstrap (levels drawn with replacement), [resamples, …]."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(n, size=(RESAMPLES, n)) for n in table.shape)
    return table[rows[:, :, None], columns[:, None, :]]


def bootstrap(table: Floats, bounds: Ends | None) -> Ends:
    """Return the percentile interval of the two-way cluster bootstrap."""
    low, high = np.nanquantile(np.nanmean(resampled(table), axis=(1, 2)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap_t(table: Floats, bounds: Ends | None) -> Ends:
    """Return the bootstrap-t interval, studentized with the sum of the factors' variances; for full tables only."""
    if np.isnan(table).any():
        return NONE
    tables, mean = resampled(table), float(np.nanmean(table))
    means = np.nanmean(tables, axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num((means - mean) / _errors(tables), nan=0.0, posinf=math.inf, neginf=-math.inf)
        low, high = np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    error = float(_errors(table[None])[0])
    return mean - float(high) * error, mean - float(low) * error


def _errors(tables: Floats) -> Floats:
    """Return the standard errors of the means of balanced tables [n, rows, columns]."""
    axes = [axis for axis in (1, 2) if tables.shape[axis] > 1]
    parts = [tables.mean(axis=3 - axis).var(axis=1, ddof=1) / tables.shape[axis] for axis in axes]
    errors: Floats = np.sqrt(np.sum(parts, axis=0))
    return errors


def betting(table: Floats, bounds: Ends | None) -> Ends:
    """Return the hedged-capital interval (Waudby-Smith and Ramdas 2024, theorem 3), factors in quadrature."""
    return NONE if bounds is None or math.isinf(bounds[1]) else in_quadrature(_hedged_capital, table)


def _hedged_capital(x: Floats) -> Ends:
    n, alpha, m = len(x), 1 - LEVEL, (np.arange(GRID) + 0.5) / GRID
    count = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(x)) / (count + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (count + 1)
    bet = np.sqrt(2 * math.log(2 / alpha) / (n * np.append(0.25, variance[:-1])))[:, None]
    up = np.log1p(np.minimum(bet, 0.5 / m) * (x[:, None] - m)).cumsum(axis=0)
    down = np.log1p(-np.minimum(bet, 0.5 / (1 - m)) * (x[:, None] - m)).cumsum(axis=0)
    inside = m[(np.maximum(up, down) < math.log(2 / alpha)).all(axis=0)]
    return (inside[0] - 0.5 / GRID, inside[-1] + 0.5 / GRID) if len(inside) else (float(x.mean()),) * 2


CANDIDATES: dict[str, Callable[[Floats, Ends | None], Ends]] = {
    "seed_interval": default,
    "runs as units": every_run,
    "Student": over_units,
    "multiway": multiway,
    "quadrature": quadrature,
    "log odds": log_odds,
    "power ½": partial(with_power, 0.5),
    "power 1": partial(with_power, 1.0),
    "bootstrap": bootstrap,
    "bootstrap-t": bootstrap_t,
    "betting": betting,
}


@dataclass(frozen=True)
class Found:
    """Coverage and width of one candidate in one design; NaN if it gives no interval."""

    coverage: float
    width: float

    def __str__(self) -> str:
        if math.isnan(self.coverage):
            return "–"
        width = f"{self.width:.2f}" if self.width >= 0.1 else f"{self.width:.3f}"
        return f"{self.coverage:.3f} {width}".removeprefix("0")


def measure(design: Design, distribution: Distribution, repetitions: int, rng: np.random.Generator) -> list[Found]:
    """Return coverage and mean width of each candidate."""
    tables = [design.draw(rng, distribution) for _ in range(repetitions)]
    found = []
    for candidate in CANDIDATES.values():
        low, high = np.array([candidate(table, distribution.bounds) for table in tables]).T
        inside = (low <= distribution.mean) & (distribution.mean <= high)
        none = np.isnan(low).all()
        found.append(Found(*NONE) if none else Found(float(inside.mean()), float((high - low).mean())))
    return found


def summary(found: Sequence[Sequence[Found]]) -> list[str]:
    """Return each candidate's lowest coverage and mean width over the designs in which it gives an interval."""
    cells = []
    for column in zip(*found, strict=True):
        given = [one for one in column if not math.isnan(one.coverage)] or [Found(*NONE)]
        cells.append(str(Found(min(one.coverage for one in given), sum(one.width for one in given) / len(given))))
    return cells


@click.command()
@click.option("--repetitions", default=1000, show_default=True, help="Simulated tables per row.")
@click.option("--seed", default=0, show_default=True)
@click.option("--summary-only", is_flag=True, help="Print the last table only.")
def main(repetitions: int, seed: int, summary_only: bool) -> None:
    """Print coverage and mean width of intervals with nominal coverage .95, per distribution, and a summary."""
    error = math.sqrt(LEVEL * (1 - LEVEL) / repetitions)
    print(f"coverage (standard error {error:.3f}) and mean width, nominal {LEVEL:g}, {repetitions} repetitions")
    summaries = []
    for number, distribution in enumerate(DISTRIBUTIONS):
        streams = np.random.default_rng([seed, number]).spawn(len([*designs()]))
        pairs = list(zip(designs(), streams, strict=True))
        found = [measure(design, distribution, repetitions, rng) for design, rng in pairs]
        if not summary_only:
            rows = [[design.name, *map(str, row)] for design, row in zip(designs(), found, strict=True)]
            print_table([distribution.name, *CANDIDATES], rows)
            print()
        enough = [row for design, row in zip(designs(), found, strict=True) if min(design.units) >= MIN_UNITS]
        summaries.append([distribution.name, *summary(enough)])
    print_table(["lowest coverage, mean width, from 5 units on", *CANDIDATES], summaries)

"""Means over seeds with confidence intervals, one row per group, and the numbers of runs behind them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsc_mlflow.analysis.alike import differing, without_belongings
from rsc_mlflow.analysis.settings import SEEDS, SETTINGS
from rsc_mlflow.analysis.values import Range, interval_bounds, metric, unreadable
from rsc_mlflow.names import TWO_CLASSES
from rsc_mlflow.replication import MIN_UNITS, SeedInterval, seed_interval
from rsc_mlflow.tracking.schema import score_target

Array = npt.NDArray[Any]
LISTED = 25
"""Maximum number of runs in the column ``links`` of a row."""
MEASURES = ("mean", "low", "high", "units", "over", "each")
COUNTS = ("runs", "incomplete", "running", "failed", "copies", "unreadable")


def points(
    runs: pd.DataFrame, by: Sequence[str], metric_name: str, *, average: Sequence[str] = (), level: float = 0.95
) -> pd.DataFrame:
    """Return the mean over seeds of one metric for each group, with intervals.

    Args:
        runs: as for :func:`series`.
        by: as for :func:`series`.
        metric_name: name of the metric, e.g. ``spurious/score``.
        average: as for :func:`series`.
        level: confidence level.

    Returns:
        The table of :func:`series` for the metric, without the column ``series``.
    """
    odd = {metric_name: unreadable(runs, metric_name)}
    found = series(
        runs,
        by,
        {metric_name: metric(runs, metric_name)},
        average=average,
        level=level,
        bounds=interval_bounds(metric_name),
        odd=odd,
    )
    return found.drop(columns="series")


def series(
    runs: pd.DataFrame,
    by: Sequence[str],
    values: "Mapping[str, pd.Series[float]]",
    *,
    average: Sequence[str] = (),
    level: float = 0.95,
    bounds: Range | Mapping[str, Range | None] | None = None,
    odd: Mapping[str, Array] | None = None,
) -> pd.DataFrame:
    """Return the mean over seeds of several quantities for each group, with intervals.

    The intervals are those of :func:`rsc_mlflow.replication.seed_interval`.

    Args:
        runs: rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint`, selected by
            :func:`rsc_mlflow.analysis.alike`.
        by: columns that define a group; runs without a value in one of them are ignored.
        values: the quantities by name, float ``[runs]``, NaN if a run has none.
        average: settings, such as ``n_spurious``, that are averaged within each set of seeds first.  A combination of
            their values is a cell.  A set of seeds is used only if it has a run in every cell of its group.
        level: confidence level.
        bounds: range of possible values of all quantities, or of each by its name; ignored if a value is outside.
        odd: for each quantity, which runs have an unreadable value, bool ``[runs]``.

    Returns:
        One row per group and quantity with a mean, sorted by group: the columns of ``by``; ``series`` (the name);
        ``mean``, ``low``, ``high`` (NaN with fewer than five units); ``units`` (number of independent units); ``over``
        (what the mean estimates); ``each`` (the means of the units if they are fewer than five); ``runs`` (number of
        averaged runs); ``mixed`` (other settings in which the averaged runs differ; normally empty); ``links``
        ("experiment:run,…", at most 25).  Numbers of runs that were not averaged: ``incomplete`` (their seeds lack a
        run in some cell), ``running``, ``failed`` (no run of the fingerprint finished), ``copies`` (finished
        repetitions) and ``unreadable``.
    """
    by, odd = list(by), odd or {}
    group = runs.groupby(by, sort=True).ngroup().fillna(-1).to_numpy(np.int64) if by else np.zeros(len(runs), int)
    groups, first = np.unique(group, return_index=True)
    groups, first = groups[groups >= 0], first[groups >= 0]
    counts = runs["counts"].to_numpy(bool) & (group >= 0)
    seeds = {name: runs[column].to_numpy(object) for name, column in SEEDS.items() if column in runs}
    cell, seed = _codes(runs, average), _codes(runs, [SEEDS[name] for name in seeds])
    whole: dict[str, Array] = {name: runs[name].to_numpy()[first] for name in by}
    base = _whole_counts(runs, group, len(groups))
    rows: list[pd.DataFrame] = []
    for place, (name, column) in enumerate(values.items()):
        value = column.to_numpy(float)
        known = counts & ~np.isnan(value)
        used = _complete(known, group, seed, cell)
        own = bounds.get(name) if isinstance(bounds, Mapping) else bounds
        part = _means(value, used, group, seed, cell, seeds, len(groups), level, own)
        part["runs"] = np.bincount(group[used], minlength=len(groups))
        part["incomplete"] = np.bincount(group[known & ~used], minlength=len(groups))
        bad = odd.get(name, np.zeros(len(runs), bool)) & counts
        part["unreadable"] = np.bincount(group[bad], minlength=len(groups))
        part |= base | {"copies": _sum(runs["copies"], used, group, len(groups))}
        part["mixed"] = _mixed(runs, used, group, [*by, *average], len(groups))
        part["links"] = _links(runs, used, group, len(groups))
        rows.append(pd.DataFrame(whole | {"series": name, "group_": groups, "place_": place} | part))
    order = [*by, "series", *MEASURES, *COUNTS, "mixed", "links"]
    if not rows:
        return pd.DataFrame(columns=order)
    table = pd.concat(rows, ignore_index=True).sort_values(["group_", "place_"], kind="stable")
    return table.loc[table["runs"] > 0, order].reset_index(drop=True)


def _means(
    value: Array,
    used: Array,
    group: Array,
    seed: Array,
    cell: Array,
    seeds: Mapping[str, Array],
    groups: int,
    level: float,
    bounds: Range | None,
) -> dict[str, Array]:
    """Return the columns MEASURES, ``[groups]``: means over runs in a cell, then over cells, then over seeds."""
    found = {name: np.full(groups, np.nan) for name in ("mean", "low", "high")}
    found |= {"units": np.zeros(groups, int), "over": np.full(groups, "", object), "each": np.full(groups, None)}
    at = np.flatnonzero(used)
    if len(at):
        at = at[np.lexsort((cell[at], seed[at], group[at]))]
        at, mean = _averaged(at, value[at], group, seed, cell)
        at, mean = _averaged(at, mean, group, seed)
        edges = np.flatnonzero(np.diff(group[at], prepend=-1, append=-1))
        for start, end in pairwise(edges):
            rows = at[start:end]
            levels = {name: column[rows].tolist() for name, column in seeds.items()}
            interval, each = unit_means(mean[start:end], levels, level, bounds)
            k = group[rows[0]]
            found["mean"][k], found["low"][k], found["high"][k] = interval.estimate, interval.low, interval.high
            found["units"][k], found["over"][k], found["each"][k] = interval.n_units, interval.estimand, each
    return found


def per_seed(
    runs: pd.DataFrame, by: Sequence[str], value: "pd.Series[float]", average: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per group and set of seeds: the columns of ``by``, the seeds, and the mean ``value`` over cells.

    Args:
        runs: as for :func:`series`.
        by: as for :func:`series`.
        value: float ``[runs]``, NaN if a run has none.
        average: as for :func:`series`.
    """
    seeds = [column for column in SEEDS.values() if column in runs]
    group, seed, cell = _codes(runs, by), _codes(runs, seeds), _codes(runs, average)
    numbers = value.to_numpy(float)
    used = _complete(runs["counts"].to_numpy(bool) & ~np.isnan(numbers), group, seed, cell)
    at = np.flatnonzero(used)
    at = at[np.lexsort((cell[at], seed[at], group[at]))]
    at, mean = _averaged(at, numbers[at], group, seed, cell)
    at, mean = _averaged(at, mean, group, seed)
    return runs.iloc[at][[*by, *seeds]].assign(value=mean).reset_index(drop=True)


def unit_means(
    values: Array, seeds: Mapping[str, Sequence[str]], level: float = 0.95, bounds: Range | None = None
) -> tuple[SeedInterval, tuple[float, ...]]:
    """Return the interval over seeds, and the means of its units if they are too few for an interval.

    Args:
        values: one number per set of seeds, ``[n]``.
        seeds: for each kind of seed, the seed of each value; kinds whose seeds are all empty are ignored.
        level: confidence level.
        bounds: as for ``seed_interval``; ignored if a value is outside.
    """
    given = {name: column for name, column in seeds.items() if any(column)}
    inside = bounds is not None and bounds[0] <= values.min() and values.max() <= bounds[1]
    interval = seed_interval(values, given, level, bounds if inside else None)
    if interval.n_units >= MIN_UNITS or not interval.units:
        return interval, ()
    return interval, tuple(per_unit(values, given, interval).values())


def per_unit(values: Array, seeds: Mapping[str, Sequence[str]], interval: SeedInterval) -> dict[str, float]:
    """Return the mean of each unit by its seed, sorted by seed.

    The units are the seeds of the kind with the fewest seeds in the interval.
    """
    name = min(interval.units, key=lambda one: interval.units[one])
    by_level: dict[str, list[float]] = {}
    for level, value in zip(seeds[name], values, strict=True):
        by_level.setdefault(level, []).append(float(value))
    return {level: float(np.mean(by_level[level])) for level in sorted(by_level, key=in_order)}


def in_order(seed: str) -> tuple[int, str]:
    """Return a sort key that sorts seeds as numbers, after texts that are not numbers."""
    return (int(seed), "") if seed.isdecimal() else (-1, seed)


def _averaged(at: Array, value: Array, *keys: Array) -> tuple[Array, Array]:
    """Average consecutive rows with equal keys; return the position of the first row of each, and the means."""
    new = np.zeros(len(at), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[at[1:]] != key[at[:-1]]
    place = np.cumsum(new) - 1
    return at[new], np.bincount(place, value) / np.bincount(place)


def _complete(known: Array, group: Array, seed: Array, cell: Array) -> Array:
    """Return which of the known runs have seeds that have a run in every cell of the group."""
    if not len(cell) or not cell.any():
        return known
    at = np.flatnonzero(known)
    distinct = np.unique(np.stack([group[at], seed[at], cell[at]]), axis=1)
    pair, _, number = np.unique(distinct[:2], axis=1, return_inverse=True, return_counts=True)
    needed = {k: len(np.unique(distinct[2][distinct[0] == k])) for k in np.unique(distinct[0])}
    good = {(k, s) for (k, s), n in zip(pair.T.tolist(), number.tolist(), strict=True) if n == needed[k]}
    used = known.copy()
    used[at] = [one in good for one in zip(group[at].tolist(), seed[at].tolist(), strict=True)]
    return used


def _whole_counts(runs: pd.DataFrame, group: Array, groups: int) -> dict[str, Array]:
    """Return the numbers of running and failed runs of each group."""
    inside = group >= 0
    names = {"running": "running", "failed": "lost"}
    return {
        name: np.bincount(group[inside], runs[column].to_numpy(float)[inside], groups).astype(int)
        for name, column in names.items()
    }


def _sum(column: "pd.Series[Any]", used: Array, group: Array, groups: int) -> Array:
    return np.bincount(group[used], column.to_numpy(float)[used], groups).astype(int)


def _codes(runs: pd.DataFrame, names: Sequence[str]) -> Array:
    if not names:
        return np.zeros(len(runs), np.int64)
    return runs.groupby(list(names), sort=True, dropna=False).ngroup().to_numpy(np.int64)


def _mixed(runs: pd.DataFrame, used: Array, group: Array, shown: Sequence[str], groups: int) -> Array:
    """Return a text per group that lists the settings, without shown ones, in which its runs differ."""
    words: list[list[str]] = [[] for _ in range(groups)]
    some, of = runs[used], group[used]
    for name in without_belongings(some, differing(some, shown), shown):
        codes = pd.factorize(some[name], use_na_sentinel=False)[0]
        pairs = np.unique(np.stack([of, codes]), axis=1)[0]
        for k in np.flatnonzero(np.bincount(pairs, minlength=groups) > 1):
            words[k].append(SETTINGS[name][0])
    return np.array([", ".join(found) for found in words], dtype=object)


def _links(runs: pd.DataFrame, used: Array, group: Array, groups: int) -> Array:
    """Return "experiment:run,…" for the first runs of each group."""
    found: list[list[str]] = [[] for _ in range(groups)]
    experiments = runs["experiment_id"].to_numpy() if "experiment_id" in runs else np.full(len(runs), "", object)
    rows = zip(group[used], experiments[used], runs["run_id"].to_numpy()[used], strict=True)
    for place, experiment, run in rows:
        if len(found[place]) < LISTED:
            found[place].append(f"{experiment}:{run}")
    return np.array([",".join(links) for links in found], dtype=object)


def with_targets(
    table: pd.DataFrame, runs: pd.DataFrame, by: Sequence[str], average: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a table of scores with the columns ``target_1`` and ``target_2``, the mean scores of both target classes.

    They are NaN for groups with one target class.  If no run has two, the table is returned unchanged.

    Args:
        table: result of :func:`points` for the metric ``spurious/score``.
        runs: the runs that the table was made from.
        by: as for :func:`points`.
        average: as for :func:`points`.
    """
    two = runs[(runs["form"] == TWO_CLASSES).to_numpy()]
    pairs = [str(text).split("-") for text in two["target_class"]]
    if not any(len(pair) == 2 for pair in pairs):
        return table
    values = {f"target_{place + 1}": _of_targets(two, pairs, place) for place in (0, 1)}
    found = series(two, by, values, average=average)
    wide = found.pivot_table(index=list(by), columns="series", values="mean", sort=False).reset_index()
    return table.merge(wide, on=list(by), how="left")


def _of_targets(runs: pd.DataFrame, pairs: Sequence[Sequence[str]], place: int) -> "pd.Series[float]":
    of_class = {k: metric(runs, score_target(int(k))).to_numpy() for pair in pairs if len(pair) == 2 for k in pair}
    values = [of_class[pair[place]][row] if len(pair) == 2 else np.nan for row, pair in enumerate(pairs)]
    return pd.Series(values, index=runs.index, dtype=float)

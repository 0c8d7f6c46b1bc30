"""The table of unlearning methods, verdicts on groups of runs, and variants of a method."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dashboards.figures.points import INTERVAL
from rsc_mlflow.analysis import finished, interval_bounds, metric, series
from rsc_mlflow.experiments.unlearning_verdict import DESTROYED, OVER_FORGETS, VERDICTS, verdicts
from rsc_mlflow.names import TWO_CLASSES
from rsc_mlflow.tracking import schema

MEMBERSHIP = "membership AUC after"
MEASURES: Mapping[str, str] = {
    "score gap": schema.GAP_PREFIX + schema.SPURIOUS_SCORE,
    "accuracy gap": schema.GAP_PREFIX + schema.TEST_ACCURACY,
    "forget loss gap": schema.GAP_PREFIX + schema.FORGET_LOSS,
    "forget confidence gap": schema.GAP_PREFIX + schema.FORGET_CONFIDENCE,
    "KL, clean": schema.KL_TO_REFERENCE,
    "KL, patterned": schema.KL_TO_REFERENCE_PATTERN,
    MEMBERSHIP: "membership",
    "seconds": schema.UNLEARN_SECONDS,
}
"""Column of the table → metric; ``membership`` is added by :func:`with_membership`."""
ATTACKS = ("lira", "rmia", "shadow", "loss")
"""Attacks on unlearned models, the preferred one first."""
OF_TARGETS = ("score gap, first target", "score gap, second target")
BOUNDS = {MEMBERSHIP: (0.0, 1.0), **dict.fromkeys(OF_TARGETS, (-1.0, 1.0))}
"""Ranges of the measures that are not metrics."""
NO_REFERENCE = "no reference"
"""Text for runs without a retrained reference, for which there is no verdict."""


def variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with a column ``variant``: the method and those of its options in which its runs differ.

    Args:
        runs: with ``method`` and ``method_options`` ("name=value, …").
    """
    options = [_options(text) for text in runs["method_options"]]
    values: dict[tuple[str, str], set[str]] = {}
    for method in set(runs["method"]):
        own = [given for given, name in zip(options, runs["method"], strict=True) if name == method]
        for option in sorted(set().union(*own)):
            values[method, option] = {given.get(option, "") for given in own}
    names = []
    for method, given in zip(runs["method"], options, strict=True):
        words = [f"{name}={value}" for name, value in given.items() if len(values[method, name]) > 1]
        names.append(", ".join([str(method), *words]))
    return runs.assign(variant=np.array(names, dtype=object))


def _options(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(", ") if "=" in part)


def faults(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the verdict on the finished runs of each group, e.g. "over-forgets (2 of 3 runs)".

    :mod:`rsc_mlflow.experiments.unlearning_verdict` defines the rules for single runs.  A single run that over-forgets
    can be due to random variation between seeds, so a group is faulty only if at least half of its runs do.

    Returns:
        The columns of ``by``, ``verdict`` (empty if no rule applies and all runs have a reference) and ``faulty``
        (bool: at least one run destroyed its model, or at least half of the runs over-forget).
    """
    done = runs["counts"].to_numpy(bool)

    def value(name: str) -> npt.NDArray[np.floating[Any]]:
        return metric(runs, name)[done].to_numpy(float)

    found = verdicts(value)
    found = np.where((found == "") & np.isnan(value(schema.GAP_PREFIX + schema.FORGET_LOSS)), NO_REFERENCE, found)
    table = runs[list(by)][done].assign(found=found)
    rows = [
        (*(group if isinstance(group, tuple) else (group,)), *_words(Counter(part["found"])))
        for group, part in table.groupby(list(by), sort=True)
    ]
    return pd.DataFrame(rows, columns=[*by, "verdict", "faulty"])


def _words(counts: Counter[str]) -> tuple[str, bool]:
    total = counts.total()
    named = [name for name in (*VERDICTS, NO_REFERENCE) if counts[name]]
    faulty = counts[DESTROYED] > 0 or 2 * counts[OVER_FORGETS] >= total
    return ", ".join(f"{name} ({counts[name]} of {total} runs)" for name in named), faulty


def with_membership(runs: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with ``metrics.membership``: an attack's AUC of forgotten examples against controls.

    The value is ``attack/{attack}/spurious_auc``, averaged over the finished attack runs on the unlearned model; for
    each attack run, ``attack`` is the first of :data:`ATTACKS` that it logged.  NaN if the model was not attacked.

    Args:
        runs: unlearning runs.
        attacks: attack runs, with ``source_run``.
    """
    attacks = finished(attacks)
    found = pd.Series(np.nan, index=attacks.index)
    for attack in ATTACKS:
        found = found.fillna(metric(attacks, schema.attack(attack, "spurious_auc")))
    mean = found.groupby(attacks["source_run"]).mean()
    return runs.assign(**{"metrics.membership": runs["run_id"].map(mean).astype(float)})


def gap_table(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per group: rank, verdict, and all measures with their intervals.

    Rows are sorted by the absolute gap in the spurious score; faulty groups come last.

    Args:
        runs: unlearning runs, selected by :func:`rsc_mlflow.analysis.alike`.
        by: columns that define a row; the last one is the method or its variant.

    Returns:
        The columns of ``by``; ``rank`` among the rows that differ only in the last column of ``by``; ``verdict``;
        :data:`MEASURES`, and for two target classes the gaps of both, each with ``… from`` and ``… to`` (ends of the
        interval, NaN with fewer than five seeds); ``units`` (number of seeds), ``runs``, ``over`` (the estimand) and
        ``links``.  Measures that no run has are omitted.
    """
    by = list(by)
    values = {name: metric(runs, of) for name, of in MEASURES.items()} | _of_targets(runs)
    found = series(runs, by, values, bounds={name: interval_bounds(of) for name, of in MEASURES.items()} | BOUNDS)
    if found.empty:
        return pd.DataFrame()
    cells = _with_ends(found, by, [name for name in values if (found["series"] == name).any()])
    means = found[found["series"] == "score gap"].set_index(by)["mean"].abs().rename("nearness")
    # Runs without a reference have only some measures, so these columns are those of the measure with the most runs.
    behind = found.sort_values("runs", kind="stable").drop_duplicates(by, keep="last").set_index(by)
    table = cells.join(behind[["units", "runs", "over", "links"]]).join(means).reset_index()
    table = table.merge(faults(runs, by), on=by, how="left")
    order = [*by[:-1], "faulty", "nearness", by[-1]]
    table = table.sort_values(order, kind="stable", na_position="last", ignore_index=True)
    table["rank"] = table.groupby(by[:-1], sort=False).cumcount() + 1 if by[:-1] else range(1, len(table) + 1)
    return table[[*by, "rank", "verdict", *cells.columns, "units", "runs", "over", "links"]]


def _with_ends(found: pd.DataFrame, by: list[str], names: Sequence[str]) -> pd.DataFrame:
    """Return the means of the named series for each group, each followed by the ends of its interval."""
    wide = found.set_index([*by, "series"])[["mean", "low", "high"]].unstack()
    columns = [(part, name) for name in names for part in ("mean", "low", "high")]
    ends = {"mean": "", "low": INTERVAL[0], "high": INTERVAL[1]}
    return pd.DataFrame({f"{name}{ends[part]}": wide[part, name] for part, name in columns}, index=wide.index)


def _of_targets(runs: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Return the gaps of both target classes' scores; empty if no run has two target classes."""
    pairs = [str(text).split("-") for text in runs["target_class"].where(runs["form"] == TWO_CLASSES, "")]
    classes = {k for pair in pairs for k in pair if len(pair) == 2}
    of_class = {k: metric(runs, schema.GAP_PREFIX + schema.score_target(int(k))).to_numpy() for k in classes}
    columns = {}
    for place, name in enumerate(OF_TARGETS if classes else ()):
        values = [of_class[pair[place]][row] if len(pair) == 2 else np.nan for row, pair in enumerate(pairs)]
        columns[name] = pd.Series(values, index=runs.index, dtype=float)
    return columns

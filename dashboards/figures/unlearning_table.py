"""Tables of unlearning methods: all metrics side by side, the faults of results, and variants of a method."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rsc_mlflow.analysis import finished, metric, series
from rsc_mlflow.experiments.unlearning_verdict import DESTROYED, OVER_FORGETS, VERDICTS, verdicts
from rsc_mlflow.names import TWO_CLASSES
from rsc_mlflow.tracking import schema

MEASURES: Mapping[str, str] = {
    "score gap": schema.GAP_PREFIX + schema.SPURIOUS_SCORE,
    "accuracy gap": schema.GAP_PREFIX + schema.TEST_ACCURACY,
    "forget loss gap": schema.GAP_PREFIX + schema.FORGET_LOSS,
    "forget confidence gap": schema.GAP_PREFIX + schema.FORGET_CONFIDENCE,
    "KL, clean": schema.KL_TO_REFERENCE,
    "KL, patterned": schema.KL_TO_REFERENCE_PATTERN,
    "seconds": schema.UNLEARN_SECONDS,
}
"""Column of the table → metric."""
OF_TARGETS = ("score gap, first target", "score gap, second target")
NO_REFERENCE = "no reference"
"""Instead of a verdict where a run was not compared with a retrained reference."""


def variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Adds ``variant``: the method, with those of its options in which the method's runs differ.

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
    """What is wrong with the finished runs of each group, as ``verdict``: e.g. "over-forgets (2 of 3 runs)".

    The rules are those of :mod:`rsc_mlflow.experiments.unlearning_verdict`; empty where every run passes them.

    Returns:
        The columns of ``by``, ``verdict`` and ``faulty`` (bool: a run destroyed its model, or at least half of the runs
        over-forget; of few, one alone can be the spread of training).
    """
    runs = finished(runs)
    found = verdicts(lambda name: metric(runs, name).to_numpy(float))
    unjudged = metric(runs, schema.GAP_PREFIX + schema.FORGET_LOSS).isna().to_numpy()
    found = np.where((found == "") & unjudged, NO_REFERENCE, found)
    table = runs[list(by)].assign(found=found)
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


def gap_table(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row per group: each metric as "mean [interval]", and the verdict.

    Groups with a fault stand below those without, whatever their gaps; otherwise those whose spurious score is nearer
    to the retrained reference's stand first.

    Args:
        runs: unlearning runs, alike but for the columns of ``by``.
        by: columns that make a row, the last of them the method or its variant.

    Returns:
        The columns of ``by``, ``verdict``, :data:`MEASURES` (for two target classes the scores of both, too), ``runs``,
        ``over`` (what the means estimate) and ``links``.
    """
    by = list(by)
    values = {name: metric(runs, of) for name, of in MEASURES.items()} | _of_targets(runs)
    found = series(runs, by, values)
    if found.empty:
        return pd.DataFrame()
    found["text"] = [cell(*row) for row in zip(found["mean"], found["low"], found["high"], found["each"], strict=True)]
    cells = found.set_index([*by, "series"])["text"].unstack(fill_value="").reindex(columns=list(values), fill_value="")
    means = found[found["series"] == "score gap"].set_index(by)["mean"].abs().rename("nearness")
    # Runs without a reference have seconds alone: what stands behind a row is what stands behind its seconds.
    behind = found.sort_values("runs", kind="stable").drop_duplicates(by, keep="last").set_index(by)
    table = cells.join(behind[["runs", "over", "links"]]).join(means).reset_index()
    table = table.merge(faults(runs, by), on=by, how="left")
    order = [*by[:-1], "faulty", "nearness", by[-1]]
    table = table.sort_values(order, kind="stable", na_position="last", ignore_index=True)
    return table[[*by, "verdict", *values, "runs", "over", "links"]]


def cell(mean: float, low: float, high: float, each: Sequence[float] | None) -> str:
    """A mean with its interval, or with the single seeds where they are too few for one."""
    if not np.isnan(low):
        return f"{_short(mean)} [{_short(low)}, {_short(high)}]"
    return _short(mean) + (f" (seeds: {', '.join(map(_short, each))})" if each and len(each) > 1 else "")


def _short(value: float) -> str:
    return f"{value:.3g}"


def _of_targets(runs: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """The gaps of both target classes' scores, of runs that have two; empty where none has."""
    pairs = [str(text).split("-") for text in runs["target_class"].where(runs["form"] == TWO_CLASSES, "")]
    classes = {k for pair in pairs for k in pair if len(pair) == 2}
    of_class = {k: metric(runs, schema.GAP_PREFIX + schema.score_target(int(k))).to_numpy() for k in classes}
    columns = {}
    for place, name in enumerate(OF_TARGETS if classes else ()):
        values = [of_class[pair[place]][row] if len(pair) == 2 else np.nan for row, pair in enumerate(pairs)]
        columns[name] = pd.Series(values, index=runs.index, dtype=float)
    return columns

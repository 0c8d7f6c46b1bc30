"""Ranges of metrics.  Values outside the range of their metric are not used and count as unreadable."""

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Range = tuple[float, float]
SHARE: Range = (0.0, 1.0)
LARGEST = 1e100
"""Larger numbers could overflow when they are averaged or squared."""
ROUNDING = 1e-12
"""A value that is outside its range by at most this is replaced by the nearest bound."""
ANY: Range = (-LARGEST, LARGEST)
_SHARES = re.compile(
    r"(before/)?spurious/(score.*|flip_rate|test_accuracy|p_value.*|reference_score.*)|reference/.*"
    r"|(before/)?(train|test)/accuracy|(before/)?unlearn/(forget_(accuracy|confidence)|retain_accuracy)"
    r"|attack/[^/]+/(?!n_).*"
    r"|benchmark/(ulira_auc|ulira_tpr.*)"
    r"|occlusion/(auc|probability)"
)
_DIFFERENCES = re.compile(
    r"gap/(spurious/(score.*|flip_rate|test_accuracy)|test/accuracy"
    r"|unlearn/(forget_(accuracy|confidence)|retain_accuracy))"
)
_SIZES = re.compile(
    r"(before/)?(train|test)/loss|spurious/(pattern_norm|n_reference)|attack/[^/]+/n_.*|cost/.*|train/learning_rate"
    r"|(before/)?unlearn/(forget_loss|kl_to_reference.*|gradient_norm|parameter_distance|residual|seconds|speedup)|sweep/.*"
)


def limits(name: str) -> Range:
    """Return the range of a metric: [0, 1] for shares and p-values, [-1, 1] for their differences, ≥ 0 for sizes.

    Other metrics may have any value up to ±1e100.
    """
    if _SHARES.fullmatch(name):
        return SHARE
    if _DIFFERENCES.fullmatch(name):
        return -1.0, 1.0
    return (0.0, LARGEST) if _SIZES.fullmatch(name) else ANY


def interval_bounds(name: str) -> Range | None:
    """Return the bounds of a metric's means for :func:`rsc_mlflow.replication.seed_interval`; None if it has none."""
    low, high = limits(name)
    return None if low == -LARGEST else (low, math.inf if high == LARGEST else high)


def metric(runs: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return the values of a metric, float ``[runs]``; NaN if a run has none, or one outside the range."""
    column = f"metrics.{name}"
    if column not in runs:
        return pd.Series(np.nan, index=runs.index)
    values = runs[column].to_numpy(float)
    readable = np.where(_outside(values, name), np.nan, np.clip(values, *limits(name)))
    return pd.Series(readable, index=runs.index, name=column)


def unreadable(runs: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    """Return which runs have a value outside the metric's range, bool ``[runs]``."""
    column = f"metrics.{name}"
    return _outside(runs[column].to_numpy(float), name) if column in runs else np.zeros(len(runs), bool)


def unreadable_values(runs: pd.DataFrame) -> "pd.Series[str]":
    """Return one text per run that lists its metrics outside their range; empty if there are none."""
    words = pd.Series("", index=runs.index, dtype=object)
    for column in [name for name in runs.columns if name.startswith("metrics.")]:
        name = column.removeprefix("metrics.")
        odd = unreadable(runs, name)
        if odd.any():
            low, high = limits(name)
            expected = f"{low:g} to {high:g}" if high == 1 else "a finite number" + (" ≥ 0" if not low else "")
            found = runs.loc[odd, column].map(lambda v, n=name, e=expected: f"{n}: {v:g} (expected {e})")
            words[found.index] = words[found.index] + np.where(words[found.index] != "", "; ", "") + found
    return words


def _outside(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.bool_]:
    low, high = limits(name)
    with np.errstate(invalid="ignore"):
        return (values < low - ROUNDING) | (values > high + ROUNDING)

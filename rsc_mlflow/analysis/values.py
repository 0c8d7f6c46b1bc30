"""Metrics within their range: what lies outside is skipped at that point and counted as unreadable."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Range = tuple[float, float]
SHARE: Range = (0.0, 1.0)
LARGEST = 1e100
"""Numbers beyond it cannot be averaged or squared."""
ANY: Range = (-LARGEST, LARGEST)
_SHARES = re.compile(
    r"(before/)?spurious/(score.*|flip_rate|test_accuracy|p_value.*|reference_score.*)|reference/.*"
    r"|(before/)?(train|test)/accuracy|(before/)?unlearn/(forget_(accuracy|confidence)|retain_accuracy)|attack/.*"
    r"|benchmark/(ulira_auc|ulira_tpr.*)"
    r"|occlusion/(auc|probability)"
)
_DIFFERENCES = re.compile(
    r"gap/(spurious/(score.*|flip_rate|test_accuracy)|test/accuracy"
    r"|unlearn/(forget_(accuracy|confidence)|retain_accuracy))"
)
_SIZES = re.compile(
    r"(before/)?(train|test)/loss|spurious/(pattern_norm|n_reference)|cost/.*|train/learning_rate"
    r"|(before/)?unlearn/(forget_loss|gradient_norm|parameter_distance|residual|seconds|speedup)|sweep/.*"
)


def limits(name: str) -> Range:
    """The range of a metric: shares and p-values [0, 1], differences of shares [-1, 1], sizes from 0 on."""
    if _SHARES.fullmatch(name):
        return SHARE
    if _DIFFERENCES.fullmatch(name):
        return -1.0, 1.0
    return (0.0, LARGEST) if _SIZES.fullmatch(name) else ANY


def metric(runs: pd.DataFrame, name: str) -> "pd.Series[float]":
    """A metric's column, float, NaN where a run has none or one outside its range."""
    column = f"metrics.{name}"
    if column not in runs:
        return pd.Series(np.nan, index=runs.index)
    values = runs[column].astype(float)
    return values.where(~_outside(values.to_numpy(), name))


def unreadable(runs: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    """bool [runs]: a value is stored that lies outside the metric's range."""
    column = f"metrics.{name}"
    return _outside(runs[column].to_numpy(float), name) if column in runs else np.zeros(len(runs), bool)


def unreadable_values(runs: pd.DataFrame) -> "pd.Series[str]":
    """Of each run in words which of its metrics lie outside their range; empty where none does."""
    words = pd.Series("", index=runs.index, dtype=object)
    for column in [name for name in runs.columns if name.startswith("metrics.")]:
        name = column.removeprefix("metrics.")
        odd = unreadable(runs, name)
        if odd.any():
            low, high = limits(name)
            accepted = (
                f"from {low:g} to {high:g}" if high == 1 else "a finite number" + (" from 0 on" if not low else "")
            )
            found = runs.loc[odd, column].map(lambda v, n=name, a=accepted: f"{n} is {v:g}; accepted: {a}")
            words[found.index] = words[found.index] + np.where(words[found.index] != "", "; ", "") + found
    return words


def _outside(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.bool_]:
    low, high = limits(name)
    with np.errstate(invalid="ignore"):
        return (values < low) | (values > high)

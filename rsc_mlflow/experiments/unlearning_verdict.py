"""Rules for unlearning results that are not a success, whatever their spurious score.

The two rules use metrics that every unlearning run logs:

* **destroyed**: the test accuracy fell by more than 20 percentage points, or by more than half if the source model had
  less than 40 %.
* **over-forgets**: the model fits the old labels of the forgotten examples much worse than the retrained reference,
  which never saw them.  Their mean loss is more than three times the reference's and more than 1 nat higher, or the
  mean confidence in their old labels is less than a fifth of the reference's and more than 0.2 lower.

``docs/unlearning.md`` explains the rules, and how often they apply to retrained models that differ only in their seed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsc_mlflow.tracking import schema

DESTROYED = "destroyed"
OVER_FORGETS = "over-forgets"
VERDICTS = (DESTROYED, OVER_FORGETS)
"""The verdicts of :func:`verdicts`."""

LOST_ACCURACY = 0.2
"""Decrease of the test accuracy above which a model counts as destroyed."""
LOSS_MARGIN, LOSS_FACTOR = 1.0, 3.0
"""A model over-forgets if its forget loss exceeds the reference's by more than this margin (nats) and this factor."""
CONFIDENCE_MARGIN, CONFIDENCE_FACTOR = 0.2, 0.2
"""A model over-forgets if its forget confidence is below the reference's by more than this margin and this factor."""

Floats = npt.NDArray[np.floating[Any]]
Values = Callable[[str], Floats]
"""A function from a metric's name to its values in n runs, float ``[n]``; NaN if a run has none."""


def verdicts(value: Values) -> npt.NDArray[Any]:
    """Return the verdict on each of n runs: one of :data:`VERDICTS`, or empty.

    A rule is not applied to runs without the required metrics.
    """
    before = value(schema.BEFORE_PREFIX + schema.TEST_ACCURACY)
    destroyed = before - value(schema.TEST_ACCURACY) > np.minimum(LOST_ACCURACY, before / 2)
    over = _loses_too_much(value) | _is_too_unsure(value)
    return np.where(destroyed, DESTROYED, np.where(over, OVER_FORGETS, "")).astype(object)


def _loses_too_much(value: Values) -> npt.NDArray[Any]:
    """Return whether the forget loss is too far above the reference's."""
    excess, reference = _beside_reference(value, schema.FORGET_LOSS)
    found: npt.NDArray[Any] = excess > np.fmax(LOSS_MARGIN, (LOSS_FACTOR - 1) * reference)
    return found


def _is_too_unsure(value: Values) -> npt.NDArray[Any]:
    """Return whether the forget confidence is too far below the reference's."""
    excess, reference = _beside_reference(value, schema.FORGET_CONFIDENCE)
    found: npt.NDArray[Any] = -excess > np.fmax(CONFIDENCE_MARGIN, (1 - CONFIDENCE_FACTOR) * reference)
    return found


def _beside_reference(value: Values, metric: str) -> tuple[Floats, Floats]:
    """Return the difference from the reference, and the value of the reference."""
    gap = value(schema.GAP_PREFIX + metric)
    with np.errstate(invalid="ignore"):  # inf − inf, if a loss overflowed
        return gap, value(metric) - gap


def verdict(metrics: Mapping[str, float]) -> str:
    """Return the verdict on one run."""
    return str(verdicts(_of_one(metrics))[0])


def sentence(metrics: Mapping[str, float]) -> str:
    """Return the verdict on one run as a sentence with its numbers; empty if there is none."""
    found = verdict(metrics)
    if found == DESTROYED:
        before, after = metrics[schema.BEFORE_PREFIX + schema.TEST_ACCURACY], metrics[schema.TEST_ACCURACY]
        fall = f"its test accuracy fell from {before:.4f} to {after:.4f}"
        return f"The model is destroyed: {fall}, so its spurious score is meaningless."
    if found == OVER_FORGETS:
        return f"The model over-forgets: on the forgotten examples, {', and '.join(_excesses(metrics))}."
    return ""


def _excesses(metrics: Mapping[str, float]) -> Iterator[str]:
    """Yield a description of each rule that applies, with both numbers."""
    value = _of_one(metrics)
    for broken, name, words in (
        (_loses_too_much, schema.FORGET_LOSS, "its mean loss for their original labels is"),
        (_is_too_unsure, schema.FORGET_CONFIDENCE, "its mean confidence in these labels is"),
    ):
        if broken(value)[0]:
            (_,), (reference,) = _beside_reference(value, name)
            yield f"{words} {metrics[name]:.4g} (retrained reference: {reference:.4g})"


def _of_one(metrics: Mapping[str, float]) -> Values:
    return lambda name: np.array([metrics.get(name, math.nan)])

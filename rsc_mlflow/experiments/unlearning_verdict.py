"""Which unlearning results are no success, whatever their spurious score says: the one place that decides.

Two rules, on the metrics that every unlearning run logs (so that they hold for runs of earlier versions, too):

* **destroyed**: the test accuracy fell by more than 20 points, or by more than half where the source had less than
  40 %.
* **over-forgets**: on the forgotten examples the model is far beyond a model that never saw them.  Their mean loss is
  more than three times the retrained reference's and more than 1 nat above it, or the mean confidence in their old
  labels is less than a fifth of the reference's and more than .2 below it.

``docs/unlearning.md`` says why, and how often two retrainings that differ in their seed alone would be called so.
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
"""What :func:`verdicts` can say besides nothing."""

LOST_ACCURACY = 0.2
"""Fall of the test accuracy beyond which a model counts as destroyed."""
LOSS_MARGIN, LOSS_FACTOR = 1.0, 3.0
"""The forget loss counts as over-forgetting above the reference's by more than the margin (nats) and the factor."""
CONFIDENCE_MARGIN, CONFIDENCE_FACTOR = 0.2, 0.2
"""The forget confidence does below the reference's by more than the margin and below its multiple by the factor."""

Floats = npt.NDArray[np.floating[Any]]
Values = Callable[[str], Floats]
"""Metric → its values in n runs, float [n]; NaN where a run has none."""


def verdicts(value: Values) -> npt.NDArray[Any]:
    """The verdict on each of n runs: one of :data:`VERDICTS`, or empty.

    A rule whose metrics a run lacks finds no fault with it.
    """
    before = value(schema.BEFORE_PREFIX + schema.TEST_ACCURACY)
    destroyed = before - value(schema.TEST_ACCURACY) > np.minimum(LOST_ACCURACY, before / 2)
    over = _loses_too_much(value) | _is_too_unsure(value)
    return np.where(destroyed, DESTROYED, np.where(over, OVER_FORGETS, "")).astype(object)


def _loses_too_much(value: Values) -> npt.NDArray[Any]:
    """Whether the forget loss is too far above the reference's."""
    excess, reference = _beside_reference(value, schema.FORGET_LOSS)
    found: npt.NDArray[Any] = excess > np.fmax(LOSS_MARGIN, (LOSS_FACTOR - 1) * reference)
    return found


def _is_too_unsure(value: Values) -> npt.NDArray[Any]:
    """Whether the forget confidence is too far below the reference's."""
    excess, reference = _beside_reference(value, schema.FORGET_CONFIDENCE)
    found: npt.NDArray[Any] = -excess > np.fmax(CONFIDENCE_MARGIN, (1 - CONFIDENCE_FACTOR) * reference)
    return found


def _beside_reference(value: Values, metric: str) -> tuple[Floats, Floats]:
    """The gap, and the value of the reference."""
    gap = value(schema.GAP_PREFIX + metric)
    with np.errstate(invalid="ignore"):  # inf − inf: of a loss that left the range of floats
        return gap, value(metric) - gap


def verdict(metrics: Mapping[str, float]) -> str:
    """The verdict on one run."""
    return str(verdicts(_of_one(metrics))[0])


def sentence(metrics: Mapping[str, float]) -> str:
    """The verdict on one run in plain words with its numbers; empty where there is no fault."""
    found = verdict(metrics)
    if found == DESTROYED:
        before, after = metrics[schema.BEFORE_PREFIX + schema.TEST_ACCURACY], metrics[schema.TEST_ACCURACY]
        fall = f"its test accuracy fell from {before:.4f} to {after:.4f}"
        return f"the model is destroyed: {fall}, so that its spurious score means nothing"
    if found == OVER_FORGETS:
        return f"it over-forgets: on the forgotten examples, {' and '.join(_excesses(metrics))}"
    return ""


def _excesses(metrics: Mapping[str, float]) -> Iterator[str]:
    """The rules that were broken, with both numbers."""
    value = _of_one(metrics)
    for broken, name, words in (
        (_loses_too_much, schema.FORGET_LOSS, "its mean loss at their old labels is"),
        (_is_too_unsure, schema.FORGET_CONFIDENCE, "its mean confidence in these labels is"),
    ):
        if broken(value)[0]:
            (_,), (reference,) = _beside_reference(value, name)
            yield f"{words} {metrics[name]:.4g}, that of the retrained reference {reference:.4g}"


def _of_one(metrics: Mapping[str, float]) -> Values:
    return lambda name: np.array([metrics.get(name, math.nan)])

"""Signals against the plain softmax, and where the plain softmax fails."""

import numpy as np
from scipy.special import softmax

from rsc_mlflow.attacks.signals import confidence, log_probability

LOGITS = np.random.default_rng(0).normal(0, 3, (2, 7, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0, 1])


def true_probability() -> np.ndarray:
    return softmax(LOGITS.astype(np.float64), axis=-1)[:, np.arange(7), LABELS]


def test_log_probability_is_the_logarithm_of_the_softmax() -> None:
    np.testing.assert_allclose(log_probability(LOGITS, LABELS), np.log(true_probability()))


def test_confidence_is_the_log_odds_of_the_softmax() -> None:
    p = true_probability()
    np.testing.assert_allclose(confidence(LOGITS, LABELS), np.log(p / (1 - p)))


def test_confidence_does_not_saturate_and_leaves_the_logits_alone() -> None:
    logits = np.array([[500.0, 0.0], [600.0, 0.0]])
    np.testing.assert_allclose(confidence(logits, np.array([0, 0])), [500, 600])
    assert np.isfinite(logits).all()

r"""The paper's linear model of a rare spurious correlation, in closed form.

**Data.**  A label y is +1 or -1 with probability 1/2 each.  The invariant feature is x_1 ~ N(y x_inv, sigma_inv), and
the spurious feature is x_2 ~ N(z x_sp, sigma_sp).  z is 1 for a share gamma of the examples with y = +1 and 0 for all
other examples, so a share a = gamma/2 of all examples has the pattern.  sigma_inv and sigma_sp are *variances*.  During
training, input noise of variance s is added to both features.

**Model.**  Ridge regression of y on (x_1, x_2) with an unpenalized intercept b: it minimizes
E[(y - w·x - b)²] + lambda |w|².  The predicted class is the sign of w·x + b.

**Derivation.**  The intercept centers all variables, so w solves (Cov(x) + lambda I) w = Cov(x, y).  With
E[y] = 0, E[z] = a, E[yz] = a:

    Var(x_1) = x_inv² + sigma_inv + s,        Cov(x_1, x_2) = a x_inv x_sp,   Cov(x_1, y) = x_inv,
    Var(x_2) = a(1-a) x_sp² + sigma_sp + s,                                   Cov(x_2, y) = a x_sp.

Write u = sigma_inv + s + lambda and v = sigma_sp + s + lambda.  Cramer's rule gives, with 1 - 2a = 1 - gamma,

    w_1 = x_inv [a(1-gamma) x_sp² + v] / det,      w_2 = a x_sp u / det,
    det = u v + x_inv² v + a(1-a) x_sp² u + a(1-gamma) x_inv² x_sp².

The score, i.e. the increase of the output when the pattern is added, is w_2 x_sp = a u x_sp² / det.

Let T = x_inv² [a(1-gamma) x_sp² + v] / u.  Dividing the output by w_2 / (a x_sp) > 0 does not change its sign and gives
T y + a x_sp² (z - a) plus Gaussian noise of variance D² = T² sigma_inv / x_inv² + a² x_sp² sigma_sp.  Clean test
examples have z = 0, and examples of the other class (y = -1) with the pattern have z = 1, hence

    clean accuracy    = Phi((T + a² x_sp²)/D)/2 + Phi((T - a² x_sp²)/D)/2,
    spurious accuracy = Phi((T - a(1-a) x_sp²)/D).

The variances in D are those of the *test* inputs, so noise that is added only during training is not part of them.

**Differences from the paper's formulas** (:func:`as_printed`).  T and the two numerators are the same.  The paper's D
has a² x_sp⁴ sigma_sp instead of a² x_sp² sigma_sp, and the denominator of its score has a factor x_sp² instead of
x_inv² in two places.  Both are correct for x_inv² = x_sp² = 1, and the score for any x_inv² = x_sp².  The paper's
figure uses x_inv = 1 and x_sp² = 5.  ``docs/theory.md`` shows the size of the difference.

**Input noise is equivalent to ridge.**  w depends on s and lambda only through u and v, so training with input noise of
variance s is equivalent to a ridge penalty of s (Bishop 1995).

**When the score increases with the penalty.**  d(score)/d(lambda) has the sign of
x_inv² [v + a(1-gamma) x_sp²] - u² - u x_inv² (:func:`score_slope_sign`).  For every gamma > 0, the score increases with
lambda if the variance of the spurious feature is large enough and that of the invariant feature is small.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from rsc_mlflow.errors import InputError, invalid_value


@dataclass(frozen=True)
class LinearModelParams:
    """Parameters of the data and of the regularization.  The defaults are those of the paper's figure.

    Attributes:
        gamma: share of the target class (y = +1) that has the pattern, in [0, 1].
        ridge: ridge penalty lambda ≥ 0.
        noise: variance s ≥ 0 of the input noise.
        sigma_inv: variance of the invariant feature, ≥ 0.
        sigma_sp: variance of the spurious feature, ≥ 0.
        x_inv_squared: squared mean of the invariant feature, > 0.
        x_sp_squared: squared mean of the spurious feature in examples with the pattern, > 0.

    Raises:
        InputError: a value is out of range or not finite, or variance, noise and ridge of a feature are all 0.
    """

    gamma: float
    ridge: float = 0.0
    noise: float = 0.0
    sigma_inv: float = 0.5
    sigma_sp: float = 0.1
    x_inv_squared: float = 1.0
    x_sp_squared: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise invalid_value("gamma", self.gamma, "a number from 0 to 1, the share of the target class")
        for name in ("ridge", "noise", "sigma_inv", "sigma_sp"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise invalid_value(name, value, "a finite number ≥ 0")
        for name in ("x_inv_squared", "x_sp_squared"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise invalid_value(name, value, "a finite number > 0")
        if min(self.sigma_inv, self.sigma_sp) + self.noise + self.ridge <= 0:
            raise InputError("Ridge regression has no unique solution. Set one of variance, noise and ridge to > 0.")

    @property
    def a(self) -> float:
        """Share of all training examples that have the pattern, gamma/2."""
        return self.gamma / 2

    @property
    def u(self) -> float:
        """sigma_inv + noise + ridge."""
        return self.sigma_inv + self.noise + self.ridge

    @property
    def v(self) -> float:
        """sigma_sp + noise + ridge."""
        return self.sigma_sp + self.noise + self.ridge


@dataclass(frozen=True)
class Measures:
    """The three quantities in the paper's figure.

    Attributes:
        score: increase of the output when the pattern is added.
        clean_accuracy: accuracy on clean test examples, in [0, 1].
        spurious_accuracy: accuracy on examples of the other class with the pattern, in [0, 1].
    """

    score: float
    clean_accuracy: float
    spurious_accuracy: float


def closed_form(params: LinearModelParams, *, noise_at_test: bool = False) -> Measures:
    """Return the three measures for infinitely many examples, as derived in this module's docstring.

    Args:
        params: parameters of the data and of the regularization.
        noise_at_test: whether test inputs have the same noise as training inputs, as the paper's formulas assume.
    """
    a, inv, sp = params.a, params.x_inv_squared, params.x_sp_squared
    mixed = a * (1 - params.gamma) * sp
    determinant = params.u * params.v + inv * params.v + a * (1 - a) * sp * params.u + inv * mixed
    t = inv * (mixed + params.v) / params.u
    at_test = params.noise if noise_at_test else 0.0
    d = math.sqrt(t * t * (params.sigma_inv + at_test) / inv + a * a * sp * (params.sigma_sp + at_test))
    return _measures(a * params.u * sp / determinant, t, d, params)


def as_printed(params: LinearModelParams) -> Measures:
    """Return the three measures according to the paper's formulas, which assume x_inv² = 1 and noise at test.

    Raises:
        InputError: x_inv² is not 1.
    """
    if params.x_inv_squared != 1:
        raise invalid_value("x_inv_squared", params.x_inv_squared, "1, as in the paper's formulas")
    a, sp = params.a, params.x_sp_squared
    t = (a * (1 - params.gamma) * sp + params.v) / params.u
    d = math.sqrt(t * t * (params.sigma_inv + params.noise) + a * a * sp * sp * (params.sigma_sp + params.noise))
    bracket = params.v + a * (1 - a) * params.u + a * (1 - params.gamma) * sp
    return _measures(a * params.u * sp / (params.u * params.v + bracket * sp), t, d, params)


def _measures(score: float, t: float, d: float, params: LinearModelParams) -> Measures:
    shift = params.a**2 * params.x_sp_squared
    pull = params.a * (1 - params.a) * params.x_sp_squared
    clean = (_phi(t + shift, d) + _phi(t - shift, d)) / 2
    return Measures(score, clean, _phi(t - pull, d))


def _phi(margin: float, spread: float) -> float:
    """Return the probability that a normal variable with this mean and deviation is positive; 1/2 if both are 0."""
    if spread == 0:
        return 0.5 if margin == 0 else float(margin > 0)
    return float(ndtr(margin / spread))


def score_slope_sign(params: LinearModelParams) -> int:
    """Return the sign of d(score)/d(lambda): +1 if a larger ridge penalty increases the score, 0 if gamma is 0."""
    if params.gamma == 0:
        return 0
    inv = params.x_inv_squared
    rise = inv * (params.v + params.a * (1 - params.gamma) * params.x_sp_squared) - params.u**2 - params.u * inv
    return int(np.sign(rise))


def reliance_slope_sign(params: LinearModelParams) -> int:
    """Return the sign of d(w_2 x_sp / w_1 x_inv)/d(lambda): +1 if ridge makes the model rely more on the pattern.

    Ridge shrinks all weights, but the predicted class depends only on their ratio,
    a x_sp² u / (x_inv² [v + a(1-gamma) x_sp²]).  It increases with lambda if and only if
    sigma_sp + a(1-gamma) x_sp² > sigma_inv.
    """
    if params.gamma == 0:
        return 0
    mixed = params.a * (1 - params.gamma) * params.x_sp_squared
    return int(np.sign(params.sigma_sp + mixed - params.sigma_inv))


FIGURE_RIDGES = (0.0, 1.0, 10.0, 100.0)
"""Ridge penalties in the paper's figure."""
FIGURE_NOISES = (0.0, 0.1, 0.2, 0.3)
"""Variances of the input noise in the paper's figure."""


@dataclass(frozen=True)
class Curve:
    """The three measures as functions of gamma, for one ridge penalty and one noise variance."""

    ridge: float
    noise: float
    gammas: tuple[float, ...]
    measures: tuple[Measures, ...]

    def column(self, name: str) -> list[float]:
        """Return the values of ``score``, ``clean_accuracy`` or ``spurious_accuracy``, one per gamma."""
        return [getattr(measure, name) for measure in self.measures]


def curve(params: LinearModelParams, gammas: tuple[float, ...], *, printed: bool = False) -> Curve:
    """Return the measures for each gamma, by :func:`closed_form` or (``printed``) by :func:`as_printed`."""
    evaluate = as_printed if printed else closed_form
    measures = tuple(evaluate(replace(params, gamma=gamma)) for gamma in gammas)
    return Curve(params.ridge, params.noise, gammas, measures)

r"""The paper's linear model of a rare spurious correlation, in closed form.

**The data.**  A label y is +1 or -1 with probability 1/2 each.  The invariant feature is
x_1 ~ N(y x_inv, sigma_inv), the spurious one x_2 ~ N(z x_sp, sigma_sp), where z is 1 for a share gamma of the
examples with y = +1 and 0 for all others, so a share a = gamma/2 of all examples carries it.  sigma_inv and
sigma_sp are *variances*, so is the input noise s, which adds to both during training.

**The model.**  Ridge regression of y on (x_1, x_2) with an intercept b that is not penalized: it minimizes
E[(y - w·x - b)²] + lambda |w|².  The class is the sign of w·x + b.

**Derivation.**  The intercept centers everything, so w solves (Cov(x) + lambda I) w = Cov(x, y).  With
E[y] = 0, E[z] = a, E[yz] = a:

    Var(x_1) = x_inv² + sigma_inv + s,        Cov(x_1, x_2) = a x_inv x_sp,   Cov(x_1, y) = x_inv,
    Var(x_2) = a(1-a) x_sp² + sigma_sp + s,                                   Cov(x_2, y) = a x_sp.

Write u = sigma_inv + s + lambda and v = sigma_sp + s + lambda.  Cramer's rule gives, with 1 - 2a = 1 - gamma,

    w_1 = x_inv [a(1-gamma) x_sp² + v] / det,      w_2 = a x_sp u / det,
    det = u v + x_inv² v + a(1-a) x_sp² u + a(1-gamma) x_inv² x_sp².

* Score, the rise of the output when the pattern is added: w_2 x_sp = a u x_sp² / det.
* Let T = x_inv² [a(1-gamma) x_sp² + v] / u.  Dividing the output by w_2 / (a x_sp) > 0 leaves its sign alone and
  makes it T y + a x_sp² (z - a) plus Gaussian noise of variance D² = T² sigma_inv / x_inv² + a² x_sp² sigma_sp.
  On clean test examples z = 0, hence

      clean accuracy = Phi((T + a² x_sp²)/D)/2 + Phi((T - a² x_sp²)/D)/2,

  and on examples of the other class (y = -1) with the pattern added z = 1, hence

      spurious accuracy = Phi((T - a(1-a) x_sp²)/D).

The variances in D are those of the *test* inputs: noise that is added in training only does not belong there.

**Where the paper's formulas differ** (:func:`as_printed`): T and the two numerators agree.  D has
a² x_sp⁴ sigma_sp in place of a² x_sp² sigma_sp, and the denominator of the score has the factor x_sp² where
x_inv² belongs, twice.  Both are right for x_inv² = x_sp² = 1, and the score's is right wherever x_inv² = x_sp²;
the paper's figure has x_inv = 1 and x_sp² = 5.  ``docs/theory.md`` says by how much it matters.

**Noise is ridge.**  s and lambda enter w through u and v alone, so input noise of variance s in training is
exactly a ridge penalty of s (Bishop 1995).

**When more regularization raises the score.**  d(score)/d(lambda) has the sign of
x_inv² [v + a(1-gamma) x_sp²] - u² - u x_inv² (:func:`score_slope_sign`): the score rises with lambda where the
spurious feature is noisy and the invariant one is clean, whatever gamma.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from rsc_mlflow.errors import InputError


@dataclass(frozen=True)
class LinearModelParams:
    """The generative model with the strength of regularization; the defaults are those of the paper's figure.

    Raises:
        InputError: gamma outside [0, 1], a variance, ridge or noise below 0 or not finite, or no variance at all.
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
            raise InputError(f"gamma is {self.gamma}; accepted: 0 to 1, the share of the target class with the pattern")
        for name in ("ridge", "noise", "sigma_inv", "sigma_sp"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}; accepted: a finite number of at least 0 (a variance)")
        for name in ("x_inv_squared", "x_sp_squared"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; accepted: a finite number above 0")
        if min(self.sigma_inv, self.sigma_sp) + self.noise + self.ridge <= 0:
            raise InputError("a feature without variance, noise or ridge has no unique fit; give one of them")

    @property
    def a(self) -> float:
        """Share of all training examples that carry the pattern, gamma/2."""
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
    """What the paper's figure shows: rise of the output, and two accuracies (shares)."""

    score: float
    clean_accuracy: float
    spurious_accuracy: float


def closed_form(params: LinearModelParams, *, noise_at_test: bool = False) -> Measures:
    """The three measures of the ridge solution for infinitely many examples, as derived in the module's text.

    ``noise_at_test``: test inputs carry the training noise too (the paper's formulas assume it).
    """
    a, inv, sp = params.a, params.x_inv_squared, params.x_sp_squared
    mixed = a * (1 - params.gamma) * sp
    determinant = params.u * params.v + inv * params.v + a * (1 - a) * sp * params.u + inv * mixed
    t = inv * (mixed + params.v) / params.u
    at_test = params.noise if noise_at_test else 0.0
    d = math.sqrt(t * t * (params.sigma_inv + at_test) / inv + a * a * sp * (params.sigma_sp + at_test))
    return _measures(a * params.u * sp / determinant, t, d, params)


def as_printed(params: LinearModelParams) -> Measures:
    """The paper's formulas as they stand, with x_inv² = 1; noise adds to both variances everywhere.

    Raises:
        InputError: another x_inv², for which the paper gives no formula.
    """
    if params.x_inv_squared != 1:
        raise InputError(f"x_inv_squared is {params.x_inv_squared}; accepted: 1, as in the paper's formulas")
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
    """Probability that a normal variable of this mean and standard deviation is positive (1/2 at 0/0)."""
    if spread == 0:
        return 0.5 if margin == 0 else float(margin > 0)
    return float(ndtr(margin / spread))


def score_slope_sign(params: LinearModelParams) -> int:
    """Sign of d(score)/d(lambda): +1 where a little more ridge *raises* the score, 0 if gamma is 0."""
    if params.gamma == 0:
        return 0
    inv = params.x_inv_squared
    rise = inv * (params.v + params.a * (1 - params.gamma) * params.x_sp_squared) - params.u**2 - params.u * inv
    return int(np.sign(rise))


def reliance_slope_sign(params: LinearModelParams) -> int:
    """Sign of d(w_2 x_sp / w_1 x_inv)/d(lambda): +1 where more ridge makes the model *rely more* on the pattern.

    All weights shrink under ridge; the class depends on their ratio a x_sp² u / (x_inv² [v + a(1-gamma) x_sp²])
    alone, which rises exactly where sigma_sp + a(1-gamma) x_sp² > sigma_inv.
    """
    if params.gamma == 0:
        return 0
    mixed = params.a * (1 - params.gamma) * params.x_sp_squared
    return int(np.sign(params.sigma_sp + mixed - params.sigma_inv))


FIGURE_RIDGES = (0.0, 1.0, 10.0, 100.0)
FIGURE_NOISES = (0.0, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Curve:
    """The three measures against gamma, for one strength of ridge and of noise."""

    ridge: float
    noise: float
    gammas: tuple[float, ...]
    measures: tuple[Measures, ...]

    def column(self, name: str) -> list[float]:
        """One measure along gamma: ``score``, ``clean_accuracy`` or ``spurious_accuracy``."""
        return [getattr(measure, name) for measure in self.measures]


def curve(params: LinearModelParams, gammas: tuple[float, ...], *, printed: bool = False) -> Curve:
    """The measures of ``params`` with gamma running over ``gammas``: derived, or as the paper prints them."""
    evaluate = as_printed if printed else closed_form
    measures = tuple(evaluate(replace(params, gamma=gamma)) for gamma in gammas)
    return Curve(params.ridge, params.noise, gammas, measures)

"""The linear model by simulation: sample the data, fit ridge regression, measure what the formulas predict."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import numpy_generator
from rsc_mlflow.theory.formulas import LinearModelParams, Measures

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SimulationConfig:
    """How a simulation differs from the assumptions of the derivation; the defaults differ in none but n.

    Attributes:
        n_train, n_test: examples drawn; n_test clean ones, and as many of the other class with the pattern.
        intercept: fit one (the derivation does).
        noise_at_test: test inputs carry the training noise too.
        balanced: exactly half of the training labels are +1, as in the limit; drawn at random they leave a mean of
            about 1/sqrt(n), which goes into the intercept and, unlike the weights, is not shrunk by ridge.
        law: ``normal``, or ``uniform`` for features of the same variances that are not Gaussian.
    """

    n_train: int = 200_000
    n_test: int = 200_000
    intercept: bool = True
    noise_at_test: bool = False
    balanced: bool = False
    law: str = "normal"

    def __post_init__(self) -> None:
        if self.n_train < 3 or self.n_test < 1:
            raise InputError(f"n_train {self.n_train}, n_test {self.n_test}; accepted: at least 3 and at least 1")
        if self.law not in ("normal", "uniform"):
            raise InputError(f"law is {self.law!r}; accepted: normal, uniform")


@dataclass(frozen=True, eq=False)
class Sample:
    """Drawn examples: inputs float64[n, 2] (invariant, spurious feature) and labels float64[n] in {-1, +1}."""

    inputs: Array
    labels: Array


def sample_training(params: LinearModelParams, config: SimulationConfig, rng: np.random.Generator) -> Sample:
    """``config.n_train`` training examples, input noise included."""
    n = config.n_train
    labels = rng.permutation(np.arange(n) % 2 * 2.0 - 1) if config.balanced else rng.choice([-1.0, 1.0], size=n)
    carries = (labels > 0) & (rng.random(n) < params.gamma)
    return Sample(_inputs(params, config.law, labels, carries, params.noise, rng), labels)


def _inputs(
    params: LinearModelParams,
    law: str,
    labels: Array,
    carries: npt.NDArray[np.bool_],
    noise: float,
    rng: np.random.Generator,
) -> Array:
    means = np.stack([labels * math.sqrt(params.x_inv_squared), carries * math.sqrt(params.x_sp_squared)], axis=1)
    spread = np.sqrt([params.sigma_inv, params.sigma_sp])
    unit = rng.standard_normal if law == "normal" else lambda shape: rng.uniform(-math.sqrt(3), math.sqrt(3), shape)
    inputs = means + spread * unit(means.shape)
    return inputs + math.sqrt(noise) * rng.standard_normal(means.shape) if noise else inputs


def fit_ridge(sample: Sample, ridge: float, *, intercept: bool = True) -> tuple[Array, float]:
    """Weights float64[d] and intercept that minimize mean((y - x·w - b)²) + ridge |w|²; b is 0 without intercept."""
    x_mean = sample.inputs.mean(axis=0) if intercept else np.zeros(sample.inputs.shape[1])
    y_mean = float(sample.labels.mean()) if intercept else 0.0
    x, y = sample.inputs - x_mean, sample.labels - y_mean
    second = x.T @ x / len(y) + ridge * np.eye(x.shape[1])
    weights = np.asarray(np.linalg.solve(second, x.T @ y / len(y)), dtype=np.float64)
    return weights, float(y_mean - x_mean @ weights)


def simulate(params: LinearModelParams, config: SimulationConfig, seed: int = 0) -> Measures:
    """Draw training data, fit ridge regression, and measure on fresh test data what the formulas predict.

    One call is one training set; call it with several seeds for an interval.

    Raises:
        Cancelled: see :mod:`rsc_mlflow.cancellation`; it is looked at before the simulation.
    """
    cancellation.check()
    rng = numpy_generator(seed, "theory")
    weights, intercept = fit_ridge(sample_training(params, config, rng), params.ridge, intercept=config.intercept)

    def accuracy(labels: Array, carries: npt.NDArray[np.bool_]) -> float:
        noise = params.noise if config.noise_at_test else 0.0
        outputs = _inputs(params, config.law, labels, carries, noise, rng) @ weights + intercept
        return float(((outputs > 0) == (labels > 0)).mean())

    labels = rng.choice([-1.0, 1.0], size=config.n_test)
    nobody, everybody = np.zeros(config.n_test, dtype=bool), np.ones(config.n_test, dtype=bool)
    score = float(weights[1]) * math.sqrt(params.x_sp_squared)
    return Measures(score, accuracy(labels, nobody), accuracy(-np.ones(config.n_test), everybody))

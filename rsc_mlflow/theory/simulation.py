"""Simulation of the linear model: sample data, fit ridge regression, and measure the quantities of the formulas."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsc_mlflow import cancellation
from rsc_mlflow.errors import invalid_value
from rsc_mlflow.rng import numpy_generator
from rsc_mlflow.theory.formulas import LinearModelParams, Measures

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SimulationConfig:
    """Parameters of a simulation.  With the defaults, it differs from the derivation only in the finite sample size.

    Attributes:
        n_train: number of training examples, ≥ 3.
        n_test: number of clean test examples, and of test examples of the other class with the pattern, ≥ 1.
        intercept: whether to fit an intercept, as the derivation does.
        noise_at_test: whether test inputs have the same noise as training inputs.
        balanced: whether exactly half of the training labels are +1.  The mean of random labels is of the order of
            1/√n, which changes the intercept; unlike the weights, the intercept is not shrunk by ridge.
        law: distribution of the features: ``normal``, or ``uniform`` with the same means and variances.

    Raises:
        InputError: a number is too small, or ``law`` is unknown.
    """

    n_train: int = 200_000
    n_test: int = 200_000
    intercept: bool = True
    noise_at_test: bool = False
    balanced: bool = False
    law: str = "normal"

    def __post_init__(self) -> None:
        if self.n_train < 3 or self.n_test < 1:
            raise invalid_value("n_train, n_test", (self.n_train, self.n_test), "integers ≥ 3 and ≥ 1")
        if self.law not in ("normal", "uniform"):
            raise invalid_value("law", self.law, "normal or uniform")


@dataclass(frozen=True, eq=False)
class Sample:
    """Sampled examples: inputs float64 ``[n, 2]`` (invariant, spurious feature), labels float64 ``[n]`` in {-1, +1}."""

    inputs: Array
    labels: Array


def sample_training(params: LinearModelParams, config: SimulationConfig, rng: np.random.Generator) -> Sample:
    """Return ``config.n_train`` training examples, with input noise."""
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
    """Return the weights w, float64 ``[d]``, and the intercept b that minimize mean((y - x·w - b)²) + ridge |w|².

    Without ``intercept``, b is 0.
    """
    x_mean = sample.inputs.mean(axis=0) if intercept else np.zeros(sample.inputs.shape[1])
    y_mean = float(sample.labels.mean()) if intercept else 0.0
    x, y = sample.inputs - x_mean, sample.labels - y_mean
    second = x.T @ x / len(y) + ridge * np.eye(x.shape[1])
    weights = np.asarray(np.linalg.solve(second, x.T @ y / len(y)), dtype=np.float64)
    return weights, float(y_mean - x_mean @ weights)


def simulate(params: LinearModelParams, config: SimulationConfig, seed: int = 0) -> Measures:
    """Sample training data, fit ridge regression and return the three measures on new test data.

    Args:
        params: parameters of the data and of the regularization.
        config: parameters of the simulation.
        seed: seed of the training and test data; use several seeds to compute an interval.

    Raises:
        Cancelled: the process was asked to stop before the simulation; see :mod:`rsc_mlflow.cancellation`.
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

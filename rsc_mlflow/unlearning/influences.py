"""The influence of every training example on a test example (Koh & Liang 2017, equation 2).

``I(z, z_t) = −∇ℓ(z_t)ᵀ (H+λI)⁻¹ ∇ℓ(z)`` is the derivative of the loss at z_t with respect to the weight of z.  To first
order, *removing* z changes that loss by ``−I/n``.  This module returns the change by removal:

    influence_i = (1/n) · ∇ℓ(z_t)ᵀ (H+λI)⁻¹ ∇ℓ(z_i)

If it is positive, the loss at z_t would be higher without z_i: z_i is helpful.  If it is negative, z_i is harmful.  One
solve for z_t and one forward-mode pass over the training set give all n values, without per-example gradients.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.gradients import directional_derivatives, summed_gradient
from rsc_mlflow.unlearning.parameters import FlatModel
from rsc_mlflow.unlearning.solver_options import InfluenceConfig
from rsc_mlflow.unlearning.solvers import relative_residual, solve_damped


@dataclass(frozen=True, eq=False)
class Influences:
    """The influences of n training examples.

    Attributes:
        values: influences in nats, ``[n]``, in the order of the training examples.
        residual: relative residual of the solve; see :func:`rsc_mlflow.unlearning.solvers.relative_residual`.
    """

    values: Tensor
    residual: float


def influences(model: nn.Module, train: Examples, test: Examples, config: InfluenceConfig) -> Influences:
    """Return, to first order, how much the summed loss of ``test`` would rise by the removal of each training example.

    Cost: one solve and about two forward passes over the training set.

    Args:
        model: the trained model; it is not modified.
        train: the training examples as used in training, i.e. with their pattern.
        test: the test examples, e.g. one image with the pattern.
        config: options of the solver and of the curvature.

    Raises:
        InputError: a set is empty, the model diverged, or the solver cannot solve the system.
    """
    if not len(train) or not len(test):
        raise InputError("Influences need at least one training and one test example.")
    flat = FlatModel(model)
    gradient = summed_gradient(flat, test, 0.0, config.examples_at_once)
    curvature, solution = solve_damped(flat, train, gradient, config)
    values = directional_derivatives(flat, train, solution.x, config.weight_decay, config.examples_at_once) / len(train)
    return Influences(values, relative_residual(curvature, solution.x, gradient))


@dataclass(frozen=True)
class Ranking:
    """How high m chosen examples rank among all examples.

    Attributes:
        top_share: share of the m highest values that belong to chosen examples.
        auc: probability that a chosen example has a higher value than one that was not chosen; ties count half.
    """

    top_share: float
    auc: float


def ranking(values: Tensor, positions: Tensor) -> Ranking:
    """Return how high the examples at ``positions`` (int64 ``[m]``, 0 < m < n) rank by ``values`` (``[n]``)."""
    chosen = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    chosen[positions.to(values.device)] = True
    top = values.argsort(descending=True)[: len(positions)]
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse].double()
    m, rest = int(chosen.sum()), int((~chosen).sum())
    auc = (float(ranks[chosen].sum()) - m * (m + 1) / 2) / (m * rest)
    return Ranking(float(chosen[top].double().mean()), auc)

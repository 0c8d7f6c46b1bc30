"""The influence of every training example on a test example (Koh & Liang 2017, equation 2).

``I(z, z_t) = −∇ℓ(z_t)ᵀ (H+λI)⁻¹ ∇ℓ(z)`` is the rate at which the loss at z_t changes when z is weighted
up; *removing* z changes that loss by ``−I/n`` to first order.  Here the sign is that of removal:

    influence_i = (1/n) · ∇ℓ(z_t)ᵀ (H+λI)⁻¹ ∇ℓ(z_i)

positive: without z_i the loss at z_t would be higher, z_i helps; negative: z_i harms.  One solve for z_t and one
forward-mode pass over the training set give all n numbers; no per-example gradient is formed.
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
    """``values`` ``[n]`` in nats, in the order of the training examples, and the residual of the solve."""

    values: Tensor
    residual: float


def influences(model: nn.Module, train: Examples, test: Examples, config: InfluenceConfig) -> Influences:
    """What removing each training example would add to the summed loss of ``test``, to first order.

    Cost: one solve, and two forward passes over the training set.

    Raises:
        InputError: an empty set, a model that diverged, or a solver that cannot solve this system.
    """
    if not len(train) or not len(test):
        raise InputError("influences need training and test examples; accepted: sets of at least one")
    flat = FlatModel(model)
    gradient = summed_gradient(flat, test, 0.0, config.examples_at_once)
    curvature, solution = solve_damped(flat, train, gradient, config)
    values = directional_derivatives(flat, train, solution.x, config.weight_decay, config.examples_at_once) / len(train)
    return Influences(values, relative_residual(curvature, solution.x, gradient))


@dataclass(frozen=True)
class Ranking:
    """Where some examples stand among all: ``top_share`` of the m strongest are theirs; ``auc`` against the rest."""

    top_share: float
    auc: float


def ranking(values: Tensor, positions: Tensor) -> Ranking:
    """Rank by value, highest first.  ``values`` ``[n]``; ``positions`` int64 ``[m]``, 0 < m < n.

    ``auc`` is the probability that one of them stands above one of the rest, ties counted half
    (Mann-Whitney).
    """
    chosen = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    chosen[positions.to(values.device)] = True
    top = values.argsort(descending=True)[: len(positions)]
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse].double()
    m, rest = int(chosen.sum()), int((~chosen).sum())
    auc = (float(ranks[chosen].sum()) - m * (m + 1) / 2) / (m * rest)
    return Ranking(float(chosen[top].double().mean()), auc)

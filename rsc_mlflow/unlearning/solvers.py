"""Three solvers of ``(H + λI) x = u`` for the curvature H of a model's loss: cg, lissa and ekfac.

The solution is linear in ``u``, so one solve is enough for a group of examples: sum their gradients first.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.curvature import Curvature, largest_sampled_curvature
from rsc_mlflow.unlearning.ekfac import EigenKroneckerFactors
from rsc_mlflow.unlearning.parameters import FlatModel
from rsc_mlflow.unlearning.solver_options import InfluenceConfig, SolverConfig


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a solver.

    Attributes:
        x: the solution, ``[P]``.
        iterations: number of iterations.
        record: further metrics of the solver, by name.
        notes: warnings for the user.
    """

    x: Tensor
    iterations: int
    record: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def solve(curvature: Curvature, u: Tensor, config: SolverConfig) -> Solution:
    """Return ``(H + λI)⁻¹ u``, computed by the solver that ``config`` names.

    Raises:
        InputError: cg found negative curvature, lissa diverged, or ekfac does not support the model.
    """
    if config.solver == "lissa":
        return lissa(curvature, u, config)
    if config.solver == "ekfac":
        factors = EigenKroneckerFactors.fit(curvature.model, curvature.examples, curvature.batch_size)
        return Solution(factors.solve(u, curvature.shift), 1)
    return conjugate_gradient(curvature.product, u, config.tolerance, config.max_iterations)


def solve_damped(
    flat: FlatModel, examples: Examples, gradient: Tensor, config: InfluenceConfig
) -> tuple[Curvature, Solution]:
    """Return the curvature over ``config.curvature_examples`` of the examples, and ``(H + λI)⁻¹ gradient``, ``[P]``.

    Raises:
        InputError: the gradient is not finite, or the solver cannot solve the system; see :func:`solve`.
    """
    if not gradient.isfinite().all():
        raise InputError(
            "The gradient of the loss is not finite because the model diverged. Train it with a lower learning rate."
        )
    sample = examples.subset(config.curvature_examples, torch_generator(config.random_seed, "curvature"))
    at_once = config.examples_at_once
    curvature = Curvature(flat, sample, config.curvature, config.damping, config.weight_decay, at_once)
    return curvature, solve(curvature, gradient, config)


def relative_residual(curvature: Curvature, x: Tensor, u: Tensor) -> float:
    """Return ‖(H+λI)x − u‖ / ‖u‖, where H is taken over all examples of the curvature; 0 if u is 0."""
    norm = float(u.norm())
    return float((curvature.product(x) - u).norm()) / norm if norm > 0 else 0.0


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], u: Tensor, tolerance: float, max_iterations: int
) -> Solution:
    """Solve by conjugate gradients (Hestenes & Stiefel 1952), starting from x = 0.

    The iteration stops if the relative residual is at most ``tolerance``, or after ``max_iterations`` with a note in
    the result.  Cost: one product per iteration.  The number of iterations is O(√κ) for the condition number κ, and
    lower if only a few eigenvalues are large, as is common for networks.

    Raises:
        InputError: the matrix is not positive definite: a direction of negative curvature was found.
    """
    x, r, p = torch.zeros_like(u), u.clone(), u.clone()
    rr, target = float(r @ r), tolerance * float(u.norm())
    iterations = 0
    while math.sqrt(rr) > target and iterations < max_iterations:
        cancellation.check()
        ap = product(p)
        curved = float(p @ ap)
        if not curved > 0:
            raise InputError(
                f"cg found curvature {curved / float(p @ p):.3g} at iteration {iterations + 1}: the damped Hessian is "
                "not positive definite. Use the curvature ggn or a larger damping."
            )
        x.add_(p, alpha=rr / curved)
        r.sub_(ap, alpha=rr / curved)
        rr, previous = float(r @ r), rr
        p.mul_(rr / previous).add_(r)
        iterations += 1
    if math.sqrt(rr) <= target:
        return Solution(x, iterations)
    residual = math.sqrt(rr) / float(u.norm())
    note = f"cg stopped after {iterations} iterations with relative residual {residual:.2g} > {tolerance:g}."
    return Solution(x, iterations, notes=(note,))


def lissa(curvature: Curvature, u: Tensor, config: SolverConfig) -> Solution:
    """Solve by the stochastic recursion of Agarwal et al. 2017, as used by Koh & Liang 2017.

    The recursion is ``v ← u + v − (H_B + λI) v / scale``, starting from ``v = u``, where H_B is the curvature over a
    mini-batch that is drawn with replacement at each step.  Its fixed point in expectation is ``scale · (H + λI)⁻¹ u``.
    The result is the mean of ``v / scale`` over ``repeats`` recursions.  Cost: ``recursion_depth`` × ``repeats``
    products over ``batch_size`` examples.

    The bias decreases as (1 − (λ_min + λ)/scale)^depth, where λ_min is the smallest eigenvalue of H, so the required
    depth grows with scale / λ.

    Raises:
        InputError: the recursion diverged.
    """
    generator = torch_generator(config.random_seed, "lissa")
    n = len(curvature.examples)
    size = min(config.batch_size, n)
    scale = config.scale
    if scale == 0:
        scale = 1.5 * largest_sampled_curvature(curvature, size, generator)
    v = u.expand(config.repeats, -1).clone()
    limit = _largest_convergent_norm(u, curvature.shift, scale)
    for step in range(1, config.recursion_depth + 1):
        cancellation.check()
        positions = torch.randint(n, (config.repeats, size), generator=generator)
        v = v.sub_(curvature.sampled_product(v, positions), alpha=1 / scale).add_(u)
        if step % 10 == 0 or step == config.recursion_depth:
            _check_convergent(v, limit, step, scale, curvature, config)
    x = v / scale
    record = {"lissa_scale": scale}
    if config.repeats > 1:
        record["lissa_spread"] = _relative_spread(x)
    return Solution(x.mean(0), config.recursion_depth, record)


def _largest_convergent_norm(u: Tensor, shift: float, scale: float) -> float:
    """Return twice the bound scale · ‖u‖ / λ on ‖v‖ in a convergent recursion with positive semi-definite curvature.

    λ is the shift.  Without a shift, 1e8 replaces scale / λ.
    """
    return 2 * float(u.norm()) * (scale / shift if shift > 0 else 1e8)


def _check_convergent(
    v: Tensor, limit: float, step: int, scale: float, curvature: Curvature, config: SolverConfig
) -> None:
    largest = float(v.norm(dim=1).max())
    if math.isfinite(largest) and largest <= max(limit, torch.finfo(v.dtype).tiny):
        return
    generator = torch_generator(config.random_seed, "lissa-divergence")
    found = largest_sampled_curvature(curvature, min(config.batch_size, len(curvature.examples)), generator)
    raise InputError(
        f"lissa diverged at step {step} of {config.recursion_depth} with scale={scale:g}: the norm is {largest:.3g}, "
        f"but a convergent recursion stays below {limit:.3g}. The curvature of mini-batches is up to {found:.3g}. "
        f"Use scale ≥ {1.5 * found:.3g} (0: automatic), the curvature ggn or a larger damping."
    )


def _relative_spread(x: Tensor) -> float:
    """Return the standard error of the mean over at least two repeats, relative to the norm of the mean."""
    mean = x.mean(0)
    error = float(((x - mean).square().sum() / (len(x) - 1) / len(x)).sqrt())
    norm = float(mean.norm())
    return error / norm if norm > 0 else 0.0

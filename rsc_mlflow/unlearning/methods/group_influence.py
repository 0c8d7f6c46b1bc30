"""Group influence: a first-order estimate of how the parameters change if a group of examples is removed.

Koh & Liang 2017; Basu et al. 2020 ("On second-order group influence functions", its first-order term).

Derivation.  Training minimizes ``(1/n) Σ_i ℓ(z_i, θ)``, so at a minimum ``Σ_retain ∇ℓ = −Σ_forget ∇ℓ``.  Without the m
forgotten examples the objective is ``L_r(θ) = (1/(n−m)) Σ_retain ℓ``.  Its gradient at θ is
``−(1/(n−m)) Σ_forget ∇ℓ``, and its Hessian ``H`` is the mean over the *retain* set.  One Newton step gives

    θ' = θ − H⁻¹ ∇L_r(θ) = θ + (1/(n−m)) · H⁻¹ Σ_forget ∇ℓ(θ)

The sign is positive: removing an example increases its loss.  The step is exact for a quadratic loss.  Koh & Liang use
``H`` over all n examples.  The two steps differ by O(m/n) in directions that both sets cover, but ``H`` over all
examples underestimates the step in directions in which only the forgotten examples curve the loss.  This is the case
for a rare pattern, so the retain set is used.  The solve uses ``H + λI``.

Limitations.  If the model is saturated, ∇ℓ vanishes at the forgotten examples and the step has no effect, even if the
solve is exact.  If λ is small, the step can leave the region where the quadratic approximation holds.  In both cases
the result has a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rsc_mlflow.fields import boolean, option
from rsc_mlflow.unlearning.base import Examples, Observe, SourceTraining, Unlearned, check_sets, register_method
from rsc_mlflow.unlearning.solver_options import InfluenceConfig

if TYPE_CHECKING:
    from torch import nn

NO_EFFECT = 0.01
"""Predicted increase of the mean forget loss (nats) below which an update counts as having no effect."""

TOO_FAR = 2.0
"""Predicted increase of the mean forget loss (nats) above which an update counts as too large for the approximation."""


@dataclass(frozen=True, kw_only=True)
class GroupInfluenceConfig(InfluenceConfig):
    """Options of group influence."""

    NEEDS_GRADIENT: ClassVar[bool] = True

    influences: bool = option(
        "true: also rank all training examples by their influence on two test examples with the pattern.",
        boolean(),
        True,
        decides=False,
    )

    def offset(self, source: SourceTraining) -> int:
        """Return the source model's epochs minus 1, because the update, epoch 1 of the method, adds no epoch."""
        return source.epoch - 1


@register_method(
    title="group influence",
    config=GroupInfluenceConfig,
    records=(
        *("gradient_norm", "residual", "step_norm", "predicted_rise", "iterations"),
        *("lissa_scale", "lissa_spread"),
    ),
)
def group_influence(
    model: nn.Module, forget: Examples, retain: Examples, config: GroupInfluenceConfig, observe: Observe | None = None
) -> Unlearned:
    """Remove the influence of the spurious examples by a single update, a damped Newton step (group influence).

    θ' = θ + (1/(n−m))·(H+λI)⁻¹ Σ_forget ∇ℓ(θ), with fixed batch-norm statistics.

    Metrics of the update: ``gradient_norm`` ‖Σ_forget ∇ℓ‖; ``residual`` ‖(H+λI)x − Σ_forget ∇ℓ‖/‖Σ_forget ∇ℓ‖;
    ``step_norm`` ‖θ' − θ‖; ``predicted_rise``, the predicted increase of the mean forget loss in nats; ``iterations``
    and further metrics of the solver.  Cost: a backward pass over the forget set, the solve, and one product for the
    residual.

    Raises:
        InputError: a set is empty, the model diverged, or the solver cannot solve the system.
    """
    from rsc_mlflow.unlearning.gradients import summed_gradient
    from rsc_mlflow.unlearning.parameters import FlatModel
    from rsc_mlflow.unlearning.solvers import relative_residual, solve_damped

    check_sets(forget, retain)
    flat = FlatModel(model)
    gradient = summed_gradient(flat, forget, config.weight_decay, config.examples_at_once)
    curvature, solution = solve_damped(flat, retain, gradient, config)
    step = solution.x / len(retain)
    record = {
        "gradient_norm": float(gradient.norm()),
        "residual": relative_residual(curvature, solution.x, gradient),
        "step_norm": float(step.norm()),
        "predicted_rise": float(gradient @ step) / len(forget),
        "iterations": float(solution.iterations),
        **solution.record,
    }
    moved = flat.moved(step)
    if observe is not None:
        observe(1, moved, {})
    return Unlearned(moved, record, solution.notes + _notes(model, forget, record))


def _notes(model: nn.Module, forget: Examples, record: dict[str, float]) -> tuple[str, ...]:
    if record["predicted_rise"] > TOO_FAR:
        return (
            f"The update may be too large: it changes the parameters by {record['step_norm']:.2g} (norm) and is "
            f"predicted to increase the mean forget loss by {record['predicted_rise']:.2g} nats, so the quadratic "
            "approximation may not hold. Compare the test accuracy. Use a larger damping, or a model trained closer to "
            "a minimum.",
        )
    if record["predicted_rise"] >= NO_EFFECT:
        return ()
    from rsc_mlflow.unlearning.gradients import loss_and_accuracy
    from rsc_mlflow.unlearning.saturation import WHAT_ACTS

    loss, accuracy = loss_and_accuracy(model, forget)
    return (
        f"The update has almost no effect because the model is saturated on the {len(forget)} forgotten examples "
        f"(mean loss {loss:.2g}, accuracy {accuracy:.3g}): their summed gradient has norm "
        f"{record['gradient_norm']:.2g}, so the parameters change by {record['step_norm']:.2g} (norm), and the mean "
        f"forget loss is predicted to increase by only {record['predicted_rise']:.2g} nats. Use {WHAT_ACTS}.",
    )

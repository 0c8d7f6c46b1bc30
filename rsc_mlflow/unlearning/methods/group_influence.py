"""First-order group influence: what removing a group of examples would do to the parameters, applied.

Koh & Liang 2017; Basu et al. 2020 ("On second-order group influence functions", its first-order term).

Derivation.  Training minimizes ``(1/n) Σ_i ℓ(z_i, θ)``, so at a minimum ``Σ_retain ∇ℓ = −Σ_forget ∇ℓ``.
Without the m forgotten examples the objective is ``L_r(θ) = (1/(n−m)) Σ_retain ℓ``, with gradient
``−(1/(n−m)) Σ_forget ∇ℓ`` and Hessian ``H`` (the mean over the *retain* set) at θ.  One Newton step on it:

    θ' = θ − H⁻¹ ∇L_r(θ) = θ + (1/(n−m)) · H⁻¹ Σ_forget ∇ℓ(θ)

The sign is plus: removing an example moves the parameters *up* its loss.  For a quadratic loss the step is
exact.  With ``H`` over all n examples, as in Koh & Liang, the step differs by O(m/n) in directions that
both sets cover, but underestimates where the forgotten examples alone curve the loss, which is just
what a rare pattern does; hence the retain set.  The solve uses ``H + λI``.

What can go wrong: on a saturated model ∇ℓ vanishes at the forgotten examples, the step with it, and
influence *cannot* act, however exact the solve.  And with a small λ the step can leave the region where the
quadratic model holds.  The record and the notes say so.
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
"""Predicted mean rise of the forget loss (nats) below which an update is called without effect."""

TOO_FAR = 2.0
"""Predicted mean rise (nats) above which the step has left the region of the quadratic model."""


@dataclass(frozen=True, kw_only=True)
class GroupInfluenceConfig(InfluenceConfig):
    """Options of group influence."""

    NEEDS_GRADIENT: ClassVar[bool] = True

    influences: bool = option(
        "Also rank all training examples by their influence on a test example with the pattern.",
        boolean(),
        True,
        decides=False,
    )

    def offset(self, source: SourceTraining) -> int:
        """The update adds no epoch of training."""
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
    """Remove the spurious examples' influence by one first-order step: (1/(n-m)) (H + damping I)^-1 gradient.

    θ' = θ + (1/(n−m))·(H+λI)⁻¹ Σ_forget ∇ℓ(θ), with batch-norm statistics fixed.

    Record: ``gradient_norm`` ‖Σ_forget ∇ℓ‖, ``residual`` ‖(H+λI)x − Σ∇ℓ‖/‖Σ∇ℓ‖, ``step_norm`` ‖θ' − θ‖,
    ``predicted_rise`` of the mean forget loss to first order (nats), ``iterations`` and the solver's own.
    Cost: a backward pass over the forget set, the solve, and one product for the residual.

    Raises:
        InputError: an empty set, a model that diverged, or a solver that cannot solve this system; see ``solve``.
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
        observe(1, moved, {})  # the record is logged with the result
    return Unlearned(moved, record, solution.notes + _notes(model, forget, record))


def _notes(model: nn.Module, forget: Examples, record: dict[str, float]) -> tuple[str, ...]:
    if record["predicted_rise"] > TOO_FAR:
        return (
            f"the update may have gone too far: it moves the parameters by {record['step_norm']:.2g} and should "
            f"raise the mean forget loss by {record['predicted_rise']:.2g} nats, where the quadratic model that it "
            "rests on no longer holds; compare the test accuracy, and use a larger damping or a model that was "
            "trained nearer to a minimum",
        )
    if record["predicted_rise"] >= NO_EFFECT:
        return ()
    from rsc_mlflow.unlearning.gradients import loss_and_accuracy
    from rsc_mlflow.unlearning.saturation import WHAT_ACTS

    loss, accuracy = loss_and_accuracy(model, forget)
    return (
        f"influence cannot act here: the summed gradient of the {len(forget)} examples to forget has norm "
        f"{record['gradient_norm']:.2g} (their mean loss is {loss:.2g}, accuracy {accuracy:.3g}), so the update moves "
        f"the parameters by {record['step_norm']:.2g} and is predicted to raise that loss by only "
        f"{record['predicted_rise']:.2g} nats; what acts: {WHAT_ACTS}",
    )

"""First-order group influence: what removing a group of examples would do to the parameters, applied.

Koh & Liang 2017; Basu et al. 2020 ("On second-order group influence functions", its first-order term).

Derivation.  Training minimises ``(1/n) Σ_i ℓ(z_i, θ)``, so at a minimum ``Σ_retain ∇ℓ = −Σ_forget ∇ℓ``.
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

from dataclasses import dataclass, field

from torch import Tensor, nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.unlearning.base import Examples, Observe, Unlearned, check_range, check_sets
from rsc_mlflow.unlearning.choices import KINDS, Kind
from rsc_mlflow.unlearning.curvature import Curvature
from rsc_mlflow.unlearning.gradients import loss_and_accuracy, summed_gradient
from rsc_mlflow.unlearning.parameters import FlatModel
from rsc_mlflow.unlearning.solvers import Solution, SolverConfig, relative_residual, solve

NO_EFFECT = 0.01
"""Predicted mean rise of the forget loss (nats) below which an update is called without effect."""

TOO_FAR = 2.0
"""Predicted mean rise (nats) above which the step has left the region of the quadratic model."""


@dataclass(frozen=True)
class GroupInfluenceConfig:
    """Options of group influence.

    ``curvature``: ``ggn`` or ``hessian``; ``damping``: λ, above 0 because networks have flat directions;
    ``weight_decay``: that of the training recipe; ``curvature_examples``: how many of the retain set
    estimate the curvature (0: all); ``batch_size``: examples at a time, which bounds memory.
    """

    solver: SolverConfig = field(default_factory=SolverConfig)
    curvature: Kind = "ggn"
    damping: float = 0.002
    weight_decay: float = 0.0
    curvature_examples: int = 4000
    batch_size: int = 2048

    def __post_init__(self) -> None:
        if self.curvature not in KINDS:
            raise InputError(f"unknown curvature {self.curvature!r}; accepted: {', '.join(KINDS)}")
        check_range("damping", self.damping, 0, open_low=True)
        check_range("weight_decay", self.weight_decay, 0)
        check_range("curvature_examples", self.curvature_examples, 0)
        check_range("batch_size", self.batch_size, 1)


def group_influence(
    model: nn.Module, forget: Examples, retain: Examples, config: GroupInfluenceConfig, observe: Observe | None = None
) -> Unlearned:
    """One step θ' = θ + (1/(n−m))·(H+λI)⁻¹ Σ_forget ∇ℓ(θ), with batch-norm statistics fixed.

    Record: ``gradient_norm`` ‖Σ_forget ∇ℓ‖, ``residual`` ‖(H+λI)x − Σ∇ℓ‖/‖Σ∇ℓ‖, ``step_norm`` ‖θ' − θ‖,
    ``predicted_rise`` of the mean forget loss to first order (nats), ``iterations`` and the solver's own.
    Cost: a backward pass over the forget set, the solve, and one product for the residual.

    Raises:
        InputError: an empty set, a model that diverged, or a solver that cannot solve this system; see ``solve``.
    """
    check_sets(forget, retain)
    flat = FlatModel(model)
    gradient = summed_gradient(flat, forget, config.weight_decay, config.batch_size)
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
        observe(1, moved, record)
    return Unlearned(moved, record, solution.notes + _notes(model, forget, record))


def solve_damped(
    flat: FlatModel, examples: Examples, gradient: Tensor, config: GroupInfluenceConfig
) -> tuple[Curvature, Solution]:
    """``(H + λI)⁻¹ gradient`` with the curvature over ``config.curvature_examples`` of the examples; ``[P]`` both.

    Raises:
        InputError: the gradient is not finite, or the solver cannot solve this system; see ``solve``.
    """
    if not gradient.isfinite().all():
        raise InputError("the loss has no finite gradient: the model diverged; train it with a lower learning rate")
    sample = examples.subset(config.curvature_examples, torch_generator(config.solver.random_seed, "curvature"))
    curvature = Curvature(flat, sample, config.curvature, config.damping, config.weight_decay, config.batch_size)
    return curvature, solve(curvature, gradient, config.solver)


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
    loss, accuracy = loss_and_accuracy(model, forget)
    return (
        f"influence cannot act here: the summed gradient of the {len(forget)} examples to forget has norm "
        f"{record['gradient_norm']:.2g} (their mean loss is {loss:.2g}, accuracy {accuracy:.3g}), so the update moves "
        f"the parameters by {record['step_norm']:.2g} and is predicted to raise that loss by only "
        f"{record['predicted_rise']:.2g} nats; the model is saturated on them: use relabel_finetuning, "
        "gradient_difference or exact_retraining, or a model trained for fewer epochs",
    )

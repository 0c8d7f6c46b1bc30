"""Options of the solvers and of the curvature, shared by group influence and the influences of single examples."""

from dataclasses import dataclass
from typing import ClassVar

from rsc_mlflow.fields import choice, integer, number, option
from rsc_mlflow.unlearning.base import MethodConfig, of_source
from rsc_mlflow.unlearning.choices import KINDS, SOLVERS, Kind, SolverName

_CG, _LISSA = ("solver", "cg"), ("solver", "lissa")


@dataclass(frozen=True, kw_only=True)
class SolverConfig(MethodConfig):
    """Options of the solvers.

    The solver cg stops if the relative residual ‖(H+λI)x − u‖/‖u‖ is at most ``tolerance``, or after
    ``max_iterations``.  The solver lissa runs ``repeats`` independent recursions of ``recursion_depth`` steps on
    mini-batches of ``batch_size`` examples, with the curvature divided by ``scale`` (0: 1.5 times the largest
    eigenvalue on a few mini-batches), and averages their results.  The solver ekfac has no options.
    """

    solver: SolverName = option("Solver of (H + damping I) x = gradient: cg, lissa or ekfac.", choice(*SOLVERS), "cg")
    tolerance: float = option(
        "cg: relative residual at which to stop.", number(0, above=True, below=1), 1e-3, only_if=_CG
    )
    max_iterations: int = option("cg: maximum number of iterations.", integer(1), 200, only_if=_CG)
    recursion_depth: int = option("lissa: number of steps of the recursion.", integer(1), 1000, only_if=_LISSA)
    repeats: int = option("lissa: number of independent recursions to average.", integer(1), 1, only_if=_LISSA)
    scale: float = option(
        "lissa: divisor of H; 0: 1.5 times its largest eigenvalue on mini-batches.", number(0), 0.0, only_if=_LISSA
    )
    batch_size: int = option("lissa: examples per step.", integer(1), 128, only_if=_LISSA)
    random_seed: int = of_source(lambda source: source.training.random_seed, 0)


@dataclass(frozen=True, kw_only=True)
class InfluenceConfig(SolverConfig):
    """Options of influences: those of the solver and of the curvature.

    ``damping`` is λ, which must be > 0 because networks have flat directions.  ``curvature_examples`` is the number of
    random examples over which the curvature is computed (0: all).  ``weight_decay`` is that of the source model's
    training.  ``examples_at_once``, the number of examples in memory at a time, is not an option.
    """

    LOSSES: ClassVar[tuple[str, ...]] = ("ce",)

    curvature: Kind = option("Curvature H: ggn (Gauss-Newton) or hessian.", choice(*KINDS), "ggn")
    damping: float = option("Multiple of the identity added to H.", number(0, above=True), 0.002)
    curvature_examples: int = option("Retained examples from which H is estimated; 0: all.", integer(0), 4000)
    weight_decay: float = of_source(lambda source: source.training.weight_decay, 0.0)
    examples_at_once: int = 2048

"""The options of the solvers and of the curvature, which group influence and single influences share."""

from dataclasses import dataclass
from typing import ClassVar

from rsc_mlflow.fields import choice, integer, number, option
from rsc_mlflow.unlearning.base import MethodConfig, of_source
from rsc_mlflow.unlearning.choices import KINDS, SOLVERS, Kind, SolverName

_CG, _LISSA = ("solver", "cg"), ("solver", "lissa")


@dataclass(frozen=True, kw_only=True)
class SolverConfig(MethodConfig):
    """Options of the solvers; each reads its own.

    cg: ``tolerance`` on the relative residual ‖(H+λI)x − u‖/‖u‖, and ``max_iterations``.
    lissa: ``recursion_depth`` steps, averaged over ``repeats`` independent recursions, each on mini-batches
    of ``batch_size``, with the curvature divided by ``scale`` (0: 1.5 times the largest eigenvalue seen on a
    few mini-batches).
    ekfac has none.
    """

    solver: SolverName = option(
        "How to solve (H + damping I) x = gradient: cg, lissa or ekfac.", choice(*SOLVERS), "cg"
    )
    tolerance: float = option("cg: relative residual to reach.", number(0, above=True, below=1), 1e-3, only_if=_CG)
    max_iterations: int = option("cg: most iterations.", integer(1), 200, only_if=_CG)
    recursion_depth: int = option("lissa: steps of the recursion.", integer(1), 1000, only_if=_LISSA)
    repeats: int = option("lissa: independent recursions that are averaged.", integer(1), 1, only_if=_LISSA)
    scale: float = option(
        "lissa: divisor of H; 0: 1.5 times its largest eigenvalue on mini-batches.", number(0), 0.0, only_if=_LISSA
    )
    batch_size: int = option("lissa: examples a step.", integer(1), 128, only_if=_LISSA)
    random_seed: int = of_source(lambda source: source.training.random_seed, 0)


@dataclass(frozen=True, kw_only=True)
class InfluenceConfig(SolverConfig):
    """Options of an influence: those of the solver and of the curvature.

    ``damping``: λ, above 0 because networks have flat directions; ``curvature_examples``: how many of the examples
    estimate the curvature (0: all); ``weight_decay``: that of the training recipe; ``examples_at_once`` bounds memory.
    """

    LOSSES: ClassVar[tuple[str, ...]] = ("ce",)

    curvature: Kind = option("H: ggn (Gauss-Newton) or hessian.", choice(*KINDS), "ggn")
    damping: float = option("Multiple of the identity added to H.", number(0, above=True), 0.002)
    curvature_examples: int = option("Kept examples that H is the mean over; 0: all of them.", integer(0), 4000)
    weight_decay: float = of_source(lambda source: source.training.weight_decay, 0.0)
    examples_at_once: int = 2048

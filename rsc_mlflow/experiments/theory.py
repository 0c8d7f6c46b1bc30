"""The paper's linear model as a tracked run: closed-form curves, a simulation, and their differences."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rsc_mlflow.experiments.inspection_figures import theory_png
from rsc_mlflow.experiments.theory_options import TheoryOptions
from rsc_mlflow.messages import answer
from rsc_mlflow.theory import Curve, LinearModelParams, SimulationConfig, curve
from rsc_mlflow.theory.agreement import (
    MEASURES,
    Agreement,
    assumptions,
    compare,
    detail_table,
    grid_table,
    inside,
    over_grid,
    worst,
)
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.run import open_run

_logger = logging.getLogger(__name__)

TABLES = "theory.md"
SWAPPED_RIDGES = (0.001, 0.1, 0.3, 0.7, 3.0, 30.0)


@dataclass(frozen=True, eq=False)
class TheoryResult:
    """Curves and simulations of the linear model.

    Attributes:
        curves: curves as derived.
        printed: curves according to the paper's formulas.
        grid: comparisons with simulations for all parameters.
        broken: comparisons for one set of parameters with assumptions violated.
        swapped: comparisons with the variances of both features exchanged, for increasing ridge penalties.  The score
            first increases and then decreases.
    """

    curves: tuple[Curve, ...]
    printed: tuple[Curve, ...]
    grid: tuple[Agreement, ...]
    broken: tuple[Agreement, ...]
    swapped: tuple[Agreement, ...]

    def metrics(self) -> dict[str, float]:
        """Return for each formula the largest difference from the simulation, and the share of values in intervals."""
        found: dict[str, float] = {}
        for name, printed in (("derived", False), ("printed", True)):
            far = worst(self.grid, printed=printed)
            found |= {f"{schema.THEORY_PREFIX}{name}_error_{measure}": getattr(far, measure) for measure in MEASURES}
            found[f"{schema.THEORY_PREFIX}{name}_inside"] = inside(self.grid, printed=printed) / (3 * len(self.grid))
        return found

    def tables(self) -> str:
        """Return the tables that the command prints, which are also in ``docs/theory.md``."""
        unregularized = [a for a in self.grid if (a.params.ridge, a.params.noise) in _corners(self.grid)]
        held = [inside(self.grid, printed=printed) for printed in (False, True)]
        return "\n\n".join(
            [
                "Largest difference between formula and simulation over γ:",
                grid_table(self.grid),
                f"Of {3 * len(self.grid)} values, {held[0]} as derived and {held[1]} as printed are within the "
                "simulation's 99 % intervals.",
                "Single points (± half of the 99 % interval over training sets), for the smallest and largest λ:",
                detail_table(unregularized),
                "With one assumption violated at a time:",
                detail_table(self.broken),
                "With the variances of the two features exchanged, more regularization increases the score:",
                detail_table(self.swapped),
            ]
        )

    def record(self) -> dict[str, Any]:
        """Return the content of ``theory.json``."""
        return {
            "curves": [_curve_record(one) for one in self.curves],
            "printed": [_curve_record(one) for one in self.printed],
            "simulation": [one.as_record() for one in (*self.grid, *self.broken, *self.swapped)],
            "measures": list(MEASURES),
        }


def _corners(grid: Sequence[Agreement]) -> set[tuple[float, float]]:
    """Return the smallest and largest ridge penalty, each with the smallest and largest noise."""
    ridges, noises = ({getattr(a.params, name) for a in grid} for name in ("ridge", "noise"))
    return {(ridge, noise) for ridge in (min(ridges), max(ridges)) for noise in (min(noises), max(noises))}


def _curve_record(one: Curve) -> dict[str, Any]:
    columns = {name: one.column(name) for name in MEASURES}
    return {"lambda": one.ridge, "noise": one.noise, "gamma": list(one.gammas)} | columns


def calculate(options: TheoryOptions) -> TheoryResult:
    """Evaluate the formulas and run the simulations."""
    gammas = tuple(k / (options.gamma_steps - 1) for k in range(options.gamma_steps))
    settings = options.settings()
    curves = tuple(curve(params, gammas) for params in settings)
    printed = tuple(curve(params, gammas, printed=True) for params in settings)
    config = SimulationConfig(options.n_train, options.n_test)
    seeds = range(options.random_seed, options.random_seed + options.seeds)
    simulated = options.simulated_gammas()
    points = [replace(params, gamma=gamma) for params in settings for gamma in simulated]
    tenth = max(1, len(points) // 10)

    def done(count: int) -> None:
        if count % tenth == 0 or count == len(points):
            _logger.info("theory: %d/%d points simulated", count, len(points))

    grid = over_grid(points, config, seeds, done)
    broken = assumptions(options.params(simulated[len(simulated) // 2]), config, seeds)
    swapped = [compare(params, config, seeds, "variances exchanged") for params in _swapped(options)]
    return TheoryResult(curves, printed, tuple(grid), tuple(broken), tuple(swapped))


def _swapped(options: TheoryOptions) -> list[LinearModelParams]:
    other = LinearModelParams(
        0.1, sigma_inv=options.sigma_sp, sigma_sp=options.sigma_inv, x_sp_squared=options.x_sp_squared
    )
    return [replace(other, ridge=ridge) for ridge in SWAPPED_RIDGES]


def run_theory(options: TheoryOptions) -> TheoryResult:
    """Compute the theory in a tracked run, log curves, tables and the figure, and print the tables."""
    identity = {"kind": "score", "method": "theory"} | options.as_params()
    tags = {schema.FINGERPRINT: fingerprint(identity)}
    with open_run(kind="score", method="theory", name="theory", params=options.as_params(), tags=tags) as run:
        result = calculate(options)
        run.metrics(result.metrics(), 0)
        run.log_json(result.record(), schema.THEORY)
        run.log_text(result.tables(), TABLES)
        picture = theory_png(result.curves, result.printed, result.grid, options.noise_levels())
        run.log_bytes(picture, f"{schema.FIGURES}/theory.png")
    answer(result.tables())
    return result

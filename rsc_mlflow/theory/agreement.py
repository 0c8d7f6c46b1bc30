"""Comparison of the linear model's formulas with simulations, including some that violate an assumption."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsc_mlflow.errors import InputError
from rsc_mlflow.statistics import Interval, t_interval
from rsc_mlflow.theory.formulas import LinearModelParams, Measures, as_printed, closed_form
from rsc_mlflow.theory.simulation import SimulationConfig, simulate

MEASURES = ("score", "clean_accuracy", "spurious_accuracy")
LEVEL = 0.99
"""Confidence level of the simulation's intervals."""


@dataclass(frozen=True)
class Agreement:
    """Simulated and predicted measures for one set of parameters.

    Attributes:
        label: description of the case.
        params: parameters of the model.
        config: parameters of the simulation.
        measured: for each of :data:`MEASURES`, the simulated mean and its interval over seeds (training sets).
        derived: values of :func:`~rsc_mlflow.theory.formulas.closed_form`, with test noise as in the simulation.
        printed: values of the paper's formulas, :func:`~rsc_mlflow.theory.formulas.as_printed`.
    """

    label: str
    params: LinearModelParams
    config: SimulationConfig
    measured: tuple[Interval, Interval, Interval]
    derived: Measures
    printed: Measures

    def differences(self, formula: Measures) -> tuple[float, ...]:
        """Return formula minus simulation for each of :data:`MEASURES`."""
        return tuple(
            getattr(formula, name) - found.estimate for name, found in zip(MEASURES, self.measured, strict=True)
        )

    def as_record(self) -> dict[str, object]:
        """Return a table row by column: case, parameters, simulated values with intervals, values of both formulas."""
        row: dict[str, object] = {"case": self.label, "gamma": self.params.gamma, "lambda": self.params.ridge}
        row |= {"noise": self.params.noise, "n_train": self.config.n_train, "seeds": self.measured[0].n}
        for name, found in zip(MEASURES, self.measured, strict=True):
            row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
            row |= {f"{name}_derived": getattr(self.derived, name), f"{name}_printed": getattr(self.printed, name)}
        return row


def compare(
    params: LinearModelParams, config: SimulationConfig, seeds: Sequence[int], label: str = "as derived"
) -> Agreement:
    """Simulate one set of parameters once per seed and return the results together with the values of both formulas.

    Args:
        params: parameters of the data and of the regularization.
        config: parameters of the simulation.
        seeds: seeds of the simulations, at least two.
        label: description of the case.

    Raises:
        InputError: there are fewer than two seeds, or ``params.x_inv_squared`` is not 1 as in the paper's formulas.
    """
    if len(seeds) < 2:
        raise InputError(f"Got {len(seeds)} seeds. Expected at least 2, to compute an interval.")
    runs = [simulate(params, config, seed) for seed in seeds]
    first, second, third = (t_interval([getattr(run, name) for run in runs], LEVEL) for name in MEASURES)
    derived = closed_form(params, noise_at_test=config.noise_at_test)
    return Agreement(label, params, config, (first, second, third), derived, as_printed(params))


def over_grid(
    settings: Sequence[LinearModelParams],
    config: SimulationConfig,
    seeds: Sequence[int],
    done: Callable[[int], None] = lambda _: None,
) -> list[Agreement]:
    """Return :func:`compare` for every set of parameters.  ``done`` is called with the number finished so far."""
    found: list[Agreement] = []
    for params in settings:
        found.append(compare(params, config, seeds))
        done(len(found))
    return found


def assumptions(params: LinearModelParams, config: SimulationConfig, seeds: Sequence[int]) -> list[Agreement]:
    """Return comparisons for one set of parameters: the first as derived, the others with changed assumptions.

    The cases with noise use the noise of ``params``, or 0.3 if it is 0.  The cases with strong ridge use lambda = 100.
    """
    noisy = replace(params, noise=params.noise or 0.3)
    few, strong = max(3, min(1000, config.n_train // 10)), replace(params, ridge=100.0)
    cases = [
        ("all assumptions hold", params, config),
        ("no intercept", params, replace(config, intercept=False)),
        ("features uniform, not Gaussian", params, replace(config, law="uniform")),
        (f"{few} training examples", params, replace(config, n_train=few)),
        ("noise in training only", noisy, config),
        ("noise in training and at test", noisy, replace(config, noise_at_test=True)),
        ("strong ridge, labels drawn at random", strong, config),
        ("strong ridge, labels exactly balanced", strong, replace(config, balanced=True)),
        (f"the same, {few} training examples", strong, replace(config, balanced=True, n_train=few)),
        (f"{few} examples, labels drawn at random", strong, replace(config, n_train=few)),
    ]
    return [compare(one, plan, seeds, label) for label, one, plan in cases]


def worst(agreements: Sequence[Agreement], *, printed: bool) -> Measures:
    """Return, for each measure, the largest absolute difference between a formula and the simulated means."""
    differences = np.array([a.differences(a.printed if printed else a.derived) for a in agreements])
    first, second, third = (float(value) for value in np.abs(differences).max(axis=0))
    return Measures(first, second, third)


def inside(agreements: Sequence[Agreement], *, printed: bool) -> int:
    """Return how many of a formula's values, three per comparison, are within the simulation's 99 % intervals."""
    count = 0
    for agreement in agreements:
        formula = agreement.printed if printed else agreement.derived
        for name, found in zip(MEASURES, agreement.measured, strict=True):
            count += found.low <= getattr(formula, name) <= found.high
    return count


def grid_table(agreements: Sequence[Agreement]) -> str:
    """Return a Markdown table with one row per lambda and noise: the largest error of each formula over gamma."""
    lines = [
        "| λ | noise | score: derived | score: printed | clean acc.: derived | clean acc.: printed "
        "| spurious acc.: derived | spurious acc.: printed |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for ridge, noise in sorted({(a.params.ridge, a.params.noise) for a in agreements}):
        rows = [a for a in agreements if (a.params.ridge, a.params.noise) == (ridge, noise)]
        derived, printed = worst(rows, printed=False), worst(rows, printed=True)
        cells = [f"{getattr(m, name):.4f}" for name in MEASURES for m in (derived, printed)]
        lines.append(f"| {ridge:g} | {noise:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def detail_table(agreements: Sequence[Agreement]) -> str:
    """Return a Markdown table with one row per case: simulated value ± half of the 99 % interval, and both formulas."""
    head = [f"{name}: simulated | derived | printed" for name in ("score", "clean acc.", "spurious acc.")]
    lines = ["| case | γ | λ | noise | " + " | ".join(head) + " |", "| --- |" + " ---: |" * 12]
    for a in agreements:
        cells = [
            f"{found.estimate:.4f} ± {found.half_width:.4f} | {getattr(a.derived, n):.4f} | {getattr(a.printed, n):.4f}"
            for n, found in zip(MEASURES, a.measured, strict=True)
        ]
        params = a.params
        lines.append(
            f"| {a.label} | {params.gamma:g} | {params.ridge:g} | {params.noise:g} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)

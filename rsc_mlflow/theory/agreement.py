"""Formula against simulation: by how much they disagree, and which assumption it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsc_mlflow.errors import InputError
from rsc_mlflow.statistics import Interval, t_interval
from rsc_mlflow.theory.formulas import Measures, World, as_printed, closed_form
from rsc_mlflow.theory.simulation import Design, simulate

MEASURES = ("score", "clean_accuracy", "spurious_accuracy")
LEVEL = 0.99


@dataclass(frozen=True)
class Agreement:
    """One world, simulated under one design with several seeds, beside both formulas.

    Attributes:
        label: what is special about the design, in words.
        measured: one interval over seeds (training sets) for each of :data:`MEASURES`.
        derived: the closed form, with noise at test as in the design.
        printed: the paper's formula.
    """

    label: str
    world: World
    design: Design
    measured: tuple[Interval, Interval, Interval]
    derived: Measures
    printed: Measures

    def differences(self, formula: Measures) -> tuple[float, ...]:
        """Formula minus simulation, for each measure."""
        return tuple(
            getattr(formula, name) - found.estimate for name, found in zip(MEASURES, self.measured, strict=True)
        )

    def as_record(self) -> dict[str, object]:
        """One row of a table, numbers only."""
        row: dict[str, object] = {"case": self.label, "gamma": self.world.gamma, "lambda": self.world.ridge}
        row |= {"noise": self.world.noise, "n_train": self.design.n_train, "seeds": self.measured[0].n}
        for name, found in zip(MEASURES, self.measured, strict=True):
            row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
            row |= {f"{name}_derived": getattr(self.derived, name), f"{name}_printed": getattr(self.printed, name)}
        return row


def compare(world: World, design: Design, seeds: Sequence[int], label: str = "as derived") -> Agreement:
    """Simulate one world with each seed and put both formulas beside it.

    Raises:
        InputError: fewer than two seeds, which give no interval.
    """
    if len(seeds) < 2:
        raise InputError(f"{len(seeds)} seeds; accepted: at least 2, for an interval")
    runs = [simulate(world, design, seed) for seed in seeds]
    first, second, third = (t_interval([getattr(run, name) for run in runs], LEVEL) for name in MEASURES)
    derived = closed_form(world, noise_at_test=design.noise_at_test)
    return Agreement(label, world, design, (first, second, third), derived, as_printed(world))


def over_grid(
    worlds: Sequence[World], design: Design, seeds: Sequence[int], done: Callable[[int], None] = lambda _: None
) -> list[Agreement]:
    """Every world under one design; ``done`` hears how many are finished."""
    found: list[Agreement] = []
    for world in worlds:
        found.append(compare(world, design, seeds))
        done(len(found))
    return found


def assumptions(world: World, design: Design, seeds: Sequence[int]) -> list[Agreement]:
    """One world with one assumption of the derivation broken at a time.

    The noisy cases use the world's noise, or 0.3 where it has none; those of strong ridge use lambda = 100.
    """
    noisy = replace(world, noise=world.noise or 0.3)
    few, strong = max(3, min(1000, design.n_train // 10)), replace(world, ridge=100.0)
    cases = [
        ("all assumptions hold", world, design),
        ("no intercept", world, replace(design, intercept=False)),
        ("features uniform, not Gaussian", world, replace(design, law="uniform")),
        (f"{few} training examples", world, replace(design, n_train=few)),
        ("noise in training only", noisy, design),
        ("noise in training and at test", noisy, replace(design, noise_at_test=True)),
        ("strong ridge, labels drawn at random", strong, design),
        ("strong ridge, labels exactly balanced", strong, replace(design, balanced=True)),
        (f"the same, {few} training examples", strong, replace(design, balanced=True, n_train=few)),
        (f"{few} examples, labels drawn at random", strong, replace(design, n_train=few)),
    ]
    return [compare(one, plan, seeds, label) for label, one, plan in cases]


def worst(agreements: Sequence[Agreement], *, printed: bool) -> Measures:
    """Largest absolute difference between a formula and the simulation, for each measure."""
    differences = np.array([a.differences(a.printed if printed else a.derived) for a in agreements])
    first, second, third = (float(value) for value in np.abs(differences).max(axis=0))
    return Measures(first, second, third)


def inside(agreements: Sequence[Agreement], *, printed: bool) -> int:
    """How many of the formula's values (three a row) lie in the simulation's 99 % interval."""
    count = 0
    for agreement in agreements:
        formula = agreement.printed if printed else agreement.derived
        for name, found in zip(MEASURES, agreement.measured, strict=True):
            count += found.low <= getattr(formula, name) <= found.high
    return count


def grid_table(agreements: Sequence[Agreement]) -> str:
    """Markdown: for each lambda and noise, the simulation and the largest distance of either formula over gamma."""
    lines = [
        "| λ | noise | score: derived | score: printed | clean acc.: derived | clean acc.: printed "
        "| spurious acc.: derived | spurious acc.: printed |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for ridge, noise in sorted({(a.world.ridge, a.world.noise) for a in agreements}):
        rows = [a for a in agreements if (a.world.ridge, a.world.noise) == (ridge, noise)]
        derived, printed = worst(rows, printed=False), worst(rows, printed=True)
        cells = [f"{getattr(m, name):.4f}" for name in MEASURES for m in (derived, printed)]
        lines.append(f"| {ridge:g} | {noise:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def detail_table(agreements: Sequence[Agreement]) -> str:
    """Markdown: measured (± half of the 99 % interval over training sets), derived and printed, a row a world."""
    head = [f"{name}: simulated | derived | printed" for name in ("score", "clean acc.", "spurious acc.")]
    lines = ["| case | γ | λ | noise | " + " | ".join(head) + " |", "| --- |" + " ---: |" * 12]
    for a in agreements:
        cells = [
            f"{found.estimate:.4f} ± {found.half_width:.4f} | {getattr(a.derived, n):.4f} | {getattr(a.printed, n):.4f}"
            for n, found in zip(MEASURES, a.measured, strict=True)
        ]
        world = a.world
        lines.append(f"| {a.label} | {world.gamma:g} | {world.ridge:g} | {world.noise:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""Options of ``theory``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import SEED
from rsc_mlflow.fields import Options, Parse, integer, number, option, param_text

if TYPE_CHECKING:
    from rsc_mlflow.theory import LinearModelParams


def numbers(maximum: float = float("inf")) -> Parse:
    """Return a parser for distinct numbers from 0 to ``maximum``, separated by commas, kept as text."""
    one = number(0)

    def convert(text: str) -> str:
        values = {one.convert(part) for part in text.split(",")}
        if max(values) > maximum:
            raise ValueError
        return ",".join(map(param_text, sorted(values)))

    upper = "" if maximum == float("inf") else f" and ≤ {maximum:g}"
    return Parse(convert, f"finite numbers ≥ 0{upper}, separated by commas")


@dataclass(frozen=True, kw_only=True)
class TheoryOptions(Options):
    """Options of ``theory``; the defaults are those of the paper's figure."""

    ridges: str = option("Ridge penalties lambda, separated by commas.", numbers(), "0,1,10,100")
    noises: str = option(
        "Variances of the noise added to training inputs, separated by commas.", numbers(), "0,0.1,0.2,0.3"
    )
    gammas: str = option(
        "Values of gamma, the share of the target class with the pattern, to simulate; separated by commas.",
        numbers(1),
        "0.02,0.2,0.5,0.9",
    )
    gamma_steps: int = option("Number of points of each curve, for gamma from 0 to 1.", integer(2, 10_001), 51)
    sigma_inv: float = option("Variance of the invariant feature.", number(0), 0.5)
    sigma_sp: float = option("Variance of the spurious feature.", number(0), 0.1)
    x_sp_squared: float = option(
        "Squared mean of the spurious feature in examples with the pattern; the invariant feature's is 1.",
        number(0, above=True),
        5.0,
    )
    seeds: int = option("Number of simulated training sets per point.", integer(2, 10_000), 10)
    n_train: int = option("Training examples per simulation.", integer(3, 100_000_000), 50_000)
    n_test: int = option("Test examples per simulation.", integer(1, 100_000_000), 50_000)
    random_seed: int = option("Seed of the first training set; the others use the next seeds.", SEED, 0)

    def check(self) -> None:
        """Check that each feature has variance, noise or a penalty."""
        for ridge in _floats(self.ridges):
            for noise in self.noise_levels():
                try:
                    self.params(0, ridge, noise)
                except InputError as error:
                    raise InputError(f"For ridge {ridge:g} and noise {noise:g}: {error}") from None

    def params(self, gamma: float, ridge: float = 0.0, noise: float = 0.0) -> LinearModelParams:
        """Return the parameters of the linear model."""
        from rsc_mlflow.theory import LinearModelParams  # imports SciPy

        return LinearModelParams(gamma, ridge, noise, self.sigma_inv, self.sigma_sp, x_sp_squared=self.x_sp_squared)

    def settings(self) -> list[LinearModelParams]:
        """Return parameters for each noise and ridge penalty, with gamma 0."""
        return [self.params(0, ridge, noise) for noise in self.noise_levels() for ridge in _floats(self.ridges)]

    def simulated_gammas(self) -> list[float]:
        """Return ``gammas`` as numbers."""
        return _floats(self.gammas)

    def noise_levels(self) -> list[float]:
        """Return ``noises`` as numbers."""
        return _floats(self.noises)


def _floats(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]

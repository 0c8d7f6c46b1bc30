"""The options of ``theory``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import SEED
from rsc_mlflow.fields import Options, Parse, integer, number, option, param_text

if TYPE_CHECKING:
    from rsc_mlflow.theory import LinearModelParams


def numbers(maximum: float = float("inf")) -> Parse:
    """A comma list of distinct numbers from 0 to ``maximum``; kept as its canonical text."""
    one = number(0)

    def convert(text: str) -> str:
        values = {one.convert(part) for part in text.split(",")}
        if max(values) > maximum:
            raise ValueError
        return ",".join(map(param_text, sorted(values)))

    upper = "" if maximum == float("inf") else f" and at most {maximum:g}"
    return Parse(convert, f"finite numbers of at least 0{upper}, separated by commas")


@dataclass(frozen=True, kw_only=True)
class TheoryOptions(Options):
    """Options of ``theory``; the defaults are the paper's figure."""

    ridges: str = option("Comma list of ridge penalties (lambda).", numbers(), "0,1,10,100")
    noises: str = option("Comma list of input-noise variances.", numbers(), "0,0.1,0.2,0.3")
    gammas: str = option("Comma list of gammas that are simulated as well.", numbers(1), "0.02,0.2,0.5,0.9")
    gamma_steps: int = option("Points of each curve, gamma from 0 to 1.", integer(2, 10_001), 51)
    sigma_inv: float = option("Variance of the invariant feature.", number(0), 0.5)
    sigma_sp: float = option("Variance of the spurious feature.", number(0), 0.1)
    x_sp_squared: float = option(
        "Squared size of the spurious feature (the invariant one's is 1).", number(0, above=True), 5.0
    )
    seeds: int = option("Training sets drawn for each simulated point.", integer(2, 10_000), 10)
    n_train: int = option("Training examples drawn each time.", integer(3, 100_000_000), 50_000)
    n_test: int = option("Test examples drawn each time.", integer(1, 100_000_000), 50_000)
    random_seed: int = option("Seed of the first training set; the others follow.", SEED, 0)

    def check(self) -> None:
        """A feature needs a variance, a penalty or noise."""
        for ridge in _floats(self.ridges):
            for noise in self.noise_levels():
                try:
                    self.params(0, ridge, noise)
                except InputError as error:
                    raise InputError(f"at ridge {ridge:g} and noise {noise:g}: {error}") from None

    def params(self, gamma: float, ridge: float = 0.0, noise: float = 0.0) -> LinearModelParams:
        """The generative model at one point."""
        from rsc_mlflow.theory import LinearModelParams  # imports SciPy

        return LinearModelParams(gamma, ridge, noise, self.sigma_inv, self.sigma_sp, x_sp_squared=self.x_sp_squared)

    def settings(self) -> list[LinearModelParams]:
        """One set of parameters for each noise and ridge, gamma 0."""
        return [self.params(0, ridge, noise) for noise in self.noise_levels() for ridge in _floats(self.ridges)]

    def simulated_gammas(self) -> list[float]:
        """``gammas`` as numbers."""
        return _floats(self.gammas)

    def noise_levels(self) -> list[float]:
        """``noises`` as numbers."""
        return _floats(self.noises)


def _floats(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]

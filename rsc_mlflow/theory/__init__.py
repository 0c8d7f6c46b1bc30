"""The paper's linear model of a rare spurious correlation: closed-form solution and simulation."""

from rsc_mlflow.theory.formulas import (
    FIGURE_NOISES,
    FIGURE_RIDGES,
    Curve,
    LinearModelParams,
    Measures,
    as_printed,
    closed_form,
    curve,
    reliance_slope_sign,
    score_slope_sign,
)
from rsc_mlflow.theory.simulation import SimulationConfig, fit_ridge, sample_training, simulate

__all__ = [
    "FIGURE_NOISES",
    "FIGURE_RIDGES",
    "Curve",
    "LinearModelParams",
    "Measures",
    "SimulationConfig",
    "as_printed",
    "closed_form",
    "curve",
    "fit_ridge",
    "reliance_slope_sign",
    "sample_training",
    "score_slope_sign",
    "simulate",
]

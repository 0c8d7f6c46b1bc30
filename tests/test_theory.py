"""The closed forms against three independent evaluations: by hand, population normal equations, and sampling."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge

from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import numpy_generator
from rsc_mlflow.statistics import t_interval
from rsc_mlflow.theory import (
    FIGURE_NOISES,
    FIGURE_RIDGES,
    LinearModelParams,
    Measures,
    SimulationConfig,
    as_printed,
    closed_form,
    curve,
    fit_ridge,
    reliance_slope_sign,
    sample_training,
    score_slope_sign,
    simulate,
)
from rsc_mlflow.theory.agreement import assumptions, compare, detail_table, grid_table, inside, over_grid, worst

WORLDS = [
    LinearModelParams(gamma, ridge, noise, 0.5, 0.1, x_inv_squared=inv)
    for gamma, ridge, noise, inv in itertools.product((0.01, 0.3, 0.9), FIGURE_RIDGES, (0.0, 0.3), (1.0, 2.5))
]


def population(params: LinearModelParams, noise_at_test: bool = False) -> Measures:
    """The measures from numpy's solution of the population normal equations, joint law written out cell by cell."""
    x_inv, x_sp = math.sqrt(params.x_inv_squared), math.sqrt(params.x_sp_squared)
    cells = [  # probability, y, z
        (1 / 2, -1, 0),
        ((1 - params.gamma) / 2, 1, 0),
        (params.gamma / 2, 1, 1),
    ]
    config = np.zeros((3, 3))
    response = np.zeros(3)
    for p, y, z in cells:
        mean = np.array([y * x_inv, z * x_sp, 1.0])
        noise = np.diag([params.sigma_inv + params.noise, params.sigma_sp + params.noise, 0])
        config += p * (np.outer(mean, mean) + noise)
        response += p * y * mean
    w = np.linalg.solve(config + np.diag([params.ridge, params.ridge, 0]), response)
    extra = params.noise if noise_at_test else 0.0
    spread = math.sqrt(w[0] ** 2 * (params.sigma_inv + extra) + w[1] ** 2 * (params.sigma_sp + extra))
    negative = norm.cdf(-(-w[0] * x_inv + w[2]) / spread)
    positive = norm.cdf((w[0] * x_inv + w[2]) / spread)
    spurious = norm.cdf(-(-w[0] * x_inv + w[1] * x_sp + w[2]) / spread)
    return Measures(w[1] * x_sp, (negative + positive) / 2, spurious)


def values(measures: Measures) -> tuple[float, float, float]:
    return measures.score, measures.clean_accuracy, measures.spurious_accuracy


@pytest.mark.parametrize("noise_at_test", [False, True])
def test_closed_forms_solve_the_population_problem(noise_at_test: bool) -> None:
    for params in WORLDS:
        found, expected = closed_form(params, noise_at_test=noise_at_test), population(params, noise_at_test)
        assert values(found) == pytest.approx(values(expected), abs=1e-10), params


# Three points of the printed formulas worked out by hand up to Phi's argument (x_inv² = 1, x_sp² = 5):
# 1. gamma 1/5, lambda 0, noise 0: a = 1/10; T = (2/5 + 1/10)/(1/2) = 1; D = sqrt(1/2 + 25/1000) = sqrt(0.525);
#    score = 0.1·0.5·5/(0.05 + (0.1 + 0.045 + 0.4)·5) = 0.25/2.775.
# 2. gamma 1, lambda 1, noise 0: a = 1/2; T = 1.1/1.5; D = sqrt(T²/2 + 25/4·0.1);
#    score = 3.75/(1.65 + (1.1 + 0.375)·5) = 3.75/9.025.
# 3. gamma 1/5, lambda 10, noise 0.1: u = 10.6, v = 10.2; T = (0.4 + 10.2)/10.6 = 1; D = sqrt(0.6 + 0.25·0.2);
#    score = 5.3/(108.12 + (10.2 + 0.09·10.6 + 0.4)·5) = 5.3/165.89.
PRINTED = [
    (LinearModelParams(0.2), 0.25 / 2.775, (1.05, 0.95, 0.55), 0.525),
    (
        LinearModelParams(1.0, 1.0),
        3.75 / 9.025,
        (1.1 / 1.5 + 1.25, 1.1 / 1.5 - 1.25, 1.1 / 1.5 - 1.25),
        (1.1 / 1.5) ** 2 / 2 + 0.625,
    ),
    (LinearModelParams(0.2, 10.0, 0.1), 5.3 / 165.89, (1.05, 0.95, 0.55), 0.65),
]


@pytest.mark.parametrize(("params", "score", "margins", "variance"), PRINTED)
def test_printed_formulas_by_hand(
    params: LinearModelParams, score: float, margins: tuple[float, ...], variance: float
) -> None:
    first, second, spurious = (norm.cdf(margin / math.sqrt(variance)) for margin in margins)
    assert values(as_printed(params)) == pytest.approx((score, (first + second) / 2, spurious), abs=1e-12)


def test_derived_formulas_by_hand() -> None:
    # gamma 1/5, no regularization: T = 1, D² = 1/2 + 5/1000, det = 0.05 + 0.1 + 0.225 + 0.4.
    d = math.sqrt(0.505)
    expected = (0.25 / 0.775, (norm.cdf(1.05 / d) + norm.cdf(0.95 / d)) / 2, norm.cdf(0.55 / d))
    assert values(closed_form(LinearModelParams(0.2))) == pytest.approx(expected, abs=1e-12)


def test_printed_and_derived_agree_where_both_features_have_size_one() -> None:
    for params in WORLDS:
        unit = replace(params, x_inv_squared=1.0, x_sp_squared=1.0)
        assert values(as_printed(unit)) == pytest.approx(values(closed_form(unit, noise_at_test=True)), abs=1e-12)


def test_printed_and_derived_differ_in_the_papers_figure() -> None:
    """The disagreement that docs/theory.md reports is there, and the simulation sides with the derivation."""
    params = LinearModelParams(0.2)
    derived, printed = closed_form(params), as_printed(params)
    assert derived.score == pytest.approx(0.3226, abs=1e-4)
    assert printed.score == pytest.approx(0.0901, abs=1e-4)
    measured = [simulate(params, SimulationConfig(20_000, 20_000), seed).score for seed in range(5)]
    error = float(np.std(measured, ddof=1)) / math.sqrt(5)
    assert abs(np.mean(measured) - derived.score) < 5 * error
    assert abs(np.mean(measured) - printed.score) > 20 * error


@pytest.mark.parametrize(
    "params",
    [
        LinearModelParams(0.1),
        LinearModelParams(0.3, 1.0, 0.2),
        LinearModelParams(0.9, 10.0),
        LinearModelParams(0.3, 0.5, 0.1, 0.1, 0.5),
    ],
)
def test_simulation_agrees_with_the_derivation(params: LinearModelParams) -> None:
    runs = np.array([values(simulate(params, SimulationConfig(20_000, 20_000), seed)) for seed in range(20)])
    for measured, expected in zip(runs.T, values(closed_form(params)), strict=True):
        interval = t_interval(measured, 0.999)
        assert interval.low <= expected <= interval.high
        assert interval.half_width < 0.03


def test_simulation_says_which_assumption_matters() -> None:
    params, few = LinearModelParams(0.9, noise=0.3), SimulationConfig(50_000, 50_000)
    at_test = simulate(params, replace(few, noise_at_test=True))
    assert values(at_test) == pytest.approx(values(closed_form(params, noise_at_test=True)), abs=0.02)
    assert at_test.spurious_accuracy > closed_form(params).spurious_accuracy + 0.05
    no_intercept = simulate(params, replace(few, intercept=False))
    assert abs(no_intercept.score - closed_form(params).score) > 0.05
    uniform = simulate(params, replace(few, law="uniform"))
    assert uniform.score == pytest.approx(closed_form(params).score, abs=0.02)  # second moments are all it needs


def test_strong_ridge_leaves_the_sampled_intercept_alone() -> None:
    """With random labels the mean label decides; with balanced ones the formula holds again."""
    params, few = LinearModelParams(0.2, 100.0), SimulationConfig(2_000, 5_000)
    expected = closed_form(params).clean_accuracy
    chance = np.mean([simulate(params, few, seed).clean_accuracy for seed in range(8)])
    balanced = np.mean([simulate(params, replace(few, balanced=True), seed).clean_accuracy for seed in range(8)])
    assert chance < expected - 0.2
    assert balanced == pytest.approx(expected, abs=0.01)
    labels = sample_training(params, replace(few, balanced=True), numpy_generator(0, "test")).labels
    assert labels.mean() == 0


def test_agreement_tables_count_what_they_show() -> None:
    """With 12 seeds of 20,000 examples nearly all derived values lie inside, and the printed scores do not."""
    settings = [LinearModelParams(gamma, ridge) for gamma in (0.2, 0.5) for ridge in (0.0, 1.0)]
    heard: list[int] = []
    found = over_grid(settings, SimulationConfig(20_000, 20_000, balanced=True), range(12), heard.append)
    assert heard == [1, 2, 3, 4]
    assert inside(found, printed=False) >= 11
    assert inside(found, printed=True) <= 8
    far = worst(found, printed=True)
    assert far.score == pytest.approx(max(abs(f.printed.score - f.measured[0].estimate) for f in found))
    assert len(grid_table(found).splitlines()) == 2 + 2
    assert len(detail_table(found).splitlines()) == 2 + 4
    first = found[0].as_record()
    assert (first["gamma"], first["lambda"], first["score_derived"]) == (0.2, 0.0, closed_form(settings[0]).score)


def test_assumptions_are_broken_one_at_a_time() -> None:
    found = {a.label: a for a in assumptions(LinearModelParams(0.5), SimulationConfig(4_000, 1_000), range(3))}
    assert found["noise in training and at test"].derived == closed_form(
        LinearModelParams(0.5, noise=0.3), noise_at_test=True
    )
    assert found["noise in training only"].derived == closed_form(LinearModelParams(0.5, noise=0.3))
    assert found["strong ridge, labels exactly balanced"].config.balanced
    assert (
        sum(a.config == SimulationConfig(4_000, 1_000) and a.params == LinearModelParams(0.5) for a in found.values())
        == 1
    )
    with pytest.raises(InputError, match="Expected at least 2"):
        compare(LinearModelParams(0.5), SimulationConfig(10, 10), [0])


def test_noise_is_ridge() -> None:
    assert closed_form(LinearModelParams(0.3, 0.2, 0.3)).score == pytest.approx(
        closed_form(LinearModelParams(0.3, 0.5)).score, abs=1e-15
    )
    assert values(closed_form(LinearModelParams(0.3, 0.0, 0.3))) == pytest.approx(
        values(closed_form(LinearModelParams(0.3, 0.3))), abs=1e-15
    )


@pytest.mark.parametrize("intercept", [True, False])
def test_fit_is_scikit_learns(intercept: bool) -> None:
    sample = sample_training(LinearModelParams(0.4), SimulationConfig(500), numpy_generator(0, "test"))
    weights, bias = fit_ridge(sample, 0.7, intercept=intercept)
    theirs = Ridge(alpha=0.7 * 500, fit_intercept=intercept).fit(sample.inputs, sample.labels)
    assert weights == pytest.approx(theirs.coef_)
    assert bias == pytest.approx(theirs.intercept_, abs=1e-12)


def test_sampled_moments_are_those_of_the_world() -> None:
    params = LinearModelParams(0.4, noise=0.2)
    sample = sample_training(params, SimulationConfig(400_000), numpy_generator(1, "test"))
    assert sample.labels.mean() == pytest.approx(0, abs=0.01)
    assert sample.inputs.mean(axis=0) == pytest.approx([0, 0.2 * math.sqrt(5)], abs=0.01)
    expected = [[1 + 0.5 + 0.2, 0.2 * math.sqrt(5)], [0.2 * math.sqrt(5), 0.2 * 0.8 * 5 + 0.1 + 0.2]]
    assert np.cov(sample.inputs.T) == pytest.approx(np.array(expected), abs=0.02)


def test_slopes_are_those_of_small_steps() -> None:
    settings = [replace(w, sigma_inv=i, sigma_sp=s) for w in WORLDS for i, s in ((0.5, 0.1), (0.1, 0.5), (0.05, 2.0))]
    signs = set()
    for params in settings:
        more, step = replace(params, ridge=params.ridge + 1e-6), []
        for point in (params, more):
            found = closed_form(point)
            step.append((found.score, reliance(point)))
        assert score_slope_sign(params) == np.sign(step[1][0] - step[0][0]), params
        assert reliance_slope_sign(params) == np.sign(step[1][1] - step[0][1]), params
        signs.add((score_slope_sign(params), reliance_slope_sign(params)))
    assert {(1, 1), (-1, 1), (-1, -1)} <= signs
    assert score_slope_sign(LinearModelParams(0.0)) == reliance_slope_sign(LinearModelParams(0.0)) == 0


def reliance(params: LinearModelParams) -> float:
    """w_2 x_sp / (w_1 x_inv) from the covariance equations solved by numpy."""
    x_inv, x_sp, a = math.sqrt(params.x_inv_squared), math.sqrt(params.x_sp_squared), params.gamma / 2
    covariance = np.array(
        [
            [x_inv**2 + params.sigma_inv + params.noise, a * x_inv * x_sp],
            [a * x_inv * x_sp, a * (1 - a) * x_sp**2 + params.sigma_sp + params.noise],
        ]
    )
    w = np.linalg.solve(covariance + params.ridge * np.eye(2), [x_inv, a * x_sp])
    return float(w[1] * x_sp / (w[0] * x_inv))


def test_more_regularization_can_raise_the_score() -> None:
    """With a clean invariant and a noisy spurious feature the score rises with lambda, seen in simulation too."""
    params = LinearModelParams(0.1, sigma_inv=0.05, sigma_sp=2.0)
    assert score_slope_sign(params) == 1
    config = SimulationConfig(50_000, 10)
    less, more = (np.mean([simulate(replace(params, ridge=r), config, s).score for s in range(4)]) for r in (0.0, 0.5))
    assert more > less * 1.5


def test_in_the_papers_figure_ridge_never_raises_the_score() -> None:
    for ridge, noise, gamma in itertools.product(FIGURE_RIDGES, FIGURE_NOISES, np.linspace(0.02, 1, 50)):
        assert score_slope_sign(LinearModelParams(float(gamma), ridge, noise)) == -1


def test_curve_runs_over_gamma() -> None:
    found = curve(LinearModelParams(0, 1.0, 0.1), (0.0, 0.2))
    assert found.column("score") == [0.0, closed_form(LinearModelParams(0.2, 1.0, 0.1)).score]
    assert curve(LinearModelParams(0), (0.2,), printed=True).measures == (as_printed(LinearModelParams(0.2)),)


def test_edges() -> None:
    certain = closed_form(LinearModelParams(0.1, ridge=1.0, sigma_inv=0.0, sigma_sp=0.0))
    assert values(certain)[1:] == (1.0, 1.0)
    assert closed_form(LinearModelParams(0.0)).clean_accuracy == pytest.approx(norm.cdf(1 / math.sqrt(0.5)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: LinearModelParams(1.1),
        lambda: LinearModelParams(math.nan),
        lambda: LinearModelParams(0.1, ridge=-1),
        lambda: LinearModelParams(0.1, noise=math.inf),
        lambda: LinearModelParams(0.1, x_sp_squared=0),
        lambda: LinearModelParams(0.1, sigma_inv=0.0),
        lambda: SimulationConfig(n_train=2),
        lambda: SimulationConfig(law="cauchy"),
        lambda: as_printed(LinearModelParams(0.1, x_inv_squared=2.0)),
    ],
)
def test_bad_input_says_what_is_accepted(call: object) -> None:
    with pytest.raises(InputError, match=r"Expected|Set one"):
        call()  # type: ignore[operator]

"""Units of replication, estimands, and intervals against scipy, hand counts, algebra and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from rsc_mlflow.errors import InputError
from rsc_mlflow.replication import SeedInterval, bounded, seed_interval, standard_error

FIVE = [0.61, 0.58, 0.73, 0.55, 0.69]


def crossed(datasets: int, trainings: int) -> dict[str, list[int]]:
    cells = list(itertools.product(range(datasets), range(trainings)))
    return {"dataset": [d for d, _ in cells], "training": [t for _, t in cells]}


def test_one_kind_of_seed_gives_students_interval() -> None:
    found = seed_interval(FIVE, {"dataset": range(5), "training": [0] * 5}, 0.9)
    low, high = stats.t.interval(0.9, 4, loc=np.mean(FIVE), scale=stats.sem(FIVE))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.estimate == pytest.approx(0.632)
    assert (found.units, found.n_units, found.level) == ({"dataset": 5}, 5, 0.9)
    assert found.estimand == "over dataset seeds; training seed 0 fixed"


def test_student_by_hand() -> None:
    """Mean 3, variance 2.5, so a standard error of sqrt(1/2), and 2.776445 at four degrees of freedom."""
    found = seed_interval([1, 2, 3, 4, 5], {"dataset": "abcde"})
    assert (found.low, found.high) == pytest.approx((3 - 2.776445 / math.sqrt(2), 3 + 2.776445 / math.sqrt(2)))


def test_training_seeds_within_dataset_seeds_are_averaged_first() -> None:
    """Unbalanced: two runs for each of the first four dataset seeds and one for the last."""
    values = [1, 3, 2, 2, 4, 8, 5, 7, 9]
    seeds = {"training": range(9), "dataset": [0, 0, 1, 1, 2, 2, 3, 3, 4]}
    found, of_means = seed_interval(values, seeds), seed_interval([2, 2, 6, 6, 9], {"dataset": range(5)})
    assert (found.estimate, found.low, found.high) == (of_means.estimate, of_means.low, of_means.high)
    assert found.units == {"dataset": 5}
    assert found.estimand == "over training and dataset seeds"


def test_seeds_that_go_together_are_one_unit() -> None:
    found = seed_interval(FIVE, {"dataset": range(5), "training": range(5), "pattern": range(5)})
    assert found.units == {"dataset": 5}
    assert found.estimand == "over dataset, training and pattern seeds"
    assert found.low == pytest.approx(seed_interval(FIVE, {"dataset": range(5)}).low)


def test_runs_that_differ_in_the_pattern_seed_alone() -> None:
    found = seed_interval(FIVE, {"dataset": [3] * 5, "training": [0] * 5, "pattern": range(5)})
    assert found.units == {"pattern": 5}
    assert found.estimand == "over pattern seeds; dataset seed 3 and training seed 0 fixed"
    assert math.isfinite(found.low)


def test_three_by_five_crossed_is_three_units_and_no_interval() -> None:
    found = seed_interval(np.arange(15) / 15, crossed(3, 5))
    assert (found.units, found.n_units) == ({"dataset": 3, "training": 5}, 3)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.estimate == pytest.approx(7 / 15)


def test_one_dataset_seed_is_conditional_and_several_runs_of_it_are_training_seeds() -> None:
    assert seed_interval([0.1] * 4, {"dataset": [0] * 4, "training": range(4)}).n_units == 4
    none = seed_interval([0.1, 0.3], {"dataset": [0, 0], "training": [1, 1]})
    assert none.estimate == pytest.approx(0.2)
    assert (none.units, none.n_units, math.isnan(none.low)) == ({}, 1, True)
    assert none.estimand == "of one set of seeds; dataset seed 0 and training seed 1 fixed"


def test_crossed_by_hand() -> None:
    """Rows 0 … 4 and columns 0, 10, … 40: variances 2.5/5 and 250/5, freedom (.5 + 50)² / (.5²/4 + 50²/4)."""
    seeds = crossed(5, 5)
    values = [d + 10 * t for d, t in zip(seeds["dataset"], seeds["training"], strict=True)]
    found = seed_interval(values, seeds)
    half = stats.t.ppf(0.975, 50.5**2 * 4 / (0.25 + 2500)) * math.sqrt(50.5)
    assert (found.low, found.high) == pytest.approx((22 - half, 22 + half))
    assert found.units == {"dataset": 5, "training": 5}


def test_runs_with_the_same_seeds_count_once() -> None:
    seeds = crossed(5, 5)
    values = np.random.default_rng(0).random(25)
    twice = {name: column * 2 for name, column in seeds.items()}
    first, second = seed_interval(values, seeds), seed_interval([*values - 0.1, *values + 0.1], twice)
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_unequal_levels_have_an_unbiased_variance() -> None:
    """Effects of one factor with 1, 2, 3, 4 and 10 values each: the mean squared error is the mean squared estimate."""
    codes = np.repeat(np.arange(5), [1, 2, 3, 4, 10])
    effects = np.random.default_rng(0).normal(size=(4000, 5))
    squares = [standard_error(row[codes], [codes])[0] ** 2 for row in effects]
    weights = np.bincount(codes) / 20
    assert np.mean(squares) == pytest.approx((weights**2).sum(), rel=0.05)


@pytest.mark.parametrize("power", [0.5, 0.75])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 100.0), (-1.0, 3.0), (0.0, math.inf), (2.0, math.inf)])
def test_bounded_interval_solves_its_equation(bounds: tuple[float, float], power: float) -> None:
    """At either end m the distance from the mean is t times the standard error at m."""
    low, high = bounds
    width = high - low if math.isfinite(high) else 7.0
    x, error, df = low + 0.3 * width, 0.1 * width, 4.0
    t = stats.t.ppf(0.975, df)
    ends = bounded(x, error, df, 0.95, bounds, power)
    assert low < ends[0] < x < ends[1] < high
    for m in ends:
        above = (high - m) / (high - x) if math.isfinite(high) else 1
        assert abs(m - x) == pytest.approx(t * error * ((m - low) / (x - low) * above) ** power, rel=1e-9)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0), (2.0, math.inf)])
def test_a_mean_at_a_bound_is_its_own_interval(bounds: tuple[float, float]) -> None:
    for mean in bounds:
        if math.isfinite(mean):
            assert bounded(mean, 0.1, 4.0, 0.95, bounds) == (mean, mean)


def test_without_an_upper_bound_the_interval_is_the_limit_of_distant_bounds() -> None:
    values, seeds = [0.1, 0.4, 0.5, 1.1, 2.9], {"dataset": range(5)}
    free, far = (seed_interval(values, seeds, bounds=(0, high)) for high in (math.inf, 1e6))
    assert (free.low, free.high) == pytest.approx((far.low, far.high), rel=1e-4)
    scaled = seed_interval([1000 * v for v in values], seeds, bounds=(0, math.inf))
    assert (scaled.low, scaled.high) == pytest.approx((1000 * free.low, 1000 * free.high))


@given(st.lists(st.floats(0, 1e100), min_size=5, max_size=12))
@example([0.0, 0.0, 0.0, 0.0, 2.65e-122])
@settings(deadline=None)
def test_an_interval_of_sizes_holds_the_mean_and_is_never_negative(values: list[float]) -> None:
    found = seed_interval(values, {"dataset": range(len(values))}, bounds=(0, math.inf))
    assert 0 <= found.low <= found.estimate * (1 + 1e-12)
    assert found.estimate * (1 - 1e-12) <= found.high < math.inf


@given(st.lists(st.floats(0, 1), min_size=5, max_size=12))
@example([0.0, 0.0, 0.0, 0.0, 2.65e-122])  # the square of its variance is 0
@settings(deadline=None)
def test_bounded_interval_holds_the_mean_and_stays_within_the_bounds(values: list[float]) -> None:
    seeds = {"dataset": range(len(values))}
    found = seed_interval(values, seeds, bounds=(0, 1))
    assert 0 <= found.low <= found.estimate + 1e-12
    assert found.estimate - 1e-12 <= found.high <= 1
    mirrored = seed_interval([1 - v for v in values], seeds, bounds=(0, 1))
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-6)


def test_an_interval_of_values_between_other_bounds_is_scaled() -> None:
    values, seeds = [0.1, 0.2, 0.2, 0.4, 0.8], {"dataset": range(5)}
    unit = seed_interval(values, seeds, bounds=(0, 1))
    wide = seed_interval([2 * v - 1 for v in values], seeds, bounds=(-1, 1))
    assert (wide.low, wide.high) == pytest.approx((2 * unit.low - 1, 2 * unit.high - 1))


def test_one_run_is_of_one_set_of_seeds() -> None:
    found = seed_interval([0.5], {"dataset": [3], "training": [1]})
    assert (found.estimate, found.n_units) == (0.5, 1)
    assert found.estimand == "of one set of seeds; dataset seed 3 and training seed 1 fixed"


def test_bounded_interval_of_a_tight_cluster_is_students() -> None:
    values = [0.90, 0.90, 0.89, 0.90, 0.90]
    within = seed_interval(values, {"dataset": range(5)}, bounds=(0, 1))
    free = seed_interval(values, {"dataset": range(5)})
    assert (within.low, within.high) == pytest.approx((free.low, free.high), abs=0.0003)
    equal = seed_interval([0.0] * 5, {"dataset": range(5)}, bounds=(0, 1))
    assert (equal.low, equal.high) == (0, 0)


def covers(found: SeedInterval, truth: float) -> bool:
    return found.low <= truth <= found.high


@pytest.mark.parametrize("trainings", [1, 2])
@pytest.mark.parametrize("kind", ["normal", "beta", "gamma"])
def test_it_covers_in_nested_designs(kind: str, trainings: int) -> None:
    """At least .93 of 1,000, less two standard errors of such a share (.016)."""
    rng, hits = np.random.default_rng(trainings), 0
    seeds = {"dataset": np.repeat(np.arange(5), trainings).tolist(), "training": range(5 * trainings)}
    for _ in range(1000):
        z = math.sqrt(0.8) * np.repeat(rng.normal(size=5), trainings) + math.sqrt(0.2) * rng.normal(size=5 * trainings)
        values, truth, bounds = scores(z, kind)
        hits += covers(seed_interval(values, seeds, bounds=bounds), truth)
    assert hits >= 914


@pytest.mark.parametrize("kind", ["normal", "beta", "gamma"])
def test_it_covers_in_crossed_designs(kind: str) -> None:
    rng, hits, seeds = np.random.default_rng(0), 0, crossed(5, 5)
    for _ in range(1000):
        z = math.sqrt(0.8) * rng.normal(size=(5, 1)) + math.sqrt(0.1) * rng.normal(size=(1, 5))
        values, truth, bounds = scores((z + math.sqrt(0.1) * rng.normal(size=(5, 5))).ravel(), kind)
        hits += covers(seed_interval(values, seeds, bounds=bounds), truth)
    assert hits >= 914


def scores(z: np.ndarray, kind: str) -> tuple[np.ndarray, float, tuple[float, float] | None]:
    """Standard normal numbers as they are, or as values of Beta(.3, .9) or Gamma(.5); their mean; their bounds."""
    p = stats.norm.cdf(z)
    if kind == "gamma":
        return stats.gamma.ppf(p, 0.5), 0.5, (0, math.inf)
    return (z, 0.0, None) if kind == "normal" else (stats.beta.ppf(p, 0.3, 0.9), 0.25, (0, 1))


@pytest.mark.parametrize(
    ("values", "seeds", "arguments", "message"),
    [
        ([], {"dataset": []}, {}, "at least one finite"),
        ([1, math.nan], {"dataset": [0, 1]}, {}, "at least one finite"),
        ([1, 2], {"dataset": [0]}, {}, "one seed of each kind per value"),
        ([1, 2], {"dataset": [0, 1]}, {"level": 1.0}, "> 0 and < 1"),
        ([0.5, 1.2], {"dataset": [0, 1]}, {"bounds": (0, 1)}, "within the bounds"),
    ],
)
def test_what_cannot_be_averaged_is_refused(
    values: list[float], seeds: dict[str, list[int]], arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        seed_interval(values, seeds, **arguments)  # type: ignore[arg-type]

"""What ``python -m benchmarks intervals`` simulates and compares, against integrals, scipy and plain loops."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from benchmarks.intervals import CANDIDATES, DISTRIBUTIONS, Design, Distribution, designs, measure

UNIT_MEANS = np.array([[0.61], [0.58], [0.73], [0.55], [0.69]])
BOUNDS = (0.0, 1.0)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda d: d.name)
def test_stated_means_are_the_integrals_of_the_quantiles(distribution: Distribution) -> None:
    mean, _ = integrate.quad(lambda p: float(distribution.quantile(np.array([p]))[0]), 1e-12, 1 - 1e-12, limit=200)
    assert distribution.mean == pytest.approx(mean, abs=1e-4)


def test_variances_of_nested_and_crossed_designs_are_those_stated() -> None:
    """Of the mean of a nested 5 × 2: (.8 + .2/2)/5; of a crossed 5 × 4 with .4 and .3: .4/5 + .3/4 + .3/20."""
    normal, rng = DISTRIBUTIONS[0], np.random.default_rng(0)
    nested, crossed = Design("", (2,) * 5, 0.8), Design("", (5, 4), 0.4, 0.3, crossed=True)
    means = np.array([[design.draw(rng, normal).mean() for design in (nested, crossed)] for _ in range(4000)])
    assert means.var(axis=0) == pytest.approx([0.9 / 5, 0.4 / 5 + 0.3 / 4 + 0.3 / 20], rel=0.08)


def test_without_a_second_kind_of_seed_all_student_candidates_are_scipys() -> None:
    expected = stats.t.interval(0.95, 4, loc=UNIT_MEANS.mean(), scale=stats.sem(UNIT_MEANS[:, 0]))
    for name in ("runs as units", "Student", "multiway", "quadrature"):
        assert CANDIDATES[name](UNIT_MEANS, BOUNDS) == pytest.approx(expected), name
    assert CANDIDATES["seed_interval"](UNIT_MEANS, None) == pytest.approx(expected)


def test_bootstrap_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    draws = [rng.choice(UNIT_MEANS[:, 0], 5).mean() for _ in range(4000)]
    low, high = CANDIDATES["bootstrap"](UNIT_MEANS, BOUNDS)
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)


def test_betting_interval_is_the_capital_of_a_plain_loop() -> None:
    """A mean is inside while neither half of the hedged capital has reached 1/alpha."""
    x = UNIT_MEANS[:, 0]

    def inside(m: float) -> bool:
        up = down = 1.0
        seen: list[float] = []
        for value in x:
            means = [(0.5 + sum(seen[:i])) / (i + 1) for i in range(1, len(seen) + 1)]
            variance = (0.25 + sum((v - c) ** 2 for v, c in zip(seen, means, strict=True))) / (len(seen) + 1)
            bet = math.sqrt(2 * math.log(2 / 0.05) / (len(x) * variance))
            up *= 1 + min(bet, 0.5 / m) * (value - m)
            down *= 1 - min(bet, 0.5 / (1 - m)) * (value - m)
            if max(up / 2, down / 2) >= 1 / 0.05:
                return False
            seen.append(value)
        return True

    held = [m for m in np.linspace(0.001, 0.999, 999) if inside(m)]
    assert CANDIDATES["betting"](UNIT_MEANS, BOUNDS) == pytest.approx((held[0], held[-1]), abs=0.006)


def test_each_candidate_has_a_cell_in_each_design() -> None:
    for design in designs():
        found = measure(design, DISTRIBUTIONS[1], 3, np.random.default_rng(0))
        assert len(found) == len(CANDIDATES)
        few = min(design.units) < 5
        assert math.isnan(found[0].coverage) == few, design.name
        assert str(found[0]).startswith("–" if few else (".", "1")), design.name

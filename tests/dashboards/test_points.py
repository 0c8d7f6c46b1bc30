"""What stands behind points, in words and marks."""

from typing import Any

import numpy as np

from dashboards.figures.points import behind, hover, seed_marks, summary, symlog, unlike
from rsc_mlflow.analysis import points
from tests.dashboards.frames import empty, frame, run, view

BASE: dict[str, Any] = {"p_pattern": "v8", "p_n_spurious": 10, "p_dataset_seed": 0}


def _scores(*pairs: tuple[int, float]) -> list[dict[str, Any]]:
    """One finished run a (training seed, score)."""
    return [run(i, p_random_seed=seed, m={"spurious/score": value}, **BASE) for i, (seed, value) in enumerate(pairs)]


def test_few_seeds_are_drawn_one_by_one_and_many_with_an_interval() -> None:
    few = points(frame(*_scores((0, 0.2), (1, 0.4))), ["paper"], "spurious/score")
    assert seed_marks(few, [7.0]) == ([7.0, 7.0], [0.2, 0.4])
    assert summary(few).endswith("No point has an interval, which needs five seeds; small markers are single seeds")
    assert summary(few, seeds=False).endswith("No point has an interval, which needs five seeds")
    assert "fewer than 5 seeds, no interval: 0.200, 0.400" in hover(few, ["x"])[0]
    many = points(frame(*_scores(*((seed, 0.1 * seed) for seed in range(5)))), ["paper"], "spurious/score")
    assert seed_marks(many, [7.0]) == ([], [])
    assert "interval" not in summary(many)
    assert "95 % interval" in hover(many, ["x"])[0]


def test_summary_counts_runs_once_and_says_what_the_means_estimate() -> None:
    rows = [*_scores((0, 0.5), (1, 0.7)), run(9, status="RUNNING", p_random_seed=2, m={"spurious/score": 0.1}, **BASE)]
    table = points(frame(*rows), ["paper"], "spurious/score")
    assert summary(table).startswith(
        "1 point · 2 runs · 2 seeds each · means over training seeds; dataset seed 0 fixed · 1 still running and left"
    )
    assert behind(table.iloc[0]) == "2 runs · over training seeds; dataset seed 0 fixed · 1 still running"


def test_a_mean_over_unlike_runs_says_so() -> None:
    rows = [
        run(i, p_random_seed=i, p_optimizer=o, m={"spurious/score": 0.5}, **BASE) for i, o in enumerate(["sgd", "adam"])
    ]
    table = points(frame(*rows), ["paper"], "spurious/score")
    assert unlike(table) == "Means include runs that differ in optimizer. Use the filters."
    assert unlike(points(frame(*rows), ["paper", "optimizer"], "spurious/score")) == ""


def test_nothing_to_show_is_said() -> None:
    assert summary(points(view(empty()).runs, ["paper", "n_spurious"], "spurious/score")) == "no points"


def test_symlog_keeps_zero_and_one_and_is_logarithmic_beyond() -> None:
    assert symlog([0, 1, 10, 100, -10]).tolist() == [0, 1, 2, 3, -2]
    assert np.isnan(symlog([np.nan])[0])

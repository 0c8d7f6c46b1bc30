"""Points against hand counts and scipy."""

import numpy as np
import pytest
from scipy import stats

from dashboards.figures.points import averaged_over, points, series, summary, symlog
from tests.dashboards.frames import close, empty, frame, run, view

BASE = {"p_pattern": "v8", "p_n_spurious": 10, "p_dataset_seed": 0}


def _scores(*pairs: tuple[int, float]) -> list[dict]:
    """One finished run a (seed, score)."""
    return [run(i, p_random_seed=seed, m={"spurious/score": value}, **BASE) for i, (seed, value) in enumerate(pairs)]


def test_mean_goes_over_seeds_after_averaging_within_each() -> None:
    table = points(frame(*_scores((0, 0.2), (0, 0.4), (1, 0.9))), ["paper", "n"], "spurious/score")
    assert table["mean"].tolist() == [pytest.approx((0.3 + 0.9) / 2)]
    assert table[["runs", "seeds", "running", "failed", "copies"]].to_numpy().tolist() == [[3, 2, 0, 0, 0]]


def test_interval_is_students_t_over_seeds() -> None:
    values = [0.1, 0.25, 0.3, 0.55]
    row = points(frame(*_scores(*enumerate(values))), ["paper"], "spurious/score").iloc[0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert close([row["low"], row["high"]], [low, high])


def test_one_seed_has_no_interval() -> None:
    row = points(frame(*_scores((0, 0.5), (0, 0.7))), ["paper"], "spurious/score").iloc[0]
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


def test_failures_count_once_a_fingerprint_and_only_if_nothing_of_it_finished() -> None:
    good = _scores((0, 0.5), (1, 0.6))
    lost = [run(i, status="FAILED", fingerprint="lost", p_random_seed=2, **BASE) for i in (10, 11)]
    made_good = run(12, status="KILLED", fingerprint="f0", p_random_seed=0, **BASE)
    table = points(frame(*good, *lost, made_good), ["paper", "n"], "spurious/score")
    assert table["failed"].tolist() == [1]
    assert table["runs"].tolist() == [2]


def test_repetitions_are_left_out_and_counted() -> None:
    first = run(0, fingerprint="same", p_random_seed=0, m={"spurious/score": 0.1}, **BASE)
    newer = run(1, fingerprint="same", p_random_seed=0, m={"spurious/score": 0.3}, **BASE)
    table = points(frame(first, newer), ["paper"], "spurious/score")
    assert table["mean"].tolist() == [0.3]  # the newer one
    assert table[["runs", "copies"]].to_numpy().tolist() == [[1, 1]]


def test_several_quantities_at_once_equal_each_alone() -> None:
    random = np.random.default_rng(0)
    rows = [
        run(
            i,
            p_pattern=random.choice(["v1", "v8"]),
            p_n_spurious=random.integers(3),
            p_random_seed=random.integers(4),
            status=random.choice(["FINISHED", "FINISHED", "FAILED"]),
            m={name: random.random() for name in ("a", "b") if random.random() < 0.8},
        )
        for i in range(80)
    ]
    runs = frame(*rows)
    both = series(runs, ["paper", "n"], {"a": runs["metrics.a"], "b": runs["metrics.b"]})
    for name in ("a", "b"):
        alone = points(runs, ["paper", "n"], name)
        part = both[both["series"] == name].reset_index(drop=True)
        columns = ["mean", "low", "high", "sd", "runs", "seeds", "failed", "copies"]
        assert close(part[columns].astype(float), alone[columns].astype(float))


def test_a_run_without_a_value_to_group_by_has_no_point() -> None:
    runs = frame(*_scores((0, 0.5), (1, 0.75)))
    runs["group"] = runs["metrics.spurious/score"].map({0.5: "x"})
    table = points(runs, ["group"], "spurious/score")
    assert table[["group", "mean", "runs"]].to_numpy().tolist() == [["x", 0.5, 1]]


def test_links_name_experiment_and_run() -> None:
    table = points(frame(*_scores((0, 0.5))), ["paper"], "spurious/score")
    assert table["links"].tolist() == [f"1:{0:032x}"]


def test_nothing_to_show_is_an_empty_table() -> None:
    runs = view(empty()).runs
    table = points(runs, ["paper", "n"], "spurious/score")
    assert table.empty
    assert {"paper", "n", "mean", "failed", "links"} <= set(table.columns)
    assert summary(table) == "no points"


def test_summary_counts_runs_once_and_names_what_is_averaged_over() -> None:
    rows = [
        run(i, p_random_seed=i % 2, p_optimizer=o, m={"spurious/score": 0.5, "test/accuracy": 0.9}, **BASE)
        for i, o in enumerate(["sgd", "sgd", "adam", "adam"])
    ]
    runs = frame(*rows)
    columns = {name: runs[f"metrics.{name}"] for name in ("spurious/score", "test/accuracy")}
    assert summary(series(runs, ["paper"], columns)).startswith("2 points · 4 runs · 2 seeds each")
    assert averaged_over(runs, ["paper"]) == ". Averaged over 2 optimisers"
    assert averaged_over(runs, ["paper", "optimizer"]) == ""


def test_symlog_keeps_zero_and_one_and_is_logarithmic_beyond() -> None:
    assert symlog([0, 1, 10, 100, -10]).tolist() == [0, 1, 2, 3, -2]

"""What a figure says about the recipes that it shows and leaves out, and what the list of unreadable values says."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rsc_mlflow.analysis import alike, points, problems, read
from rsc_mlflow.analysis.values import unreadable_values
from tests.dashboards.frames import frame, run

OTHERS = "Runs with different settings are not averaged. These runs differ in"


def _runs(*counts: int, epochs: int = 10, **more: Any) -> list[dict[str, Any]]:
    """Runs of recipes that differ in their epochs, ``counts[i]`` runs of the i-th; 0: one run that is still running."""
    rows = []
    for place, count in enumerate(counts):
        for seed in range(max(count, 1)):
            status = "FINISHED" if count else "RUNNING"
            values = {"p_epochs": epochs + place, "p_random_seed": seed, "p_pattern": "v20", **more}
            number = 100 * (epochs + place) + seed + 10_000 * len(str(more))
            rows.append(run(number, status=status, m={"spurious/score": 0.5}, **values))
    return rows


def test_the_notice_names_the_first_recipes_and_counts_the_others() -> None:
    found = alike(frame(*_runs(7, 6, 5, 4, 3, 1)), [])
    assert found.notice == (
        "Shown: 10 epochs (7 runs). Not shown: 11 epochs (6 runs); 12 epochs (5 runs); 13 epochs (4 runs); "
        f"2 further recipes (4 runs). {OTHERS} epochs (10, 11, 12, 3 more)."
    )


def test_one_recipe_and_one_run_are_singular_and_a_recipe_may_have_no_finished_run() -> None:
    found = alike(frame(*_runs(7, 6, 5, 4, 1)), [])
    assert "13 epochs (4 runs); 1 further recipe (1 run)." in found.notice
    found = alike(frame(*_runs(2, 0)), [])
    assert found.notice == (
        f"Shown: 10 epochs (2 runs). Not shown: 11 epochs (no finished runs). {OTHERS} epochs (10, 11)."
    )
    assert set(found.runs["epochs"]) == {10}


def test_the_recipes_of_facets_are_named_with_their_facet() -> None:
    rows = _runs(2, 1, p_dataset_family="mnist") + _runs(1, epochs=12, p_dataset_family="digits")
    found = alike(frame(*rows), ["dataset_family"], split="dataset_family")
    assert found.notice.startswith("Shown: mnist: 10 epochs (2 runs); digits: 12 epochs (1 run). Not shown: mnist: 11")
    labels = found.runs.groupby("dataset_family")["recipe"].unique().map(list).to_dict()
    assert labels == {"digits": ["12 epochs"], "mnist": ["10 epochs"]}


def test_a_recipe_with_a_run_at_more_points_comes_first_even_if_another_has_more_runs() -> None:
    rows = (
        _runs(1, p_n_spurious=3) + _runs(1, p_n_spurious=20) + _runs(3, epochs=5, p_n_spurious=3) + _runs(0, epochs=7)
    )
    found = alike(frame(*rows), ["n_spurious"], cover=["n_spurious"], most=3)
    assert [(recipe.label, recipe.runs) for recipe in found.drawn] == [
        ("10 epochs", 2),
        ("5 epochs", 3),
        ("7 epochs", 0),
    ]


def test_runs_that_have_not_finished_do_not_bring_their_recipe_to_the_front() -> None:
    waiting = [row for count in (3, 20, 100) for row in _runs(0, epochs=7, p_n_spurious=count)]
    rows = waiting + _runs(1, epochs=7, p_n_spurious=5) + _runs(1, p_n_spurious=3) + _runs(1, p_n_spurious=20)
    found = alike(frame(*rows), ["n_spurious"], cover=["n_spurious"], most=2)
    assert [(recipe.label, recipe.runs) for recipe in found.drawn] == [("10 epochs", 2), ("7 epochs", 1)]


def test_a_point_links_its_runs_with_their_experiment_if_it_is_known() -> None:
    runs = frame(*_runs(2))
    ids = runs["run_id"].tolist()
    assert points(runs, ["pattern"], "spurious/score")["links"].tolist() == [f"1:{ids[0]},1:{ids[1]}"]
    assert points(runs, ["pattern"], "spurious/score")["units"].dtype.kind == "i"
    without = points(runs.drop(columns="experiment_id"), ["pattern"], "spurious/score")
    assert without["links"].tolist() == [f":{ids[0]},:{ids[1]}"]


def test_all_unreadable_values_of_a_run_are_listed_newest_run_first() -> None:
    rows = [
        run(1, m={"spurious/score": 0.5}),
        run(2, m={"spurious/score": 7.0, "test/accuracy": -1.0}, p_epochs="many"),
        run(3, m={"spurious/score": 7.0}),
        run(4, p_epochs="many"),
    ]
    every = read(pd.DataFrame.from_records(rows))
    found = problems(every)
    assert found["run_name"].tolist() == ["run 4", "run 3", "run 2"]
    last, score, both = found["problem"]
    assert last.startswith("epochs: 'many' (expected an integer")
    assert score == "spurious/score: 7 (expected 0 to 1)"
    assert both == f"{last}; {score}; test/accuracy: -1 (expected 0 to 1)"
    assert list(found.columns) == ["run_name", "experiment_id", "run_id", "problem"]
    same = [run(number, p_epochs="many") | {"start_time": 1.0e6} for number in range(40)]
    listed = problems(read(pd.DataFrame.from_records(same)))["run_name"]
    assert listed.tolist() == [f"run {number}" for number in range(40)]


def test_texts_are_objects_and_only_unlearning_runs_have_options_of_a_method() -> None:
    every = read(pd.DataFrame.from_records([run(1, p_epochs=5), run(2, kind="unlearn", p_damping=0.1)]))
    assert every["method_options"].tolist() == ["", "damping=0.1"]
    assert {str(every[name].dtype) for name in ("kind", "dataset", "optimizer", "method_options", "paper")} == {
        "object"
    }


def test_a_table_without_times_has_no_times() -> None:
    runs = read(pd.DataFrame.from_records([run(0)]).drop(columns=["start_time", "end_time"]))
    assert runs["started_ms"].dtype == float
    assert runs[["started_ms", "started"]].isna().all(axis=None)


def test_unreadable_values_keep_the_index_of_the_runs() -> None:
    runs = pd.DataFrame({"metrics.test/loss": [np.nan, -1.0], "metrics.test/accuracy": [2.0, 0.5]}, index=[7, 3])
    expected = {7: "test/accuracy: 2 (expected 0 to 1)", 3: "test/loss: -1 (expected a finite number ≥ 0)"}
    assert unreadable_values(runs).to_dict() == expected


@pytest.mark.parametrize("missing", [[], ["n_spurious"]])
def test_no_runs_are_alike(missing: list[str]) -> None:
    found = alike(frame(*_runs(1))[:0], missing)
    assert (len(found.runs), found.drawn, found.notice) == (0, (), "")

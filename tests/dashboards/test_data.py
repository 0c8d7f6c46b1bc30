"""Filters in the address, fingerprints, columns."""

import numpy as np
import pandas as pd
import pytest

from dashboards.data import Filters, choices
from rsc_mlflow.analysis import latest_per_fingerprint, read
from rsc_mlflow.analysis.values import metric, unreadable
from rsc_mlflow.errors import InputError
from tests.dashboards.frames import frame, made_up, run

EXPERIMENTS = {"1": "made-up"}


def test_an_address_holds_all_filters_and_comes_back_the_same() -> None:
    filters = Filters(
        experiment=("a&b", "c d"),
        family=("mnist",),
        target=("0", "2"),
        filter="params.x = 'é&='",
        options={"facet": ("target",)},
    )
    assert Filters.parse(filters.search()) == filters


def test_an_empty_address_lets_everything_through() -> None:
    runs = read(made_up(60))
    assert Filters.parse("") == Filters.parse(None) == Filters()
    assert len(Filters().apply(runs, EXPERIMENTS)) == 60
    assert Filters().search() == ""


def test_filters_are_joined_by_and_and_their_values_by_or() -> None:
    runs = read(made_up(300))
    filters = Filters.parse("?family=mnist&optimizer=sgd&optimizer=adam&target=1")
    kept = filters.apply(runs, EXPERIMENTS)
    by_hand = runs[
        (runs["params.dataset_family"] == "mnist")
        & runs["params.optimizer"].isin(["sgd", "adam"])
        & ((runs["params.target_class"] == "1") | (runs["params.pattern"] == "none"))
    ]
    assert 0 < len(kept) < len(runs)
    assert kept["run_id"].tolist() == by_hand["run_id"].tolist()


def test_an_experiment_is_named_not_numbered() -> None:
    runs = read(made_up(20))
    assert len(Filters(("made-up",)).apply(runs, EXPERIMENTS)) == 20
    assert len(Filters(("other",)).apply(runs, EXPERIMENTS)) == 0


def test_a_bad_filter_says_what_is_accepted() -> None:
    with pytest.raises(InputError, match=r"Invalid MLflow filter.*Expected for example params"):
        Filters(filter="params.x = ").apply(read(made_up(5)), EXPERIMENTS)


def test_the_newest_finished_run_of_a_fingerprint_stands_for_it() -> None:
    rows = [
        run(0, fingerprint="a"),
        run(1, fingerprint="a"),
        run(2, fingerprint="a", status="FAILED"),
        run(3, fingerprint="b", status="FAILED"),
        run(4, fingerprint="b", status="KILLED"),
    ]
    kept = frame(*rows).set_index("fingerprint")
    assert kept["run_name"].to_dict() == {"a": "run 1", "b": "run 4"}
    assert kept["copies"].to_dict() == {"a": 1, "b": 0}
    assert kept["lost"].to_dict() == {"a": False, "b": True}


def test_runs_without_a_fingerprint_all_count() -> None:
    rows = [run(i) | {"tags.rsc.fingerprint": None} for i in range(3)]
    assert len(latest_per_fingerprint(read(pd.DataFrame.from_records(rows)))) == 3


def test_values_quoted_by_mlflow_run_are_unquoted_and_numbers_are_numbers() -> None:
    prepared = frame(run(0, p_optimizer="'sgd'", p_n_spurious="'10'", p_pattern="v20", p_target_class="none"))
    row = prepared.iloc[0]
    assert (row["optimizer"], row["n_spurious"], row["paper"]) == ("sgd", 10.0, "R3")
    assert row["target_class"] == "none"


def test_choices_are_what_the_runs_have() -> None:
    found = choices(read(made_up(400)), EXPERIMENTS)
    assert list(found["family"]) == ["fashion", "mnist"]
    assert list(found["target"]) == ["0", "1", "2"]
    assert list(found["experiment"]) == ["made-up"]
    assert list(found["count"]) == sorted(found["count"], key=float)
    assert "" not in found["method"]


def test_a_sweep_is_chosen_by_its_name_and_the_head_of_its_id() -> None:
    rows = [run(0, kind="sweep") | {"tags.rsc.sweep": "abcdef123"}, run(1) | {"tags.rsc.sweep": "abcdef123"}]
    found = choices(read(pd.DataFrame.from_records([*rows, run(2) | {"tags.rsc.sweep": "other"}])), EXPERIMENTS)
    assert found["sweep"] == {"other": "other", "abcdef123": "run 0 (abcdef)"}


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("architecture", "params.architecture", "LargeMLP"),
        ("epochs", "params.epochs", "70"),
        ("count", "params.n_spurious", "10"),
        ("method", "tags.rsc.method", "group_influence"),
        ("seed", "params.random_seed", "1"),
    ],
)
def test_every_filter_keeps_the_runs_with_its_value(name: str, column: str, value: str) -> None:
    runs = read(made_up(300))
    kept = Filters.parse(f"?{name}={value}").apply(runs, EXPERIMENTS)
    clean = (runs["params.pattern"] == "none") & (name == "count")
    by_hand = runs[(runs[column].astype(str) == value) | clean]
    assert 0 < len(kept) < len(runs)
    assert kept["run_id"].tolist() == by_hand["run_id"].tolist()


def test_a_share_that_rounding_moved_past_its_end_is_the_end() -> None:
    runs = pd.DataFrame({"metrics.spurious/p_value": [1 + 2.3e-16, -1e-17, 1.001, 0.5]})
    assert runs["metrics.spurious/p_value"][0] > 1
    assert metric(runs, "spurious/p_value").tolist()[:2] == [1.0, 0.0]
    assert np.isnan(metric(runs, "spurious/p_value")[2])
    assert unreadable(runs, "spurious/p_value").tolist() == [False, False, True, False]

"""The one aggregation module: what a unit is, what counts, what is alike, and that every page shows its numbers."""

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dashboards.pages import PAGES
from dashboards.panels import Panel
from rsc_mlflow.analysis import (
    above_clean,
    alike,
    interval_bounds,
    latest_per_fingerprint,
    mitigation,
    points,
    read,
    series,
    trained,
    with_clean_scores,
)
from rsc_mlflow.analysis.above_clean import parse, test_point
from rsc_mlflow.analysis.alike import _differing
from rsc_mlflow.analysis.settings import SEEDS, SETTINGS, label
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.statistics import holm
from rsc_mlflow.unlearning.base import METHODS
from tests.dashboards.frames import frame, run, view
from tests.test_analysis import GRID

test_point.__test__ = False  # type: ignore[attr-defined]
RECIPE = {
    "p_dataset_family": "mnist",
    "p_dataset": "mnistv20-3-0-0",
    "p_pattern": "v20",
    "p_n_spurious": 3,
    "p_target_class": 0,
    "p_architecture": "LargeMLP",
    "p_optimizer": "sgd",
    "p_epochs": 30,
    "p_weight_decay": 0,
}


def _run(number: int, data: int, training: int, score: float, **more: Any) -> dict[str, Any]:
    row = {**RECIPE, "p_dataset_seed": data, "p_random_seed": training, "p_pattern_seed": "auto", **more}
    return run(number, **({"m": {"spurious/score": score}} | row))


def _crossed(data: int, training: int, score: np.ndarray) -> list[dict[str, Any]]:
    pairs = itertools.product(range(data), range(training))
    return [_run(i, d, t, float(score[d, t])) for i, (d, t) in enumerate(pairs)]


def test_a_crossed_three_by_five_design_has_three_units_and_no_interval() -> None:
    score = np.clip(np.random.default_rng(0).normal(0.5, 0.1, (3, 5)), 0, 1)
    row = points(frame(*_crossed(3, 5, score)), ["paper"], "spurious/score").iloc[0]
    assert (row["units"], row["runs"], row["mean"]) == (3, 15, pytest.approx(score.mean()))
    assert np.isnan(row["low"])
    assert row["each"] == pytest.approx(tuple(score.mean(axis=1)))  # one mark a dataset seed
    assert row["over"].startswith("over dataset")


def test_training_seeds_nested_in_data_set_seeds_are_averaged_within_them() -> None:
    rows = [_run(10 * d + t, d, 10 * d + t, 0.1 * d + 0.01 * t) for d in range(4) for t in range(2)]
    row = points(frame(*rows), ["paper"], "spurious/score").iloc[0]
    assert (row["units"], row["runs"]) == (4, 8)
    assert row["each"] == pytest.approx((0.005, 0.105, 0.205, 0.305))


def test_runs_that_differ_in_their_pattern_seed_alone_are_units_of_their_own() -> None:
    rows = [_run(i, 0, 0, 0.1 * i, p_pattern_seed=i) for i in range(5)]
    row = points(frame(*rows), ["paper"], "spurious/score").iloc[0]
    assert (row["units"], row["over"]) == (5, "over pattern seeds; dataset seed 0 and training seed 0 fixed")
    patch = [_run(i, 0, 0, 0.1 * i, p_pattern="v8", p_pattern_seed=i) for i in range(5)]
    assert points(frame(*patch), ["paper"], "spurious/score")["units"].tolist() == [1]  # a patch has no noise


def test_the_grid_without_one_run_is_averaged_the_same_on_the_page_as_in_the_module() -> None:
    """Of 3 examples, weight decay 0, the run of seed 0 is not there; the other count has all five seeds."""
    rows = pd.DataFrame(GRID[1:]).assign(run_id=[f"{i:032x}" for i in range(len(GRID) - 1)])
    found = mitigation(rows, "weight_decay", per_count=True)
    for count, mean, units in ((3, 0.525, 4), (20, 0.92, 5)):
        panel = _panel("mitigation", "weight_decay", rows, f"?n={count}")
        row = panel.table[(panel.table["weight_decay"] == 0) & (panel.table["measure"] == "spurious/score")].iloc[0]
        assert (row["mean"], row["units"]) == (pytest.approx(mean), units)
        module = (found["n_spurious"] == count) & (found["weight_decay"] == 0) & (found["outcome"] == "score")
        assert found[module]["mean"].tolist() == [pytest.approx(mean)]


def _panel(path: str, key: str, raw: pd.DataFrame, search: str = "") -> Panel:
    look = view(raw, search)
    return next(
        panel
        for panel in (build(look) for build in next(page for page in PAGES if page.path == path).panels)
        if panel.key == key
    )


STATUSES = ("FINISHED", "RUNNING", "SCHEDULED", "FAILED", "KILLED", "ODD")


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(range(6), 2)))
def test_a_fingerprint_is_its_finished_run_else_one_that_has_not_ended_else_a_lost_one(better: int, worse: int) -> None:
    """Whichever is newer: a finished run stands before one that runs, and that before one that failed."""
    rank = {"FINISHED": 2, "RUNNING": 1, "SCHEDULED": 1}
    one, other = STATUSES[better], STATUSES[worse]
    for first, second in ((one, other), (other, one)):
        rows = [run(0, fingerprint="f", status=first), run(1, fingerprint="f", status=second)]
        (kept,) = latest_per_fingerprint(read(pd.DataFrame.from_records(rows))).to_dict("records")
        best = max((first, second), key=lambda status: (rank.get(status, 0), status == second))
        assert kept["status"] == (second if rank.get(first, 0) == rank.get(second, 0) else best)
        states = rank.get(str(kept["status"]), 0)
        assert (kept["counts"], kept["running"], kept["lost"]) == (states == 2, states == 1, states == 0)


def test_further_finished_runs_are_copies_and_the_newest_stands() -> None:
    rows = [run(i, fingerprint="f", status=s) for i, s in enumerate(["FINISHED"] * 3 + ["RUNNING", "FAILED"])]
    (kept,) = frame(*rows).to_dict("records")
    assert (kept["run_name"], kept["copies"]) == ("run 2", 2)


def test_every_setting_of_a_fingerprint_is_held_equal() -> None:
    """What decides a result by the options' own account is a setting, a seed, or named here with its reason."""
    named = {"format", "kind", "method"}  # the code's own; pages show kinds and methods apart
    parts = {"dataset", "model"}  # read as family, pattern, number, class and form; architecture, loss and augmentation
    known = {*SETTINGS, *SEEDS.values(), *named, *parts, "model_uri", "attacks"}
    train = TrainOptions.from_mapping({"dataset": "mnistv20-3-0-0"})
    attack = MembershipOptions.from_mapping({"dataset": "memmnistv20-3-0-0"})
    assert set(train.identity()) - known == set()
    assert set(attack.identity()) - known == set()
    from rsc_mlflow.analysis.settings import METHOD_OPTIONS, OF_SOURCE

    for options in map(method_options, METHODS):
        own = options.from_mapping({"dataset": "mnistv20-3-0-0"}).own()
        assert set(own) - {*METHOD_OPTIONS, "influences"} <= set(OF_SOURCE), options.METHOD
        assert set(options.HIDDEN) <= set(OF_SOURCE), options.METHOD


def test_a_run_of_mlflow_run_is_like_one_of_the_command_itself() -> None:
    """``mlflow run`` stores the threshold as typed (``auto``), the command the number that it stands for."""
    stored = ({"p_score_threshold": "auto"}, {"p_score_threshold": "0.1"}, {"p_score_threshold": "0.2"})
    runs = frame(*(_run(i, i, 0, 0.1, **{"p_dataset_family": "mnist", **one}) for i, one in enumerate(stored)))
    assert runs.sort_values("run_name")["score_threshold"].tolist() == [0.1, 0.1, 0.2]
    assert len(alike(runs, []).runs) == 2


def test_a_methods_own_option_of_a_training_options_name_is_held_equal() -> None:
    shared = {"kind": "unlearn", "p_source_learning_rate": "0.01", "p_source_epochs": "10", "p_epochs": "20"}
    rows = [_run(i, i, 0, 0.1, p_learning_rate=rate, **shared) for i, rate in enumerate(("auto", "auto", "0.1"))]
    runs = frame(*rows)
    assert set(runs["learning_rate"]) == {0.01}
    assert set(runs["method_options"]) == {"epochs=20, learning_rate=auto", "epochs=20, learning_rate=0.1"}
    assert len(alike(runs, []).runs) == 2


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in ("source_kind", "form", "method_options")])
def test_runs_that_differ_in_any_setting_are_never_averaged(name: str) -> None:
    values = {"pattern": ("v20", "v8"), "target_class": ("0", "1"), "precision": ("float32", "tf32")}
    one, other = values.get(name, ("1", "2"))
    rows = [_run(i, i, 0, 0.1, **{f"p_{name}": value}) for i, value in enumerate((one, one, other))]
    runs = frame(*rows)
    found = alike(runs, [])
    assert len(found.runs) == 2
    assert "Runs with different settings are not averaged" in found.notice
    assert points(runs, ["kind"], "spurious/score")["mixed"].iloc[0] != ""
    assert points(found.runs, ["kind"], "spurious/score")["mixed"].iloc[0] == ""


CLEAN = [0.0, 0.01, 0.02, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.4]


def _tagged(number: int, data: int, training: int, score: float, **more: Any) -> dict[str, Any]:
    tag = json.dumps({str(j): value + 0.001 * data for j, value in enumerate(CLEAN)})
    return _run(number, data, training, score, **more) | {"tags.rsc.clean_scores": tag}


def test_a_point_is_tested_by_the_exact_rank_sum_of_training_seeds() -> None:
    """Two dataset seeds, five training seeds: five poisoned values against ten clean ones, dealt round robin."""
    scores = {(d, t): 0.3 + 0.05 * t + 0.1 * d for d in range(2) for t in range(5)}
    rows = [_tagged(i, d, t, value) for i, ((d, t), value) in enumerate(scores.items())]
    found = above_clean(with_clean_scores(frame(*rows)), ["paper", "n_spurious"]).iloc[0]
    x = [np.mean([scores[0, t], scores[1, t]]) for t in range(5)]
    y = [value + 0.0005 for value in CLEAN]  # each on the patterns of both dataset seeds
    assert found["p_value"] == pytest.approx(stats.mannwhitneyu(x, y, alternative="greater", method="exact").pvalue)
    assert (found["n_poisoned"], found["n_clean"]) == (5, 10)


def test_each_clean_model_is_compared_on_the_patterns_of_one_training_seed() -> None:
    """Training seed 0 was run on a pattern that clean models like, seed 1 on one they do not."""
    likes, dislikes = {"0": 0.9, "1": 0.9, "2": 0.9}, {"0": 0.1, "1": 0.1, "2": 0.1}
    found = test_point([0.5, 0.5], ["0", "1"], [likes, dislikes])
    assert found is not None
    expected = stats.permutation_test(
        ([0.5, 0.5], [0.9, 0.1, 0.9]),  # clean models 0 and 2 on the first pattern, 1 on the second
        lambda a, b: float(stats.rankdata([*a, *b])[:2].sum()),
        alternative="greater",
        permutation_type="independent",
        vectorized=False,
    )
    assert found.p_value == pytest.approx(expected.pvalue)


def test_only_clean_models_scored_on_all_runs_of_a_point_are_compared() -> None:
    second = {"0": 0.2, "2": 0.9}
    found = test_point([0.5, 0.5, 0.5], ["0", "1", "2"], [{"0": 0.2, "1": 0.9}, second, {"0": 0.2, "1": 0.9}])
    assert found is not None
    assert found.clean == 1
    assert test_point([0.5, 0.5], ["0", "1"], [{"1": 0.9}, {"2": 0.9}]) is None


def test_one_training_seed_cannot_be_below_one_in_eleven_and_points_are_corrected_together() -> None:
    rows = [_tagged(i, i, 0, 0.9) for i in range(5)] + [_tagged(9, 0, 0, 0.0, p_n_spurious=20)]
    found = above_clean(with_clean_scores(frame(*rows)), ["paper", "n_spurious"]).set_index("n_spurious")
    assert found["p_value"].to_dict() == pytest.approx({3: 1 / 11, 20: 1})
    assert found["p_holm"].tolist() == pytest.approx(holm([1 / 11, 1]).tolist())


def test_runs_without_the_tag_fall_back_to_clean_runs_of_their_recipe_and_old_p_values_are_ignored() -> None:
    clean = {"p_pattern": "none", "p_n_spurious": 0, "p_target_class": "none", "p_dataset": "mnist"}
    base = {"reference/v20/score_target_0": 0.1}
    cleans = [_run(50 + t, 0, t, 0, m=base, **clean) for t in range(4)]
    other = _run(60, 0, 9, 0, m=base, **{**clean, "p_epochs": 5})
    at_zero = [_run(t, 0, t, 0.5, m={"spurious/score": 0.5, "spurious/p_value": 1e-9}) for t in range(2)]
    elsewhere = [_run(10 + t, 3, t, 0.5, p_n_spurious=20) for t in range(2)]  # the clean runs know noise 0 only
    runs = frame(*cleans, other, *at_zero, *elsewhere)
    found = above_clean(with_clean_scores(runs), ["n_spurious"])
    assert found[["n_spurious", "n_clean", "p_value"]].to_numpy().tolist() == [[3, 4, pytest.approx(1 / 15)]]


@pytest.mark.parametrize("text", ["", "x", "[1]", '{"0": "a"}', '{"0": 2}', '{"0": NaN}', '{"0": true}', "[" * 99999])
def test_a_tag_that_holds_no_scores_is_none(text: str) -> None:
    assert parse(text) == {}


def _store() -> pd.DataFrame:
    """Crossed seeds, a missing cell, repetitions, unfinished, unreadable and foreign runs, and another recipe."""
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for pattern, n, data, training in itertools.product(("v8", "v20"), (3, 20), range(3), range(5)):
        metrics = {"spurious/score": random.random(), "test/accuracy": 0.9, "spurious/test_accuracy": random.random()}
        metrics["spurious/pattern_norm"] = 4.0 + len(pattern)
        name = {"p_pattern": pattern, "p_n_spurious": n, "p_dataset": f"mnist{pattern}-{n}-0-{data}", "m": metrics}
        rows.append(_run(len(rows), data, training, 0, **name))
    rows.pop(7)
    again = {**rows[0], "run_id": f"{900:032x}", "start_time": 1.0, "metrics.spurious/score": 0.99}
    running = _run(901, 7, 7, 0.99) | {"status": "RUNNING"}
    failed = _run(902, 8, 8, 0.99) | {"status": "FAILED"}
    odd = _run(903, 0, 0, 0.99, p_random_seed="inf")
    foreign = {**_run(904, 9, 9, 0.99), "tags.rsc.kind": None}
    shorter = _run(905, 0, 0, 0.01, p_epochs=5)
    return pd.DataFrame.from_records([*rows, again, running, failed, odd, foreign, shorter])


def test_every_page_shows_the_numbers_of_the_module() -> None:
    raw = _store()
    runs = trained(raw[raw["params.epochs"] == "30"])
    assert len(runs) == 59
    expected = points(runs, ["paper", "n_spurious"], "spurious/score")
    by_hand = runs.groupby(["paper", "n_spurious", "dataset_seed"])["score"].mean()
    assert set(expected["units"]) == {3}
    whole = expected.set_index(["paper", "n_spurious"])
    assert by_hand["S3", 20.0].tolist() == pytest.approx(list(whole["each"]["S3", 20.0]))
    measures = ["mean", "units", "runs", "over", "each", "copies"]
    curves = _panel("scores", "curves", raw)
    assert "sgd" not in curves.note
    assert "5 epochs (1 run)" in curves.notice
    shown = curves.table[~curves.table["baseline"]].set_index(["paper", "n_spurious"])
    assert shown[measures].equals(whole[measures])
    for path, key, column in (("factors", "architecture", "architecture"), ("factors", "norms", "dataset_family")):
        table = _panel(path, key, raw, "?n=20").table.set_index("paper")
        assert table[measures].equals(whole.xs(20.0, level="n_spurious")[measures]), (path, key)
        averaged = _panel(path, key, raw, "?n=all").table.set_index("paper")
        both = points(runs, [column, "paper"], "spurious/score", average=["n_spurious"]).set_index("paper")
        assert averaged[measures].equals(both[measures]), (path, key)
    assert both.loc["S3", "incomplete"] == 1  # the missing run's twin at the other number


def test_like_with_like_after_one_run_of_another_recipe() -> None:
    """As after the quickstart and one short run: the curve stays, and the run is named."""
    rows = [_run(i, i, 0, 0.9) for i in range(2)] + [_run(5, 0, 1, 0.0, p_epochs=5, p_optimizer="sgd")]
    rows[0]["params.optimizer"] = rows[1]["params.optimizer"] = "adam"
    panel = _panel("scores", "curves", pd.DataFrame.from_records(rows))
    assert panel.table["mean"].tolist() == [0.9]
    assert "Not shown: mnist: sgd · 5 epochs (1 run)" in panel.notice


def test_values_of_a_setting_are_listed_in_order_and_words_after_numbers() -> None:
    runs = pd.DataFrame({"epochs": pd.Series(["auto", 30.0, 5.0, None, 30.0], dtype=object)})
    assert _differing(runs, "epochs") == "epochs (5, 30, auto)"


def test_a_label_names_the_settings_that_have_no_value() -> None:
    assert (
        label({"loss": "", "momentum": np.nan, "epochs": 5.0, "weight_decay": 0.0})
        == "no loss · no momentum · 5 epochs"
    )


def test_optimizers_without_momentum_have_none_whatever_was_given() -> None:
    rows = [_run(i, 0, 0, 0.5, p_optimizer=name, p_momentum=0.9) for i, name in enumerate(["sgd", "adam", "adagrad"])]
    assert frame(*rows).set_index("optimizer")["momentum"].to_dict() == {"sgd": 0.9, "adam": 0.0, "adagrad": 0.0}


def test_one_example_is_not_one_examples() -> None:
    assert [SETTINGS["n_spurious"][1](n) for n in (1.0, 3.0, 5000)] == ["1 example", "3 examples", "5000 examples"]


def test_means_of_a_metric_are_bounded_as_its_values() -> None:
    for name, bounds in {
        "spurious/score": (0, 1),
        "gap/test/accuracy": (-1, 1),
        "unlearn/kl_to_reference_pattern": (0, np.inf),
        "gap/unlearn/forget_loss": None,
        "made/up": None,
    }.items():
        assert interval_bounds(name) == bounds


def test_without_columns_to_group_by_all_runs_are_one_group() -> None:
    score = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    (row,) = points(frame(*_crossed(1, 5, score)), [], "spurious/score").to_dict("records")
    assert (row["runs"], row["units"], row["mean"]) == (5, 5, pytest.approx(0.3))


def test_a_table_without_quantities_has_the_columns_of_one_with_quantities() -> None:
    runs = frame(*_crossed(1, 2, np.array([[0.1, 0.2]])))
    whole = series(runs, ["paper"], {"score": pd.Series([0.1, 0.2], index=runs.index)})
    nothing = series(runs, ["paper"], {})
    assert (len(whole), len(nothing)) == (1, 0)
    assert list(nothing.columns) == list(whole.columns)

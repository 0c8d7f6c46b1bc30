"""The paper's comparisons from frames of made-up runs whose answers can be counted by hand."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rsc_mlflow.analysis import mitigation, mitigation_effect, norm_correlation, norms, over_seeds, read, trained
from rsc_mlflow.analysis.comparisons import common_cells
from rsc_mlflow.errors import InputError
from rsc_mlflow.replication import seed_interval

DEFAULTS = {
    "dataset_family": "mnist",
    "architecture": "LargeMLP",
    "optimizer": "sgd",
    "pattern": "v20",
    "n_spurious": "3",
    "target_class": "0",
    "random_seed": "0",
    "dataset_seed": "0",
    "pattern_seed": "auto",
    "epochs": "70",
    "weight_decay": "0",
    "input_noise": "0",
    "grad_clip": "0",
}


def run(score: float, params: Mapping[str, object] | None = None, **other: object) -> dict[str, object]:
    values = DEFAULTS | {key: str(value) for key, value in (params or {}).items()}
    row: dict[str, object] = {f"params.{key}": value for key, value in values.items()}
    row |= {"run_id": str(hash(tuple(values.values()))), "status": "FINISHED", "start_time": 1.0}
    row |= {"experiment_id": "1", "run_name": "run"}
    row |= {"tags.rsc.kind": "train", "tags.rsc.fingerprint": str(sorted(values.items()))}
    row |= {"metrics.spurious/score": score, "metrics.test/accuracy": 0.9, "metrics.spurious/test_accuracy": 0.8}
    row["metrics.spurious/pattern_norm"] = 4.0
    return row | other


def score_of(count: int, seed: int, decay: float) -> float:
    """Decay 0.1 takes 0.2 away at count 3 and nothing at count 20; a seed adds 0.01 of itself."""
    return (0.5 if count == 3 else 0.9) - (0.2 if decay and count == 3 else 0) + 0.01 * seed


GRID = [
    run(score_of(count, seed, decay), {"n_spurious": count, "random_seed": seed, "weight_decay": decay})
    for count, seed, decay in itertools.product((3, 20), range(5), (0.0, 0.1))
]


def pick(table: pd.DataFrame, **values: object) -> pd.Series:
    found = table[np.logical_and.reduce([table[key] == value for key, value in values.items()])]
    assert len(found) == 1, found
    return found.iloc[0]


def test_only_finished_poisoned_training_runs_count_and_each_fingerprint_once() -> None:
    again = run(0.1, start_time=0.5)
    rows = [
        run(0.7),
        again,
        run(0.2, {"pattern": "none"}),
        run(0.3, {"random_seed": 9}, status="FAILED"),
        run(0.4, {"random_seed": 8}, **{"tags.rsc.kind": "unlearn"}),
    ]
    assert trained(pd.DataFrame(rows))["score"].tolist() == [0.7]


def test_quoted_parameters_are_read() -> None:
    table = trained(pd.DataFrame([run(0.7, {"dataset_family": "'mnist'", "epochs": "'70'"})]))
    assert table.loc[0, "dataset_family"] == "mnist"
    assert table.loc[0, "epochs"] == 70


def test_mitigation_averages_counts_within_seeds_then_seeds() -> None:
    table = mitigation(pd.DataFrame(GRID), "weight_decay")
    off = pick(table, weight_decay=0.0, outcome="score")
    seeds = [0.7 + 0.01 * seed for seed in range(5)]
    interval = seed_interval(seeds, {"training": range(5)}, bounds=(0, 1))
    assert (off["mean"], off["low"], off["high"]) == pytest.approx((0.72, interval.low, interval.high))
    assert (off["units"], off["runs"], off["runs_left_out"]) == (5, 10, 0)
    assert off["over"] == "over training seeds; dataset seed 0 and pattern seed 0 fixed"
    assert off["cells"] == "3 of class 0; 20 of class 0"
    assert pick(table, weight_decay=0.1, outcome="score")["mean"] == pytest.approx(0.62)
    assert pick(table, weight_decay=0.1, outcome="clean_accuracy")["mean"] == pytest.approx(0.9)


def test_the_average_hides_what_each_count_shows() -> None:
    table = mitigation(pd.DataFrame(GRID), "weight_decay", per_count=True)
    change = {
        count: pick(table, n_spurious=count, weight_decay=0.1, outcome="score")["mean"]
        - pick(table, n_spurious=count, weight_decay=0.0, outcome="score")["mean"]
        for count in (3, 20)
    }
    assert change[3] == pytest.approx(-0.2)
    assert change[20] == pytest.approx(0, abs=1e-12)


def test_a_missing_run_leaves_its_seed_out_and_is_counted() -> None:
    without_one = pd.DataFrame(GRID[1:])  # count 3, seed 0, decay 0 is gone
    off = pick(mitigation(without_one, "weight_decay"), weight_decay=0.0, outcome="score")
    assert off["mean"] == pytest.approx(0.7 + 0.01 * 2.5)
    assert (off["units"], off["runs"], off["runs_left_out"]) == (4, 8, 1)
    assert math.isnan(off["low"])
    assert off["each"] == pytest.approx((0.71, 0.72, 0.73, 0.74))


def test_a_count_that_one_strength_lacks_is_not_averaged() -> None:
    extra = [run(0.0, {"n_spurious": 100, "random_seed": seed}) for seed in range(5)]
    off = pick(mitigation(pd.DataFrame(GRID + extra), "weight_decay"), weight_decay=0.0, outcome="score")
    assert off["mean"] == pytest.approx(0.72)
    assert (off["runs"], off["runs_left_out"]) == (10, 5)


def test_count_zero_stands_apart_and_is_never_averaged_in() -> None:
    none = [
        run(0.01, {"n_spurious": 0, "random_seed": seed, "weight_decay": decay})
        for seed, decay in itertools.product(range(5), (0.0, 0.1))
    ]
    frame = pd.DataFrame(GRID + none)
    assert pick(mitigation(frame, "weight_decay"), weight_decay=0.0, outcome="score")["mean"] == pytest.approx(0.72)
    by_count = mitigation(frame, "weight_decay", per_count=True)
    assert pick(by_count, n_spurious=0, weight_decay=0.0, outcome="score")["mean"] == pytest.approx(0.01)
    assert norms(frame)["score"].min() > 0.5


def test_settings_that_vary_are_told_apart() -> None:
    longer = [row | {"params.epochs": "140", "metrics.spurious/score": 0.0, "tags.rsc.fingerprint": ""} for row in GRID]
    table = mitigation(pd.DataFrame(GRID + longer), "weight_decay")
    assert pick(table, epochs=70, weight_decay=0.0, outcome="score")["mean"] == pytest.approx(0.72)
    assert pick(table, epochs=140, weight_decay=0.0, outcome="score")["mean"] == 0


def test_two_classes_and_quarters_are_told_from_the_plain_data_set() -> None:
    """The same family, pattern and count, and of the quarters the same class: unlike data all the same."""
    others = [
        row | {"params.dataset": name, "params.target_class": target, "metrics.spurious/score": 0.1}
        for row in GRID
        for name, target in (("memmnistv20-3-0-0", "0"), ("twoclassmnistv20-3-0-1-0", "0-1"))
    ]
    for number, row in enumerate(others):
        row["tags.rsc.fingerprint"] = str(number)
        row |= {"metrics.spurious/score_target_0": 0.2, "metrics.spurious/score_target_1": 0.0}
    table = mitigation(pd.DataFrame(GRID + others), "weight_decay")
    assert pick(table, form="one class", weight_decay=0.0, outcome="score")["mean"] == pytest.approx(0.72)
    assert pick(table, form="quarters", weight_decay=0.0, outcome="score")["mean"] == pytest.approx(0.1)
    assert pick(table, form="two classes", weight_decay=0.0, outcome="score")["mean"] == pytest.approx(0.1)
    assert "form" not in mitigation(pd.DataFrame(GRID), "weight_decay")


def test_older_runs_with_two_classes_lose_the_metrics_of_the_first_class_alone() -> None:
    """Earlier versions logged the first class's score as ``spurious/score``; the mean of both is the score now."""
    of_first = ("spurious/score_nontarget", "before/spurious/flip_rate", "gap/spurious/score")
    both = {"metrics.spurious/score_target_0": 0.2, "metrics.spurious/score_target_1": 0.6}
    two = GRID[0] | both | {f"metrics.{name}": 0.7 for name in of_first}
    two |= {"params.dataset": "twoclassmnistv20-3-0-1-0", "params.target_class": "0-1"}
    rows = [two | {"run_id": word, "metrics.spurious/score": score} for word, score in (("old", 0.2), ("new", 0.4))]
    table = read(pd.DataFrame(rows)).set_index("run_id")
    assert table["metrics.spurious/score"].to_dict() == pytest.approx({"old": 0.4, "new": 0.4})
    for name in of_first:
        assert np.isnan(table[f"metrics.{name}"]["old"])
        assert table[f"metrics.{name}"]["new"] == 0.7


def test_means_over_seeds_tell_settings_apart_that_were_not_asked_for() -> None:
    table = over_seeds(trained(pd.DataFrame(GRID)), ["pattern", "n_spurious"], ["score"])
    means = {(row["n_spurious"], row["weight_decay"]): row["mean"] for _, row in table.iterrows()}
    assert means == pytest.approx({(3, 0): 0.52, (3, 0.1): 0.32, (20, 0): 0.92, (20, 0.1): 0.92})
    alike = trained(pd.DataFrame(GRID)).query("weight_decay == 0")
    assert list(over_seeds(alike, ["pattern"], ["score"]).columns[:3]) == ["pattern", "outcome", "mean"]


def test_settings_with_one_strength_say_nothing() -> None:
    assert mitigation(pd.DataFrame(GRID), "grad_clip").empty
    assert mitigation_effect(pd.DataFrame(GRID), "grad_clip").empty


def test_effect_is_the_paired_t_test_over_seeds() -> None:
    noisy = pd.DataFrame(GRID)
    rng = np.random.default_rng(0)
    noisy["metrics.spurious/score"] += rng.normal(0, 0.05, len(noisy))
    plain = trained(noisy).pivot_table(index="random_seed", columns="weight_decay", values="score")
    expected = stats.ttest_rel(plain[0.1], plain[0.0])
    found = pick(mitigation_effect(noisy, "weight_decay"), weight_decay=0.1, outcome="score")
    assert found["difference"] == pytest.approx((plain[0.1] - plain[0.0]).mean())
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert found["p_sign_flip"] == 2 / 32
    assert found["units"] == 5


def test_one_seed_has_no_effect_to_test() -> None:
    first = [row for row in GRID if row["params.random_seed"] == "0"]
    assert mitigation_effect(pd.DataFrame(first), "weight_decay").empty
    assert not mitigation(pd.DataFrame(first), "weight_decay").empty


def test_effects_are_corrected_over_the_whole_table() -> None:
    noisy = pd.DataFrame(GRID)
    for column in ("metrics.spurious/score", "metrics.test/accuracy", "metrics.spurious/test_accuracy"):
        noisy[column] += np.random.default_rng(len(column)).normal(0, 0.05, len(noisy))
    table = mitigation_effect(noisy, "weight_decay", per_count=True)
    assert len(table) == 6
    assert table["p_holm"].min() == pytest.approx(min(1, 6 * table["p_value"].min()))
    assert (table["p_holm"] >= table["p_value"]).all()


def test_norms_average_all_seeds() -> None:
    rows = [
        run(0.1 * seed, {"random_seed": seed, "dataset_seed": seed}, **{"metrics.spurious/pattern_norm": 4.0 + seed})
        for seed in range(3)
    ]
    found = norms(pd.DataFrame(rows)).iloc[0]
    assert (found["norm"], found["norm_sd"], found["score"]) == pytest.approx((5.0, 1.0, 0.1))
    assert (found["units"], found["runs"], found["runs_left_out"]) == (3, 3, 0)


def test_correlation_is_over_patterns_not_over_seeds() -> None:
    size = {"v1": 1.0, "v3": 3.0, "v8": 5.0, "v18": 3.5, "v20": 13.0}
    mean = {"v1": 0.05, "v3": 0.1, "v8": 0.15, "v18": 0.3, "v20": 0.9}
    rows = [
        run(mean[p] + 0.01 * (seed - 2), {"pattern": p, "random_seed": seed}, **{"metrics.spurious/pattern_norm": n})
        for (p, n), seed in itertools.product(size.items(), range(5))
    ]
    found = norm_correlation(pd.DataFrame(rows)).iloc[0]
    theirs = stats.pearsonr(list(size.values()), list(mean.values()))
    interval = theirs.confidence_interval()
    assert (found["r"], found["p_value"]) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert (found["patterns"], found["p_holm"]) == (5, found["p_value"])
    ranks = [stats.spearmanr(list(size.values()), order).statistic for order in itertools.permutations(mean.values())]
    assert found["rho"] == pytest.approx(ranks[0])
    assert found["rho_p_value"] == pytest.approx(np.mean(np.abs(ranks) >= abs(ranks[0]) - 1e-12))


def test_runs_without_a_value_of_a_setting_are_a_group_of_their_own() -> None:
    table = pd.DataFrame({"pattern": ["v1", "v20"] * 2, "epochs": [np.nan, np.nan, 5, 5]})
    table = table.assign(n_spurious=[3, 3, 3, 20], target_class="0")
    assert common_cells(table, ["epochs"], "pattern").index.tolist() == [0, 1]  # 5 epochs: no number in common


def test_two_patterns_have_no_correlation() -> None:
    rows = [run(0.1, {"pattern": "v1"}), run(0.9, {"pattern": "v20"}, **{"metrics.spurious/pattern_norm": 13.0})]
    assert len(norms(pd.DataFrame(rows))) == 2
    assert norm_correlation(pd.DataFrame(rows)).empty


def test_no_runs_give_empty_tables_with_their_columns() -> None:
    empty = pd.DataFrame(columns=["run_id", "status", "start_time"])
    for table in (mitigation(empty, "weight_decay"), mitigation_effect(empty, "weight_decay"), norms(empty)):
        assert table.empty
        assert "dataset_family" in table.columns
    assert list(norm_correlation(empty).columns)[-8:] == [
        *("r", "low", "high", "p_value", "rho", "rho_p_value", "patterns", "p_holm")
    ]


def test_one_seed_has_no_interval() -> None:
    found = norms(pd.DataFrame([run(0.5)])).iloc[0]
    assert found["score"] == 0.5
    assert math.isnan(found["low"])


def test_another_knob_is_refused() -> None:
    with pytest.raises(InputError, match="Expected one of: weight_decay, input_noise, grad_clip"):
        mitigation(pd.DataFrame(GRID), "dropout")

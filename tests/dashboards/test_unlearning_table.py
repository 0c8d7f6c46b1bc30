"""The table of unlearning methods, on made-up runs whose means and order can be counted by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboards.figures.unlearning_table import (
    MEASURES,
    MEMBERSHIP,
    OF_TARGETS,
    faults,
    gap_table,
    variants,
    with_membership,
)
from rsc_mlflow.analysis import latest_per_fingerprint, read
from rsc_mlflow.replication import seed_interval
from tests.dashboards.frames import run

BY = ["dataset_family", "paper", "n_spurious", "variant"]
FORGET = {"unlearn/forget_loss": 3.0, "gap/unlearn/forget_loss": 0.5, "unlearn/forget_confidence": 0.2}
OVER = {"unlearn/forget_loss": 25.0, "gap/unlearn/forget_loss": 22.5, "unlearn/forget_confidence": 0.0}
GOOD = {"before/test/accuracy": 0.95, "test/accuracy": 0.94, "gap/test/accuracy": -0.01}
BAD = {"before/test/accuracy": 0.91, "test/accuracy": 0.10, "gap/test/accuracy": -0.8}


def unlearned(
    number: int, method: str, metrics: dict[str, float], dataset: str = "mnistv20-20-0-0", **params: Any
) -> dict[str, Any]:
    given: dict[str, Any] = {"p_pattern": "v20", "p_n_spurious": 20, "p_dataset_family": "mnist", "p_target_class": "0"}
    given |= {"p_dataset": dataset, "p_dataset_seed": number % 10, "p_random_seed": 0}
    row = run(number, kind="unlearn", **given | {f"p_{key}": value for key, value in params.items()}, m=metrics)
    return row | {"tags.rsc.method": method}


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    return gap_table(variants(latest_per_fingerprint(read(pd.DataFrame.from_records(list(rows))))), BY)


def test_runs_with_a_fault_stand_last_whatever_their_gap() -> None:
    table = table_of(
        unlearned(0, "relabel_finetuning", GOOD | FORGET | {"gap/spurious/score": 0.3}),
        unlearned(10, "gradient_difference", GOOD | OVER | {"gap/spurious/score": 0.001}),
        unlearned(20, "group_influence", GOOD | FORGET | {"gap/spurious/score": -0.2}),
        unlearned(30, "incremental_retraining", BAD | OVER | {"gap/spurious/score": 0.0}),
        unlearned(40, "exact_retraining", GOOD | FORGET | {"gap/spurious/score": 0.0, "gap/unlearn/forget_loss": 0.0}),
    )
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert table[["variant", "verdict"]].to_numpy().tolist() == [
        ["exact_retraining", ""],
        ["group_influence", ""],
        ["relabel_finetuning", ""],
        ["incremental_retraining", "destroyed (1 of 1 runs)"],
        ["gradient_difference", "over-forgets (1 of 1 runs)"],
    ]


def test_half_of_the_runs_over_forgetting_or_one_destroyed_mark_a_row_and_unfinished_ones_do_not() -> None:
    rows = [unlearned(k, "group_influence", GOOD | (OVER if k < 2 else FORGET)) for k in range(5)]
    rows.append(unlearned(9, "group_influence", BAD) | {"status": "FAILED"})
    rows += [unlearned(20 + k, "gradient_difference", GOOD | (OVER if k < 2 else FORGET)) for k in range(4)]
    rows += [unlearned(30 + k, "incremental_retraining", (BAD if k < 1 else GOOD) | FORGET) for k in range(4)]
    rows.append(unlearned(10, "relabel_finetuning", {"before/test/accuracy": 0.9, "test/accuracy": 0.9}))
    found = faults(latest_per_fingerprint(read(pd.DataFrame.from_records(rows))), ["method"])
    assert found.to_numpy().tolist() == [
        ["gradient_difference", "over-forgets (2 of 4 runs)", True],
        ["group_influence", "over-forgets (2 of 5 runs)", False],
        ["incremental_retraining", "destroyed (1 of 4 runs)", True],
        ["relabel_finetuning", "no reference (1 of 1 runs)", False],
    ]


def test_cells_are_means_over_seeds_with_intervals_from_five_seeds_on() -> None:
    few = [unlearned(k, "group_influence", GOOD | FORGET | {"gap/spurious/score": 0.1 * k}) for k in range(3)]
    values = [0.1, 0.2, 0.3, 0.4, 0.6]
    many = [
        unlearned(20 + k, "relabel_finetuning", GOOD | FORGET | {"gap/spurious/score": value, "unlearn/seconds": k})
        for k, value in enumerate(values)
    ]
    table = table_of(*few, *many).set_index("variant")
    assert table["score gap"]["group_influence"] == pytest.approx(0.1)
    assert np.isnan(table["score gap from"]["group_influence"])
    mean, low, high = (float(table[f"score gap{end}"]["relabel_finetuning"]) for end in ("", " from", " to"))
    assert mean == pytest.approx(np.mean(values))
    assert low < min(mean, 0.2) < 0.4 < high
    assert table.loc["relabel_finetuning", "seconds"] == 2
    assert table["units"].to_dict() == {"group_influence": 3, "relabel_finetuning": 5}
    assert "KL, clean" not in table
    assert table["runs"].to_dict() == {"group_influence": 3, "relabel_finetuning": 5}


def test_options_in_which_the_runs_of_a_method_differ_make_rows_of_their_own() -> None:
    fine: dict[str, Any] = {"unlearn_epochs": 1, "unlearn_optimizer": "adam"}
    rows = [
        unlearned(0, "relabel_finetuning", GOOD | {"gap/spurious/score": 0.1}, **fine, unlearn_learning_rate=1e-3),
        unlearned(1, "relabel_finetuning", GOOD | {"gap/spurious/score": 0.5}, **fine, unlearn_learning_rate=1e-4),
        unlearned(2, "gradient_difference", GOOD | {"gap/spurious/score": 0.2}, **fine, unlearn_learning_rate=1e-4),
    ]
    assert table_of(*rows).set_index("variant")["score gap"].to_dict() == {
        "relabel_finetuning, unlearn_learning_rate=0.001": 0.1,
        "gradient_difference": 0.2,
        "relabel_finetuning, unlearn_learning_rate=0.0001": 0.5,
    }


def test_both_gaps_of_two_target_classes_stand_beside_their_mean() -> None:
    scores = {"spurious/score_target_3": 0.4, "spurious/score_target_1": 0.2, "gap/spurious/score": 0.3}
    gaps = {"gap/spurious/score_target_3": 0.35, "gap/spurious/score_target_1": 0.25, "gap/spurious/score_target_0": 9}
    both = unlearned(0, "group_influence", GOOD | scores | gaps, "twoclassmnistv20-20-3-1-0", target_class="3-1")
    row = table_of(both).iloc[0]
    columns = ["score gap", "score gap, first target", "score gap, second target"]
    assert row[columns].tolist() == [0.3, 0.35, 0.25]
    assert "score gap, first target" not in table_of(unlearned(0, "group_influence", GOOD)).columns


def test_no_runs_make_no_table() -> None:
    rows = latest_per_fingerprint(read(pd.DataFrame.from_records([run(0)])))
    assert gap_table(variants(rows[:0]), BY).empty


def test_membership_after_unlearning_is_that_of_the_attacks_on_the_unlearned_model() -> None:
    rows = [unlearned(k, "group_influence", GOOD) for k in range(2)]
    for number, (source, aucs) in enumerate([(0, {"lira": 0.7, "loss": 0.9}), (0, {"lira": 0.8}), (9, {"lira": 1.0})]):
        metrics = {f"attack/{name}/spurious_auc": value for name, value in aucs.items()}
        rows.append(run(20 + number, kind="attack", m=metrics) | {"tags.rsc.source_run_id": f"{source:032x}"})
    runs = latest_per_fingerprint(read(pd.DataFrame.from_records(rows)))
    found = with_membership(runs[runs["kind"] == "unlearn"], runs[runs["kind"] == "attack"])
    membership = found.set_index("run_name")["metrics.membership"]
    assert membership["run 0"] == pytest.approx(0.75)
    assert np.isnan(membership["run 1"])
    table = gap_table(variants(with_membership(runs[runs["kind"] == "unlearn"], runs[runs["kind"] == "attack"])), BY)
    assert table["membership AUC after"].tolist() == [pytest.approx(0.75)]


def test_every_interval_stays_within_the_possible_values_of_its_measure() -> None:
    """Five skewed values each; Student's interval of every measure would end beyond its range."""
    possible = dict.fromkeys(("score gap", "accuracy gap", "forget confidence gap", *OF_TARGETS), (-1.0, 1.0))
    possible |= {"KL, clean": (0, np.inf), "KL, patterned": (0, np.inf), "seconds": (0, np.inf), MEMBERSHIP: (0, 1)}
    assert {*possible, "forget loss gap"} == {*MEASURES, *OF_TARGETS}  # losses have no largest difference
    of_targets = {name: f"gap/spurious/score_target_{k}" for k, name in zip((3, 1), OF_TARGETS, strict=True)}
    values = {
        name: [0.01, 0.02, 0.02, 0.03, 9.0] if high > 1 else [1.0, 0.9, 0.3, 1, 1]
        for name, (_, high) in possible.items()
    }
    rows = []
    for seed in range(5):
        logged = {name: column[seed] for name, column in values.items()}
        metrics = {metric: logged[name] for name, metric in {**MEASURES, **of_targets}.items() if name in logged}
        metrics.pop("membership")
        rows.append(unlearned(seed, "group_influence", GOOD | metrics, "twoclassmnistv20-20-3-1-0", target_class="3-1"))
        attack = run(20 + seed, kind="attack", m={"attack/lira/spurious_auc": logged[MEMBERSHIP]})
        rows.append(attack | {"tags.rsc.source_run_id": f"{seed:032x}"})
    runs = latest_per_fingerprint(read(pd.DataFrame.from_records(rows)))
    attacked = with_membership(runs[runs["kind"] == "unlearn"], runs[runs["kind"] == "attack"])
    row = gap_table(variants(attacked), BY).iloc[0]
    for name, (least, most) in possible.items():
        expected = seed_interval(values[name], {"dataset": range(5)}, bounds=(least, most))
        found = (row[name], row[f"{name} from"], row[f"{name} to"])
        assert found == pytest.approx((expected.estimate, expected.low, expected.high)), name
        assert least < found[1] < found[0] < found[2] < most
        student = seed_interval(values[name], {"dataset": range(5)})
        assert not least <= student.low <= student.high <= most

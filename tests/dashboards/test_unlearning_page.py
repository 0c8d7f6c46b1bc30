"""The Unlearning page: nothing unlike is averaged, and what is no success is marked in every figure."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboards.figures import unlearning
from dashboards.figures.style import LIGHT
from dashboards.figures.unlearning_table import variants
from dashboards.pages.unlearning import GAPS, PAGE
from dashboards.panels import Panel, panels
from rsc_mlflow.analysis import points
from rsc_mlflow.replication import seed_interval
from tests.dashboards.frames import frame, run, view
from tests.dashboards.test_unlearning_table import BAD, FORGET, GOOD, OVER, unlearned

SCORES = {"before/spurious/score": 0.8, "unlearn/seconds": 2.0, "unlearn/parameter_distance": 1.0}
BY = ["variant", "dataset_family", "paper", "n_spurious"]


def result(number: int, method: str, forget: dict[str, float], score: float, **params: Any) -> dict[str, Any]:
    metrics = {**SCORES, **GOOD, **forget, "spurious/score": score, "gap/spurious/score": score - 0.02}
    return unlearned(number, method, metrics, **params)


def page(*rows: dict[str, Any], search: str = "") -> dict[str, Panel]:
    return {panel.key: panel for panel in panels(PAGE, view(pd.DataFrame.from_records(list(rows)), search))}


def test_reference_is_the_value_minus_its_gap_and_exact_retraining_itself() -> None:
    rows = [
        run(0, kind="unlearn", m={"spurious/score": 0.5, "before/spurious/score": 0.8, "gap/spurious/score": 0.4})
        | {"tags.rsc.method": "group_influence"},
        run(1, kind="unlearn", m={"spurious/score": 0.1, "before/spurious/score": 0.8})
        | {"tags.rsc.method": "exact_retraining"},
    ]
    table = unlearning.stage_points(frame(*rows), ["method"], "spurious/score").set_index(["method", "stage"])["mean"]
    assert table[("group_influence", "reference")] == pytest.approx(0.1)
    assert table[("exact_retraining", "reference")] == pytest.approx(0.1)
    assert table[("group_influence", "before")] == 0.8


def test_intervals_of_scores_are_those_of_the_scores_page_and_within_the_possible_values() -> None:
    scores = [1.0, 0.9, 0.3, 1.0, 1.0]
    runs = frame(*(result(i, "group_influence", {}, score, p_random_seed=i) for i, score in enumerate(scores)))
    table = unlearning.stage_points(runs, ["method"], "spurious/score")
    ends = ["mean", "low", "high"]
    found = table.loc[table["stage"] == "after", ends].to_numpy(float)
    assert (found == points(runs, ["method"], "spurious/score")[ends].to_numpy(float)).all()
    mean, low, high = found[0]
    assert 0 < low < mean < high <= 1


@pytest.mark.parametrize(
    ("name", "values", "least", "most"),
    [
        ("gap/spurious/score", [-1.0, -0.9, -0.3, -1.0, -1.0], -1, 1),
        ("unlearn/kl_to_reference_pattern", [0.01, 0.02, 0.02, 0.03, 9.0], 0, np.inf),
        ("unlearn/forget_loss", [0.01, 0.02, 0.02, 0.03, 9.0], 0, np.inf),
    ],
)
def test_intervals_of_gaps_and_sizes_are_within_the_possible_values(
    name: str, values: list[float], least: float, most: float
) -> None:
    runs = frame(*(unlearned(i, "group_influence", {name: value}) for i, value in enumerate(values)))
    found = points(runs, ["method"], name).iloc[0]
    expected = seed_interval(values, {"dataset": range(5)}, bounds=(least, most))
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert least < found["low"] < found["high"] < most
    staged = unlearning.stage_points(runs, ["method"], name).set_index("stage").loc["after"]
    assert (staged["low"], staged["high"]) == (found["low"], found["high"])


def test_trade_off_pairs_gap_and_seconds() -> None:
    row = unlearned(
        0, "group_influence", {"gap/spurious/score": 0.2, "unlearn/seconds": 3.0, "gap/test/accuracy": -0.01}
    )
    table = unlearning.trade_off_points(variants(frame(row)), BY)
    trace = unlearning.trade_off(table, LIGHT).data[0]
    assert (trace.x[0], trace.y[0], table["accuracy"].iloc[0]) == (3.0, 0.2, -0.01)


def test_what_is_no_success_is_hollow_in_every_figure() -> None:
    shown = page(
        result(0, "group_influence", FORGET, 0.1),
        result(1, "gradient_difference", OVER, 0.0),
        result(2, "relabel_finetuning", BAD | FORGET, 0.0),
    )
    hollow = {"gradient difference", "relabel fine-tuning"}
    for key in ("gaps", "accuracy", "seconds", "trade_off"):
        traces = shown[key].plots[0].figure.data
        found = {trace.name: trace.marker.symbol[0] for trace in traces if isinstance(trace.marker.symbol, tuple)}
        assert {name for name, symbol in found.items() if symbol.endswith("-open")} == hollow, key
        assert len(found) == 3
    stages = {trace.name: trace for trace in shown["before_after"].plots[0].figure.data if trace.name}
    after = dict(zip(stages["after"].hovertext, stages["after"].marker.symbol, strict=True))
    marks = {text.split("</b>")[0].removeprefix("<b>"): symbol for text, symbol in after.items()}
    assert marks == {
        "gradient difference, after: over-forgets (1 of 1 runs)": "circle-open",
        "group influence, after": "circle",
        "relabel fine-tuning, after: destroyed (1 of 1 runs)": "circle-open",
    }
    assert stages["reference"].marker.symbol == ("diamond-tall",) * 3
    table = shown["side_by_side"].table
    assert table["variant"].tolist() == ["group influence", "gradient difference", "relabel fine-tuning"]
    assert table["verdict"].tolist() == ["", "over-forgets (1 of 1 runs)", "destroyed (1 of 1 runs)"]
    hovers = [text for trace in shown["trade_off"].plots[0].figure.data for text in trace.hovertext or ()]
    assert sum("destroyed (1 of 1 runs)" in text for text in hovers) == 1


def test_families_options_and_recipes_are_never_averaged() -> None:
    rows = [
        result(0, "relabel_finetuning", FORGET, 0.1, unlearn_learning_rate="0.001", epochs=10),
        result(1, "relabel_finetuning", FORGET, 0.3, unlearn_learning_rate="0.0001", epochs=10),
        result(
            2, "relabel_finetuning", FORGET, 0.5, unlearn_learning_rate="0.0001", epochs=10, dataset_family="fashion"
        ),
        result(3, "relabel_finetuning", FORGET, 0.9, unlearn_learning_rate="0.0001", epochs=30),
    ]
    shown = page(*rows)
    for key in ("before_after", "gaps", "accuracy", "seconds", "trade_off"):
        assert (shown[key].table["runs"] == 1).all(), key
        assert (shown[key].table["mixed"] == "").all()
        assert "epochs (10, 30)" in shown[key].notice
    table = shown["side_by_side"]
    assert table.notice_at == ""
    assert {shown[key].notice_at for key in ("before_after", "gaps", "accuracy", "seconds")} == {table.title}
    assert list(table.table.columns[:2]) == ["variant", "rank"]
    gaps = shown["gaps"]
    assert [plot.title for plot in gaps.plots] == ["fashion", "mnist"]
    assert sorted(gaps.table["mean"].round(2)) == [0.08, 0.28, 0.48]
    names = [trace.name for trace in gaps.plots[1].figure.data]
    assert [name.replace("<br>", " ") for name in names] == [
        "relabel fine-tuning, unlearn_learning_rate=0.0001",
        "relabel fine-tuning, unlearn_learning_rate=0.001",
    ]
    every = page(*rows, search="?recipes=each")["gaps"]
    assert sorted(every.table["mean"].round(2)) == [0.08, 0.28, 0.48, 0.88]


@pytest.mark.parametrize("name", [name for name, _ in GAPS])
def test_every_measure_shows_its_metric(name: str) -> None:
    row = unlearned(0, "group_influence", {**SCORES, **GOOD, name: 0.125, "gap/spurious/score": 0.125})
    panel = page(row, search=f"?gap={name}")["gaps"]
    assert panel.message == ""
    assert panel.plots[0].figure.data[0].y[0] == panel.table["mean"].iloc[0] == row[f"metrics.{name}"]


def test_new_quantities_are_measures() -> None:
    wanted = {"gap/unlearn/forget_loss", "gap/unlearn/forget_confidence", "unlearn/kl_to_reference"}
    assert wanted | {"unlearn/kl_to_reference_pattern", "unlearn/forget_confidence"} <= dict(GAPS).keys()

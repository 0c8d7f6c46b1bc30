"""Whatever others store in a run: every page and the report are drawn, and say what they could not read."""

import functools
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dashboards.data import Filters, choices
from dashboards.pages import PAGES
from dashboards.panels import View, panels
from dashboards.report import report_html
from dashboards.repository import RunRepository, VisibleRuns
from dashboards.tables import text_rows
from rsc_mlflow.analysis import problems, read
from rsc_mlflow.analysis.reading import TAGS
from rsc_mlflow.analysis.settings import METHOD_OPTIONS, NUMBERS, SEEDS, WORDS
from rsc_mlflow.tracking.frame import RunStore, Snapshot
from tests.dashboards.frames import MadeUpSource, made_up, run, view

BATCH, BATCHES = 52, 10
"""520 odd runs: each page, and the report, reads every one of them."""
ODD = st.sampled_from(
    [
        "inf",
        "-inf",
        "nan",
        "-1",
        "1e400",
        "9" * 400,
        "0x10",
        "1_0",
        "٣",
        "",
        " ",
        "none",
        "auto",
        "'3'",
        "0.5",
        "0-1",
        "1e18",
    ]
)
TEXT = st.one_of(ODD, st.text(max_size=12), st.integers(0, 9).map(str), st.just("<b>" * 200))
USUAL = {
    "pattern": ["v1", "v8", "v20", "none"],
    "dataset_family": ["mnist", "digits"],
    "dataset": ["mnistv8-3-0-0", "twoclassmnistv8-3-0-1-0", "memmnistv8-3-0-0"],
    "target_class": ["0", "0-1", "none"],
    "optimizer": ["sgd", "adam"],
}
METRICS = (
    *("spurious/score", "spurious/p_value", "spurious/pattern_norm", "spurious/score_target_0", "test/accuracy"),
    *("spurious/score_target_1", "before/spurious/score", "gap/spurious/score", "unlearn/seconds", "attack/lira/auc"),
    *("attack/lira/spurious_tpr", "attack/lira/control_fpr", "reference/v8/score_target_0", "spurious/test_accuracy"),
    *("sweep/finished", "unlearn/kl_to_reference", "attack/lira/spurious_auc", "attack/lira/tpr_at_fpr_0.01"),
)
VALUE = st.one_of(st.floats(), st.floats(0, 1), st.sampled_from([2.0, -1e-9, math.inf, 1e308, -1e308]))
TIME = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(float),
    st.sampled_from([0.0, 1.7e12, 1.7e18, -1.0, 2.0**63, math.nan]),
    st.floats(0, 4e12),
)
KINDS = ["train", "train", "train", "unlearn", "attack", "score", "sweep", "report", "other", ""]
METHODS = ["train_classifier", "group_influence", "mem_inference", "theory", "occlusion", "visualize_weights"]
TAG = {
    "kind": st.sampled_from(KINDS),
    "method": st.one_of(st.sampled_from(METHODS), TEXT),
    "clean_scores": st.one_of(
        TEXT, st.sampled_from(['{"0": 0.1, "1": 0.2}', "[1]", '{"0": "x"}', '{"a": 1e999}', "[" * 9000])
    ),
}


def _parameter(name: str) -> st.SearchStrategy[str]:
    usual = USUAL.get(name, ["0", "1", "3"])
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual), TEXT)


@st.composite
def odd_run(draw: st.DrawFn, number: int) -> dict[str, object]:
    row = run(
        number, status=draw(st.sampled_from(["FINISHED", "FINISHED", "RUNNING", "FAILED", "KILLED", "SCHEDULED"]))
    )
    row |= {"start_time": draw(TIME), "end_time": draw(TIME), "run_name": draw(st.text(max_size=8))}
    names = [*NUMBERS, *WORDS, *SEEDS.values(), "source_epochs", *METHOD_OPTIONS[:3]]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, min_size=6))
    row |= {f"params.{name}": draw(_parameter(name)) for name in chosen}
    measured = draw(st.lists(st.sampled_from(METRICS), unique=True, min_size=4))
    row |= {f"metrics.{name}": draw(VALUE) for name in measured}
    row |= {f"tags.{tag}": draw(TAG.get(name, TEXT)) for name, tag in TAGS.items()}
    return row | {"tags.mlflow.note.content": draw(TEXT)}


@functools.cache
def _odd_runs() -> list[dict[str, Any]]:
    """Odd runs, drawn one at a time: Hypothesis gives up on examples of more than some 8 kB, without a word here."""
    found: dict[str, dict[str, object]] = {}

    @settings(
        max_examples=2 * BATCH * BATCHES,
        deadline=None,
        suppress_health_check=[HealthCheck.large_base_example],
        database=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    @given(odd_run(0))
    def draw(row: dict[str, object]) -> None:
        if repr(row) not in found:
            found[repr(row)] = row | {"run_id": f"{len(found):032x}"}

    draw()
    return list(found.values())


def _look(rows: list[dict[str, Any]], search: str = "") -> View:
    raw = pd.DataFrame.from_records(rows)
    return view(
        raw.astype({name: float for name in map(str, raw) if name.startswith("metrics.")}), search, Artifacts(0)
    )


class Artifacts(MadeUpSource):
    """Artifacts of other shapes than ours."""

    def artifact(self, run_id: str, path: str) -> object | None:
        odd: list[object] = [
            None,
            [],
            {"maps": [1]},
            {"maps": {"a": [[1], [1, 2]]}},
            {"curves": [{"lambda": "x"}]},
            {"share": []},
        ]
        return odd[int(run_id, 16) % len(odd)]

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        return []


def test_there_are_as_many_odd_runs_as_said() -> None:
    assert len(_odd_runs()) >= BATCH * BATCHES


@pytest.mark.parametrize("number", range(BATCHES))
def test_every_page_and_the_report_read_any_run(number: int) -> None:
    search = "?facet=none&recipes=each&n=all&pattern=each" if number % 2 else ""
    look = _look([*_odd_runs()[BATCH * number : BATCH * (number + 1)], *_good()], search)
    choices(look.every, {"1": "x"})
    for page in PAGES:
        for panel in panels(page, look):
            assert "could not be drawn" not in panel.message, (page.path, panel.key)
            text_rows(panel.table, REPOSITORY)
    visible = VisibleRuns(look.every, {"1": "x"}, Snapshot())
    text = report_html(REPOSITORY, visible, Filters(), "title", "about").split("<script")[0]
    assert "could not be drawn" not in text


def _good() -> list[dict[str, Any]]:
    given: dict[str, Any] = {"p_pattern": "v8", "p_n_spurious": 3, "p_target_class": 0, "p_dataset": "mnistv8-3-0-0"}
    return [run(900 + seed, p_random_seed=seed, m={"spurious/score": 0.5}, **given) for seed in range(6)]


REPOSITORY = RunRepository(RunStore("sqlite:///nothing.db"), Artifacts(0))


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"params.random_seed": "inf"}, "random_seed: 'inf' (expected an integer ≥ 0"),
        ({"params.pattern": "V 99"}, "pattern: 'V 99' (expected none or a pattern)"),
        (
            {"params.target_class": "-1", "params.dataset": "twoclassmnistv8-3-0-1-0"},
            "target_class: '-1' (expected none, one class or two)",
        ),
        ({"params.epochs": "-3"}, "epochs: '-3' (expected an integer ≥ 0"),
    ],
)
def test_a_run_with_an_unreadable_setting_enters_no_mean_and_is_listed(odd: dict[str, object], why: str) -> None:
    broken = run(1, p_pattern="v8", p_n_spurious=3, p_dataset="mnistv8-3-0-0", m={"spurious/score": 0.0})
    rows = [*_good(), broken | odd]
    look = _look(rows)
    assert problems(look.every)["problem"].str.startswith(why).tolist() == [True]
    curves = panels(next(page for page in PAGES if page.path == "scores"), look)[0]
    assert curves.table["runs"].tolist() == [6]
    listed = [panel for panel in panels(PAGES[0], look) if panel.key == "unreadable"]
    assert listed[0].table["what and why"].str.startswith(why).all()


def test_a_time_in_nanoseconds_is_absent_and_the_run_counts() -> None:
    rows = _good()
    rows[0]["start_time"] = 1.7e18
    look = _look(rows)
    assert look.runs["counts"].all()
    assert pd.isna(look.every.set_index("run_id")["started"][rows[0]["run_id"]])
    assert problems(look.every)["problem"].tolist() == ["start_time: 1.7e+18 (expected milliseconds since 1970)"]


@pytest.mark.parametrize("value", [2.0, -1e-9, math.inf])
def test_a_value_outside_its_range_is_skipped_there_and_counted(value: float) -> None:
    rows = _good()
    rows[0]["metrics.spurious/score"] = value
    look = _look(rows)
    curves = panels(next(page for page in PAGES if page.path == "scores"), look)[0]
    assert curves.table[["mean", "runs", "unreadable"]].to_numpy().tolist() == [[0.5, 5, 1]]
    assert "1 unreadable and left out" in curves.note
    assert problems(look.every)["problem"].str.startswith(f"spurious/score: {value:g} (expected").all()


def test_what_cannot_be_read_is_shown_only_to_those_who_may_see_the_run() -> None:
    hidden = run(1, p_random_seed="inf", p_pattern="v8") | {"experiment_id": "2"}
    runs = read(pd.DataFrame.from_records([*_good(), hidden]))
    store = RunStore("sqlite:///nothing.db")
    repository = RunRepository(store, Artifacts(0), readable=lambda ids: [one for one in ids if one == "1"])
    repository._prepared = (0, runs)
    store._snapshot = Snapshot(experiments={"1": "a", "2": "b"}, complete=True)
    store.refresh_soon = lambda **_: store.snapshot()  # type: ignore[method-assign]
    assert problems(repository.snapshot().runs).empty
    assert len(problems(runs)) == 1


def test_only_runs_of_ours_count_anywhere() -> None:
    """Foreign runs with our parameters and metrics, without the tag, change no table, note or choice."""
    ours = made_up(150)
    foreign = ours.copy()
    foreign["run_id"] = [f"{10_000 + i:032x}" for i in range(len(foreign))]
    foreign = foreign.assign(**{"tags.rsc.kind": None, "params.dataset_family": "foreign"})
    foreign["metrics.spurious/p_value"] = 2.0
    both = pd.concat([ours, foreign], ignore_index=True)
    alone, together = view(ours, "", Artifacts(0)), view(both, "", Artifacts(0))
    assert choices(together.every, {}) == choices(alone.every, {})
    for page in PAGES:
        for one, other in zip(panels(page, alone), panels(page, together), strict=True):
            assert (one.note, one.notice, one.message) == (other.note, other.notice, other.message)
            assert one.table.astype(str).equals(other.table.astype(str)), (page.path, one.key)

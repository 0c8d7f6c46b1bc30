"""What a sweep says while it runs."""

from collections.abc import Hashable

import pytest

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments, options_of
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.sweeps.grid import parse_grid
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.plan import Plan, make_plan
from rsc_mlflow.sweeps.report import (
    SHOWN,
    Reporter,
    print_failures,
    print_plan,
    print_status,
    remaining_seconds,
    span,
)
from rsc_mlflow.sweeps.schedule import Schedule

ExactRetrainingOptions = method_options("exact_retraining")


@pytest.mark.parametrize(
    ("elapsed", "finished", "running", "left", "seconds"),
    [
        (100.0, 10, 0, 30, 300.0),  # ten seconds a job
        (100.0, 9, 2, 11, 100.0),  # the running two make ten done and ten to do
        (600.0, 2, 18, 48, 600 / 11 * 39),  # a cohort of 18 counts as nine
        (50.0, 0, 2, 10, 0.0),
        (50.0, 10, 0, 0, 0.0),
    ],
)
def test_the_time_left_is_that_of_the_pace_so_far(
    elapsed: float, finished: int, running: int, left: int, seconds: float
) -> None:
    assert remaining_seconds(elapsed, finished, running, left) == pytest.approx(seconds)


def test_spans_read_as_a_person_says_them() -> None:
    assert [span(seconds) for seconds in (5.4, 119.4, 120, 7199, 7200)] == ["5 s", "119 s", "2 min", "120 min", "2.0 h"]
    assert span(12_345 * 3600.0) == "12,345.0 h"


def plan_of(count: int) -> Plan:
    options = [TrainOptions.from_mapping({"dataset": "digits", "random_seed": seed}) for seed in range(count)]
    return make_plan(options, "train_classifier", experiments())


def test_long_lists_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(SHOWN + 3)
    print_status("a sweep", plan, {key: ("failed", f"run {number}") for number, key in enumerate(plan.jobs)})
    print_failures(plan, dict.fromkeys(plan.jobs, "a reason"))
    print_failures(plan, {})
    said = capsys.readouterr()
    assert said.out.count("(run run ") == SHOWN
    assert "failed: and 3 more" in said.out
    assert said.err.count(": a reason") == SHOWN
    assert said.err.startswith(f"{SHOWN + 3} of {SHOWN + 3} jobs failed:")
    assert "and 3 more; see the artifact failures.json" in said.err


def test_a_plan_tells_what_serves_the_grid_and_what_runs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    grid = parse_grid("entry_point: exact_retraining\noptions: {dataset: digitsv20-3-0-0}", "a.yaml", options_of, ())
    plan = make_plan(grid.options(), grid.entry_point, experiments())
    cohorts: dict[str, Hashable] = dict.fromkeys(plan.jobs)
    print_plan("a-1234", grid, plan, list(plan.jobs), cohorts, {})
    said = capsys.readouterr().out
    assert said.startswith("a-1234\n1 jobs of exact_retraining: 0 finished, 1 to run\n")
    assert "additional jobs of train_classifier, which these depend on or are compared with: 1" in said
    assert "separately: 1 train_classifier, 1 exact_retraining" in said
    print_plan("a-1234", grid, plan.wanted(set(plan.jobs)), [], {}, {})
    said = capsys.readouterr().out
    assert "1 finished, 0 to run" in said
    assert "separately" not in said
    assert Job("exact_retraining", ExactRetrainingOptions(dataset="digitsv20-3-0-0")).fingerprint in plan.jobs


def test_the_line_of_progress_tells_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(4)
    one, two, three, four = plan.jobs
    schedule = Schedule(plan, {one}, dict.fromkeys(plan.jobs), {}, failed={two: "why"})
    schedule._left = {three: None, four: None}
    with Reporter("a sweep", 4, 0) as reporter:
        reporter.update(schedule)
        reporter.update(schedule)  # the same line is not said twice
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a sweep: 1/4 finished, 0 running, 1 failed")

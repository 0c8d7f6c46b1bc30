"""Sweeps: estimated end, cost, and failures by reason, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from dashboards.figures.sweeps import failure_table, progress_table
from rsc_mlflow.analysis import read
from tests.dashboards.frames import frame, run


def test_the_end_of_a_sweep_follows_from_its_pace_and_its_cost_from_all_its_jobs() -> None:
    """Of six jobs two finished in the first ten minutes and one runs: 3.5 of 2.5 finished ones are left."""
    sweep = {"tags.rsc.sweep": "abcdefgh"}
    minutes = [(0, 0, None), (1, 0, 6), (2, 0, 10), (3, 5, None), (4, 2, 4)]
    seconds = {1: 360.0, 2: 600.0, 4: 120.0}
    kinds = {0: "sweep"}
    states = {0: "RUNNING", 3: "RUNNING", 4: "FAILED"}
    rows = [
        run(n, kind=kinds.get(n, "train"), status=states.get(n, "FINISHED"), p_n_jobs=6)
        | {"start_time": 60_000.0 * start, "end_time": np.nan if end is None else 60_000.0 * end}
        | ({"metrics.cost/seconds": seconds[n]} if n in seconds else {})
        | sweep
        for n, start, end in minutes
    ]
    raw = pd.DataFrame.from_records(rows)
    row = progress_table(frame(*rows), read(raw), now=600.0).iloc[0]
    assert row[["id", "state", "jobs", "finished", "running", "failed", "left"]].tolist() == [
        "abcdef",
        "running",
        6,
        2,
        1,
        1,
        3,
    ]
    assert row["minutes left"] == pytest.approx(10 / 2.5 * 2.5)
    assert row["ends (UTC)"] == "1970-01-01 00:20"
    assert row["hours computed"] == pytest.approx(0.3)


def test_failures_that_differ_in_numbers_alone_are_one_reason() -> None:
    errors = ["loss is nan at epoch 3", "loss is nan at epoch 17", "out of memory: 1.5 GiB at 0x7f00", ""]
    rows = [
        run(n, status="FAILED") | {"tags.rsc.error": error, "tags.rsc.sweep": "s"} for n, error in enumerate(errors)
    ]
    table = failure_table(read(pd.DataFrame.from_records(rows)))
    assert table[["reason", "runs"]].to_numpy().tolist() == [
        ["loss is nan at epoch …", 2],
        ["no reason recorded (the process ended without a word)", 1],
        ["out of memory: … GiB at …", 1],
    ]
    assert table["error"].iloc[0] == errors[1]

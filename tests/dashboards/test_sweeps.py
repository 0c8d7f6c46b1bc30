"""Sweeps: estimated end, cost, and failures by reason, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from dashboards.figures.sweeps import failure_table, progress_table
from dashboards.pages.sweeps import failures
from dashboards.report import _panel
from dashboards.repository import RunRepository
from rsc_mlflow.analysis import read
from tests.dashboards.frames import MadeUpSource, frame, run, view


def test_the_end_of_a_sweep_follows_from_its_pace_and_its_cost_from_all_its_jobs() -> None:
    """Of six jobs two finished in the first ten minutes and one runs: 3.5 of 2.5 finished ones are left.

    The two were trained together with a third, so they took a third of their 360 and 600 seconds each.
    """
    sweep = {"tags.rsc.sweep": "abcdefgh"}
    minutes = [(0, 0, None), (1, 0, 6), (2, 0, 10), (3, 5, None), (4, 2, 4)]
    seconds = {1: 360.0, 2: 600.0, 4: 120.0}
    kinds = {0: "sweep"}
    states = {0: "RUNNING", 3: "RUNNING", 4: "FAILED"}
    rows = [
        run(n, kind=kinds.get(n, "train"), status=states.get(n, "FINISHED"), p_n_jobs=6)
        | {"start_time": 60_000.0 * start, "end_time": np.nan if end is None else 60_000.0 * end}
        | ({"metrics.cost/seconds": seconds[n]} if n in seconds else {})
        | ({"tags.rsc.cohort_size": "3"} if n in (1, 2) else {})
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
    assert row["hours computed"] == pytest.approx((360 / 3 + 600 / 3 + 120) / 3600)


def test_failures_that_differ_in_numbers_alone_are_one_reason() -> None:
    errors = ["loss is nan at epoch 3", "loss is nan at epoch 17", "out of memory: 1.5 GiB at 0x7f00", ""]
    rows = [
        run(n, status="FAILED") | {"tags.rsc.error": error, "tags.rsc.sweep": "s"} for n, error in enumerate(errors)
    ]
    table = failure_table(read(pd.DataFrame.from_records(rows)))
    assert table[["reason", "runs"]].to_numpy().tolist() == [
        ["loss is nan at epoch …", 2],
        ["no reason recorded (the process ended without a message)", 1],
        ["out of memory: … GiB at …", 1],
    ]
    assert table["error"].iloc[0] == errors[1]


class Listed(MadeUpSource):
    """The lists of failed jobs of two sweeps: one of this version, and one that an older version wrote."""

    def artifact(self, run_id: str, path: str) -> object | None:
        assert path == "failures.json"
        log = "Traceback:\n<script>alert(1)</script>"
        new = [
            {"fingerprint": "f1", "job": "train_classifier a", "reason": "nan at epoch 1", "log": log},
            {"fingerprint": "f8", "job": "train_classifier b", "reason": "too few examples: 3"},
            {"fingerprint": "f9", "job": "train_classifier c", "reason": "too few examples: 4", "log": "log of c"},
        ]
        old = [{"fingerprint": "f7", "reason": "too few examples: 5", "options": {}}]
        return {0: {"failed": new}, 5: {"failed": old}, 6: ["odd"]}[int(run_id, 16)]


def sweep_run(number: int, name: str) -> dict[str, object]:
    made = run(number, kind="sweep", m={"sweep/failed": 3})
    return made | {"tags.rsc.sweep": name, "run_name": f"sweep {name}", "start_time": 1e6 - number}


def test_failed_jobs_without_a_run_are_counted_and_logs_are_text() -> None:
    """Run 1 failed and is listed, too: it counts once.  Jobs b and c, and one of an older sweep, have no run."""
    failed = run(1, status="FAILED") | {"tags.rsc.error": "nan at epoch 1", "tags.rsc.sweep": "new"}
    rows = [sweep_run(0, "new"), sweep_run(5, "old"), sweep_run(6, "odd"), failed]
    panel = failures(view(pd.DataFrame.from_records(rows), source=Listed(0)))
    assert panel.table[["reason", "runs"]].to_numpy().tolist() == [["too few examples: …", 3], ["nan at epoch …", 1]]
    assert [(log.title, log.text.splitlines()[0]) for log in panel.logs] == [
        ("Log of train_classifier a (sweep new): nan at epoch 1", "Traceback:"),
        ("Log of train_classifier c (sweep new): too few examples: 4", "log of c"),
    ]
    page = str(_panel(panel, RunRepository(None, Listed(0), where="nowhere"), []))  # type: ignore[arg-type]
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page

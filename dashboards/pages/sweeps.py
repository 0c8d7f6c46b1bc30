"""Sweeps: progress, estimated end, computing time and failures."""

import textwrap
from typing import Any

import pandas as pd

from dashboards.figures.overview import SHOWN, sweep_bars
from dashboards.figures.points import counted
from dashboards.figures.sweeps import failure_table, over_time, progress_table
from dashboards.panels import LogExcerpt, Page, Panel, Plot, View, legible
from rsc_mlflow.analysis import UNFINISHED, metric
from rsc_mlflow.sweeps.failures import general_reason
from rsc_mlflow.tracking import schema

START = "mlflow run . --env-manager=local -e sweep -P grid=grids/quick/scores.yaml"
SWEEPS = 5
"""Maximum number of sweeps whose lists of failed jobs are read."""
LOGS = 20
"""Maximum number of log excerpts."""
COLUMNS = ["fingerprint", "job", "error", "reason", "log", "sweep_name", "experiment_id", "run_id", "started_ms"]


def _progress(view: View) -> pd.DataFrame:
    if "progress" not in view.memo:
        view.memo["progress"] = progress_table(view.runs, view.every)
    found: pd.DataFrame = view.memo["progress"]
    return found


def progress(view: View) -> Panel:
    """Progress of each sweep: a row in the table and a bar."""
    table = _progress(view)
    plots = (Plot(sweep_bars(table, view.theme)),) if len(table) else ()
    drawn = f", the newest {SHOWN} drawn" if len(table) > SHOWN else ""
    return Panel(
        "progress",
        "Progress",
        "Share of each sweep's jobs by status. Blank: jobs that have not started. The end is estimated from the time "
        "per job so far. Hours computed is the total time of all jobs, including repeated ones; models that are "
        "trained together share their time. Stopped jobs resume when the sweep is started again.",
        plots,
        table.drop(columns="key") if len(table) else table,
        counted(len(table), "sweep") + drawn,
        "" if len(table) else view.missing_message(view.every[:0], "", START),
        show_table=True,
    )


def pace(view: View) -> Panel:
    """Finished jobs over time."""
    table = _progress(view)
    return Panel(
        "pace",
        "Finished jobs over time",
        "Number of finished jobs against the time since the first of them started, one line per sweep. Click a step to "
        "see the job's run. The filter Sweep selects sweeps.",
        (Plot(over_time(view.runs, table, view.theme)),) if len(table) else (),
        message="" if len(table) else view.missing_message(view.every[:0], "", START),
    )


def listed_failures(view: View) -> pd.DataFrame:
    """Return the failed jobs listed in ``failures.json`` of the newest sweeps with failures, newest sweep first.

    Returns:
        ``fingerprint``, ``job``, ``error``, ``reason`` (the error without numbers, ids and paths), ``log`` (only for
        the first job of each reason), ``sweep_name``, and ``experiment_id``, ``run_id`` and ``started_ms`` of the
        sweep's run.
    """
    own = view.every[(view.every["kind"] == "sweep") & (metric(view.every, schema.SWEEP_FAILED) > 0)]
    rows: list[dict[str, object]] = []
    for run in own.sort_values("started_ms", ascending=False).head(SWEEPS).to_dict("records"):
        shared = {name: run[name] for name in ("experiment_id", "run_id", "started_ms")}
        found = legible(_entries, view.source.artifact(run["run_id"], schema.FAILURES)) or []
        rows += [entry | shared | {"sweep_name": run["run_name"]} for entry in found]
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates("fingerprint")


def _entries(content: Any) -> list[dict[str, object]]:
    """Return the entries of ``failures.json``; those of older versions have neither ``job`` nor ``log``."""
    return [
        {
            "fingerprint": str(one["fingerprint"]),
            "job": str(one.get("job", "a job")),
            "error": str(one["reason"]),
            "reason": general_reason(one["reason"]),
            "log": str(one.get("log", "")),
        }
        for one in content["failed"]
    ]


def all_failures(runs: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Return the runs, and a row for each listed failed job that has no failed run, with the ids of its sweep's run."""
    known = set(runs.loc[runs["status"].isin(UNFINISHED), "fingerprint"])
    others = listed[~listed["fingerprint"].isin(known)]
    others = others.assign(status="FAILED", kind=others["job"].str.split().str[0])
    return pd.concat([runs, others]) if len(others) else runs


def _excerpt(row: dict[Any, Any]) -> LogExcerpt:
    error = textwrap.shorten(row["error"], 100, placeholder=" …")
    return LogExcerpt(f"Log of {row['job']} ({row['sweep_name']}): {error}", row["log"])


def failures(view: View) -> Panel:
    """Failed jobs of sweeps by reason, with the newest error and the end of one log per reason."""
    listed = listed_failures(view)
    table = failure_table(all_failures(view.every[view.every["sweep"] != ""], listed))
    logs = tuple(map(_excerpt, listed[listed["log"] != ""].drop_duplicates("reason").head(LOGS).to_dict("records")))
    shown = f" Below the table: one log per reason, from the newest {SWEEPS} sweeps with failures." if logs else ""
    return Panel(
        "failures",
        "Failures by reason",
        "Failed and killed runs by error. Errors that differ only in numbers, ids and paths are counted together."
        + shown,
        table=table,
        logs=logs,
        message="" if len(table) else "No job of these sweeps has failed.",
        show_table=True,
        optional=True,
    )


PAGE = Page(
    "sweeps",
    "Sweeps",
    "Progress, estimated end, failures and cost of each sweep.",
    (progress, pace, failures),
    place=15,
)

"""Progress, estimated end, computing time and failures of sweeps, and finished jobs over time."""

import time
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.overview import SHOWN, narrow, sweep_table
from dashboards.figures.points import escape, lines
from dashboards.figures.style import Theme, figure, mark
from rsc_mlflow.analysis import UNENDED, UNFINISHED, metric
from rsc_mlflow.sweeps.failures import general_reason
from rsc_mlflow.tracking import schema


def failure_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per reason of failure, the most frequent first.

    Args:
        runs: failed and killed runs are used, others are ignored.

    Returns:
        ``reason``, ``runs`` (number), ``kinds``, ``last seen (UTC)``, ``error`` (of the newest run, at most 1,000
        characters) and ``links`` (at most 25 runs).
    """
    failed = runs[runs["status"].isin(UNFINISHED)].sort_values("started_ms", ascending=False)
    links = failed["experiment_id"].astype(str) + ":" + failed["run_id"]
    frame = failed.assign(reason=[general_reason(error) for error in failed["error"]], links=links)
    rows = [
        {
            "reason": reason,
            "runs": len(part),
            "kinds": ", ".join(sorted(set(part["kind"]))),
            "last seen (UTC)": _moment(part["started_ms"].iloc[0]),
            "error": str(part["error"].iloc[0])[:1000],
            "links": ",".join(part["links"].drop_duplicates().head(25)),
        }
        for reason, part in frame.groupby("reason", sort=False)
    ]
    table = pd.DataFrame(rows, columns=["reason", "runs", "kinds", "last seen (UTC)", "error", "links"])
    return table.sort_values("runs", ascending=False, kind="stable", ignore_index=True)


def _moment(ms: float) -> str:
    return "" if np.isnan(ms) else pd.Timestamp(ms, unit="ms").strftime("%Y-%m-%d %H:%M")


def progress_table(runs: pd.DataFrame, every: pd.DataFrame, now: float | None = None) -> pd.DataFrame:
    """Return one row per sweep, newest first.

    Args:
        runs: rows of :func:`rsc_mlflow.analysis.latest_per_fingerprint`.
        every: all runs, including repetitions, whose time is part of ``hours computed``.
        now: seconds since 1970; default: the current time.

    Returns:
        ``sweep`` (name), ``id``, ``state``, ``jobs``, ``finished``, ``running``, ``failed``, ``stopped``, ``left``
        (neither finished nor failed), ``started (UTC)``, ``minutes`` (until now or its end), ``minutes left`` and
        ``ends (UTC)`` (estimated from the time per job so far; empty if the sweep has ended or no job has finished;
        omitted if empty for all sweeps), ``hours computed`` (of all runs; the time of a cohort is counted once),
        ``links`` and ``key`` (value of the tag).
    """
    table = sweep_table(runs)
    if table.empty:
        return table
    runs, every = narrow(runs), narrow(every)
    spent = (metric(every, schema.SECONDS) / _together(every)).groupby(every["sweep"]).sum() / 3600
    own = every[every["kind"] == "sweep"].sort_values("started_ms", ascending=False).drop_duplicates("sweep")
    jobs = runs[(runs["sweep"] != "") & (runs["kind"] != "sweep")]
    now_ms = 1000 * (time.time() if now is None else now)
    rows = [
        _progress(row, own[own["sweep"] == row["key"]], jobs[jobs["sweep"] == row["key"]], now_ms)
        for row in table.to_dict("records")
    ]
    found = pd.concat([table.drop(columns=["links"]), pd.DataFrame(rows)], axis=1)
    found["hours computed"] = found["key"].map(spent)
    found["id"] = [key.rpartition("-")[2][:6] for key in found["key"]]
    order = ["sweep", "id", "state", "jobs", "finished", "running", "failed", "stopped", "left", "started (UTC)"]
    order += ["minutes", "minutes left", "ends (UTC)"] if found["ends (UTC)"].any() else ["minutes"]
    return found.assign(links=table["links"])[[*order, "hours computed", "links", "key"]]


def _together(runs: pd.DataFrame) -> "pd.Series[float]":
    """Return the size of each run's cohort; 1 for runs trained alone.  Each run logs the time of its whole cohort."""
    column = f"tags.{schema.COHORT_SIZE}"
    if column not in runs:
        return pd.Series(1.0, index=runs.index)
    return pd.to_numeric(runs[column], errors="coerce").fillna(1.0).clip(lower=1.0)


def _progress(row: dict[Any, Any], own: pd.DataFrame, jobs: pd.DataFrame, now_ms: float) -> dict[str, Any]:
    """Return the state and the times of one sweep."""
    status = own["status"].iloc[0] if len(own) else ""
    running = status in UNENDED
    total = row["jobs"]
    left = max(total - row["finished"] - row["failed"], 0) if total == total else float("nan")
    started = own["started_ms"].iloc[0] if len(own) else jobs["started_ms"].min()
    ended = own["end_time"].iloc[0] if len(own) and not running else jobs["end_time"].max()
    last = now_ms if running else ended
    done = jobs[(jobs["status"] == "FINISHED") & (jobs["end_time"] >= started)]
    weight = len(done) + row["running"] / 2  # a running job is half done on average
    pace = (now_ms - started) / weight if running and len(done) else float("nan")
    remaining = pace * max(left - row["running"] / 2, 0)
    return {
        "state": status.lower() or "no run of its own",
        "left": left,
        "started (UTC)": _moment(started),
        "minutes": (last - started) / 60_000,
        "minutes left": remaining / 60_000,
        "ends (UTC)": _moment(now_ms + remaining),
    }


def over_time(runs: pd.DataFrame, table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Plot the number of finished jobs against minutes since the first of them started, one line per sweep."""
    drawn = figure(theme, x="minutes since the first job began", y="jobs finished")
    runs = narrow(runs)
    jobs = runs[(runs["kind"] != "sweep") & (runs["status"] == "FINISHED") & runs["end_time"].notna()]
    for place, row in enumerate(table.head(SHOWN).to_dict("records")):
        mine = jobs[jobs["sweep"] == row["key"]].sort_values("end_time")
        look = mark(place)
        if len(mine):
            drawn.add_trace(
                go.Scatter(
                    x=(mine["end_time"] - mine["started_ms"].min()).to_numpy() / 60_000,
                    y=np.arange(1, len(mine) + 1),
                    name=lines(f"{row['sweep']} ({row['id']})"),
                    mode="lines",
                    line={"color": look.color, "dash": look.dash, "width": 2, "shape": "hv"},
                    customdata=(mine["experiment_id"].astype(str) + ":" + mine["run_id"]).tolist(),
                    hovertext=[escape(name) for name in mine["run_name"]],
                    hovertemplate="%{hovertext}<br>job %{y} after %{x:.1f} min<extra></extra>",
                )
            )
    drawn.update_yaxes(rangemode="tozero", tickformat=",d")
    return drawn

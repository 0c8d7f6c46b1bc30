"""Numbers of runs by kind and status, and of jobs by sweep and status."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape
from dashboards.figures.style import Theme, figure
from rsc_mlflow.analysis import UNENDED, metric
from rsc_mlflow.tracking import schema

STATES = {"FINISHED": "#228833", "RUNNING": "#4477AA", "SCHEDULED": "#66CCEE", "FAILED": "#EE6677", "KILLED": "#CCBB44"}
SHOWN = 12
"""Maximum number of sweeps in a figure."""
PATTERNS = {"FINISHED": "", "RUNNING": ".", "SCHEDULED": "", "FAILED": "x", "KILLED": "/"}


def states(runs: pd.DataFrame, theme: Theme) -> go.Figure:
    """Plot the number of runs by kind (bars) and status (colors and hatching)."""
    counted = runs.groupby(["kind", "status"]).size()
    kinds = counted.groupby(level=0).sum().sort_values().index.tolist()
    drawn = figure(theme, x="runs", y="", height=110 + 34 * len(kinds))
    for state, color in STATES.items():
        numbers = [int(counted.get((kind, state), 0)) for kind in kinds]
        if sum(numbers):
            drawn.add_trace(
                go.Bar(
                    x=numbers,
                    y=[escape(kind) for kind in kinds],
                    orientation="h",
                    name=state.lower(),
                    marker={"color": color, "pattern": {"shape": PATTERNS[state], "fgcolor": theme.paper}},
                    hovertemplate=f"%{{y}}: %{{x}} {state.lower()}<extra></extra>",
                )
            )
    drawn.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal")
    drawn.update_xaxes(tickformat=",d")
    return drawn


COUNTS = (schema.SWEEP_FINISHED, schema.SWEEP_FAILED, schema.SWEEP_LEFT)
"""Metrics of a sweep whose sum is the number of its jobs; running jobs are counted as left.

The parameter ``n_jobs`` does not count the jobs that the grid's jobs require.
"""


_OF_SWEEPS = ("sweep", "kind", "status", "started_ms", "end_time", "run_name", "n_jobs", "experiment_id", "run_id")


def narrow(runs: pd.DataFrame) -> pd.DataFrame:
    """Return only the columns needed for sweeps, because selecting rows is slow with hundreds of columns."""
    wanted = {*_OF_SWEEPS, *(f"metrics.{name}" for name in (*COUNTS, schema.SECONDS)), f"tags.{schema.COHORT_SIZE}"}
    return runs[[name for name in runs.columns if name in wanted]]


def sweep_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per sweep, newest first, with its number of jobs by status.

    Each fingerprint is one job; it counts as finished if any of its runs finished.  Two kinds of jobs have no run with
    the sweep's tag: those that had finished before the sweep, and those that failed before their run was created.  They
    are included in the sweep's metrics ``sweep/finished`` and ``sweep/failed``.  Shadow models have the tag but are not
    jobs, so the number of finished jobs is limited to the number of planned jobs.

    Args:
        runs: one row per fingerprint.

    Returns:
        ``key`` (value of the tag), ``sweep`` (name), ``jobs`` (planned; NaN if not logged), ``finished``, ``failed``,
        ``stopped`` (killed, or their process died), ``running`` and ``links``.
    """
    runs = narrow(runs)
    jobs = runs[(runs["sweep"] != "") & (runs["kind"] != "sweep")]
    own = runs[(runs["sweep"] != "") & (runs["kind"] == "sweep")].sort_values("started_ms", ascending=False)
    rows = []
    for sweep in dict.fromkeys([*own["sweep"], *jobs["sweep"]]):
        mine = jobs[jobs["sweep"] == sweep]
        parents = own[own["sweep"] == sweep]
        newest = parents.iloc[0] if len(parents) else None
        counted = metric(parents, schema.SWEEP_FINISHED).max()
        known = pd.concat([metric(parents, name) for name in COUNTS], axis=1).sum(axis=1, min_count=1)
        total = pd.concat([known, parents["n_jobs"]]).max() if len(parents) else float("nan")
        done = int(np.nanmin([np.nanmax([(mine["status"] == "FINISHED").sum(), counted]), total]))
        failed = np.nanmax([(mine["status"] == "FAILED").sum(), metric(parents.head(1), schema.SWEEP_FAILED).max()])
        rows.append(
            {
                "key": sweep,
                "sweep": sweep if newest is None else str(newest["run_name"] or sweep).removeprefix("sweep "),
                "jobs": total,
                "finished": done,
                "failed": int(np.nanmin([failed, max(total - done, 0)])),
                "stopped": int((mine["status"] == "KILLED").sum()),
                "running": int(mine["status"].isin(UNENDED).sum()),
                "links": "" if newest is None else f"{newest['experiment_id']}:{newest['run_id']}",
            }
        )
    columns = ["key", "sweep", "jobs", "finished", "failed", "stopped", "running", "links"]
    return pd.DataFrame(rows, columns=columns)


SWEEP_STATES = {"finished": "FINISHED", "running": "RUNNING", "stopped": "KILLED", "failed": "FAILED"}


def sweep_bars(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Plot a bar for each of the newest sweeps: percentages of finished, running, stopped and failed jobs."""
    rows = table.head(SHOWN)
    places = list(range(len(rows)))  # not names: all sweeps of a grid have the same name
    done = rows["finished"] + rows["failed"] + rows["stopped"] + rows["running"]
    total = rows["jobs"].where(rows["jobs"] >= done, done).replace(0, 1)
    drawn = figure(theme, x="share of jobs (%)", y="", height=110 + 30 * len(rows))
    for name, state in SWEEP_STATES.items():
        if name != "finished" and not rows[name].any():
            continue
        texts = [f"{n} of {t:.0f} {name}" for n, t in zip(rows[name], total, strict=True)]
        drawn.add_trace(
            go.Bar(
                x=100 * rows[name] / total,
                y=places,
                orientation="h",
                name=name,
                marker={"color": STATES[state], "pattern": {"shape": PATTERNS[state], "fgcolor": theme.paper}},
                hovertext=texts,
                hoverinfo="text",
                customdata=rows["links"],
            )
        )
    drawn.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal")
    drawn.update_xaxes(range=[0, 100])
    names = [escape(_short(sweep)) for sweep in rows["sweep"]]
    drawn.update_yaxes(tickvals=places, ticktext=names, range=[len(rows) - 0.5, -0.5])
    return drawn


def _short(text: str) -> str:
    return text if len(text) <= 28 else text[:12] + "…" + text[-15:]

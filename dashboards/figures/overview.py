"""Overview: how many runs of each kind, in which state, over time."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape
from dashboards.figures.style import Theme, figure
from rsc_mlflow.analysis import UNENDED, metric
from rsc_mlflow.tracking import schema

STATES = {"FINISHED": "#228833", "RUNNING": "#4477AA", "SCHEDULED": "#66CCEE", "FAILED": "#EE6677", "KILLED": "#CCBB44"}
SHOWN = 12
"""Sweeps that have a bar."""
PATTERNS = {"FINISHED": "", "RUNNING": ".", "SCHEDULED": "", "FAILED": "x", "KILLED": "/"}


def states(runs: pd.DataFrame, theme: Theme) -> go.Figure:
    """Runs by kind (bars) and state (colors and hatching)."""
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


COUNTS = (schema.SWEEP_FINISHED, schema.SWEEP_FAILED, schema.SWEEP_RUNNING, schema.SWEEP_LEFT)
"""What a sweep logs of its jobs; ``n_jobs`` leaves out those that the grid's own jobs require."""


_OF_SWEEPS = ("sweep", "kind", "status", "started_ms", "end_time", "run_name", "n_jobs", "experiment_id", "run_id")


def narrow(runs: pd.DataFrame) -> pd.DataFrame:
    """The columns that sweeps need: choosing rows of a frame with hundreds of columns takes milliseconds each time."""
    wanted = {*_OF_SWEEPS, *(f"metrics.{name}" for name in (*COUNTS, schema.SECONDS)), f"tags.{schema.COHORT_SIZE}"}
    return runs[[name for name in runs.columns if name in wanted]]


def sweep_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per sweep, newest first: its jobs by state, and its run.

    Each fingerprint is one job; one that failed and was repeated with success counts as finished.  Two kinds of jobs
    have no run with the sweep's tag: those that another sweep had finished before, and those that failed before their
    run was created.  They are in the counts that the sweep logs, ``sweep/finished`` and ``sweep/failed``.  Shadow
    models have the tag, too, but are not jobs: there are never more finished jobs than planned ones.

    Returns:
        ``key`` (the tag), ``sweep`` (name), ``jobs`` (planned; nan if not logged), ``finished``, ``failed``,
        ``stopped`` (by a signal, or with their process), ``running`` and ``links``.
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
    """A bar for each of the newest sweeps: finished, running, stopped and failed jobs as shares of all its jobs."""
    rows = table.head(SHOWN)
    places = list(range(len(rows)))  # not names: two sweeps of one grid have the same
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

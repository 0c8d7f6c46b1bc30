"""Overview: what is in the store."""

import pandas as pd

from dashboards.figures.overview import SHOWN, states, sweep_bars
from dashboards.figures.points import counted
from dashboards.figures.sweeps import failure_table, progress_table
from dashboards.panels import Page, Panel, Plot, SavedView, View
from rsc_mlflow import analysis
from rsc_mlflow.analysis import UNFINISHED, metric
from rsc_mlflow.names import TWO_CLASSES
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.schema import score_target

START_SWEEP = "mlflow run . --env-manager=local -e sweep -P grid=grids/quick/scores.yaml"
START = "make quickstart, or mlflow run . --env-manager=local -e train_classifier -P dataset=digitsv8-10-0-0"
NEWEST = 15
SWEEP_COLUMNS = ["sweep", "jobs", "finished", "failed", "stopped", "running", "links"]
LISTED = 150
"""Runs and models that a table lists, page by page."""


def runs(view: View) -> Panel:
    """Counts by kind and state."""
    every = view.every
    failed = int(every["status"].isin(UNFINISHED).sum())
    repeated = len(every) - len(view.runs)
    note = (
        f"{counted(len(every), 'run')} · {failed:,} failed or killed · {repeated:,} repeated (left out on the other "
        f"pages) · {counted(len(view.experiments), 'experiment')}"
    )
    table = every.groupby(["kind", "status"]).size().rename("runs").reset_index()
    plots = (Plot(states(every, view.theme)),) if len(every) else ()
    return Panel("runs", "Runs", "", plots, table, note, "" if len(every) else view.missing_message(every, "", START))


def sweeps(view: View) -> Panel:
    """Sweeps and how far they are."""
    table = progress_table(view.runs, view.every)
    about = "Jobs of each sweep, one per fingerprint. Jobs that have not started are left blank."
    message = "" if len(table) else f"No sweeps here. Start one: {START_SWEEP}"
    plots = (Plot(sweep_bars(table, view.theme)),) if len(table) else ()
    note = counted(len(table), "sweep") + (f", the newest {SHOWN} drawn" if len(table) > SHOWN else "")
    note += _newest_sweep(table) if len(table) else ""
    return Panel("sweeps", "Sweeps", about, plots, table[SWEEP_COLUMNS], note, message)


def _newest_sweep(table: pd.DataFrame) -> str:
    """How far the newest sweep is and when it will end."""
    row = table.iloc[0]
    total = f" of {row['jobs']:,.0f}" if row["jobs"] == row["jobs"] else ""
    done = f". Newest: {row['sweep']} ({row['state']}), {row['finished']:,.0f}{total} jobs finished"
    failed = f", {row['failed']:,.0f} failed" if row["failed"] else ""
    left = row.get("minutes left", float("nan"))
    return done + failed + (f", about {left:,.0f} min left, ends about {row['ends (UTC)']} UTC" if left == left else "")


def newest(view: View) -> Panel:
    """The newest runs."""
    table = _listing(view.every.sort_values("started_ms", ascending=False).head(LISTED))
    message = "" if len(table) else view.empty_message(view.every, [schema.TRAIN_LOSS], START)
    return Panel("newest", "Newest runs", table=table, message=message, show_table=True)


def failures(view: View) -> Panel:
    """Failures by reason; where there are none, the panel Runs says so."""
    table = failure_table(view.every)
    message = "" if len(table) else "None of the runs shown here has failed."
    note = f"{int(table['runs'].sum()):,} failed or killed, {counted(len(table), 'reason')}"
    about = "Errors that differ only in numbers, ids and paths are counted together; the newest one is shown in full."
    return Panel(
        "failures", "Failures by reason", about, table=table, note=note, message=message, show_table=True, optional=True
    )


def views(view: View) -> Panel:
    """Views that somebody saved."""
    found = [
        SavedView(key.removeprefix(schema.VIEW_PREFIX), address, view.experiments[experiment], experiment)
        for experiment, tags in view.source.experiment_tags().items()
        if experiment in view.experiments
        for key, address in sorted(tags.items())
        if key.startswith(schema.VIEW_PREFIX)
    ]
    about = "Each view is a tag of its experiment. Saving a view under an existing name replaces it."
    message = "" if found else "No views are saved here."
    return Panel("views", "Saved views", about, message=message, optional=True, views=tuple(found))


def unreadable(view: View) -> Panel:
    """Runs of which something could not be read."""
    found = analysis.problems(view.every)
    table = found.head(NEWEST)
    links = table["experiment_id"].astype(str) + ":" + table["run_id"].astype(str)
    table = pd.DataFrame(
        {"name": table["run_name"], "what and why": table["problem"].str.slice(0, 300), "links": links}
    )
    note = f"{counted(len(found), 'run')}, the newest {len(table)} listed"
    message = "" if len(table) else "All values of the runs shown here could be read."
    about = "Such values are treated as missing. Runs with unreadable seeds or settings are not included in any mean."
    return Panel("unreadable", "Could not be read", about, (), table, note, message, show_table=True, optional=True)


def models(view: View) -> Panel:
    """The newest registered models."""
    found = view.source.models()
    if len(found):
        known = view.every[["run_id", "experiment_id"]]
        found = found.merge(known, on="run_id", how="inner").head(LISTED)
        links = found["experiment_id"] + ":" + found["run_id"]
        found = found[["name", "version", "dataset", "method", "aliases"]].assign(links=links)
    message = "" if len(found) else "No registered models of these runs. Training registers one unless register=false."
    return Panel("models", "Registered models", table=found, message=message, show_table=True)


def _listing(rows: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "name": rows["run_name"],
        "kind": rows["kind"],
        "state": rows["status"].str.lower(),
        "started (UTC)": rows["started"].dt.strftime("%Y-%m-%d %H:%M").fillna("unknown"),
        "score": metric(rows, schema.SPURIOUS_SCORE),
    }
    if (rows["form"] == TWO_CLASSES).any():
        columns["of each class"] = [_of_each(rows, row) for row in range(len(rows))]
    links = rows["experiment_id"].astype(str) + ":" + rows["run_id"]
    return pd.DataFrame(columns | {"accuracy": metric(rows, schema.TEST_ACCURACY), "links": links})


def _of_each(rows: pd.DataFrame, row: int) -> str:
    """The scores of a run's two target classes, in words; empty where it has one."""
    classes = str(rows["target_class"].iloc[row]).split("-")
    if len(classes) != 2:
        return ""
    values = [metric(rows.iloc[[row]], score_target(int(k))).iloc[0] for k in classes]
    return ", ".join(f"{k}: {value:.4g}" for k, value in zip(classes, values, strict=True))


PAGE = Page(
    "",
    "Overview",
    "What is in the store: runs, failures, sweeps and models.",
    (runs, sweeps, views, newest, failures, unreadable, models),
    place=10,
)

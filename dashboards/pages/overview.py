"""Overview: the runs, sweeps, saved views, failures and models of the store."""

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
"""Maximum number of runs or models in a table."""


def runs(view: View) -> Panel:
    """Number of runs by kind and status."""
    every = view.every
    failed = int(every["status"].isin(UNFINISHED).sum())
    repeated = len(every) - len(view.runs)
    note = (
        f"{counted(len(every), 'run')} · {failed:,} failed or killed · {repeated:,} repeated (left out on the other "
        f"pages) · {counted(len(view.experiments), 'experiment')}"
    )
    table = every.groupby(["kind", "status"]).size().rename("runs").reset_index()
    plots = (Plot(states(every, view.theme)),) if len(every) else ()
    message = "" if len(every) else view.missing_message(every, "", START)
    return Panel("runs", "Runs", "Number of runs by kind and status.", plots, table, note, message)


def sweeps(view: View) -> Panel:
    """Jobs of each sweep by status."""
    table = progress_table(view.runs, view.every)
    about = "Share of each sweep's jobs by status. Blank: jobs that have not started."
    message = "" if len(table) else f"No sweeps here. Start one: {START_SWEEP}"
    plots = (Plot(sweep_bars(table, view.theme)),) if len(table) else ()
    note = counted(len(table), "sweep") + (f", the newest {SHOWN} drawn" if len(table) > SHOWN else "")
    note += _newest_sweep(table) if len(table) else ""
    return Panel("sweeps", "Sweeps", about, plots, table[SWEEP_COLUMNS], note, message)


def _newest_sweep(table: pd.DataFrame) -> str:
    """Return a sentence about the progress and the estimated end of the newest sweep."""
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
    """Failed and killed runs by reason."""
    table = failure_table(view.every)
    message = "" if len(table) else "None of the runs shown here has failed."
    note = f"{int(table['runs'].sum()):,} failed or killed, {counted(len(table), 'reason')}"
    about = "Failed and killed runs by error. Errors that differ only in numbers, ids and paths are counted together."
    return Panel(
        "failures", "Failures by reason", about, table=table, note=note, message=message, show_table=True, optional=True
    )


def views(view: View) -> Panel:
    """Saved views of the experiments that the user may read."""
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
    """Runs with values that could not be read."""
    found = analysis.problems(view.every)
    table = found.head(NEWEST)
    links = table["experiment_id"].astype(str) + ":" + table["run_id"].astype(str)
    table = pd.DataFrame(
        {"name": table["run_name"], "what and why": table["problem"].str.slice(0, 300), "links": links}
    )
    note = f"{counted(len(found), 'run')}, the newest {len(table)} listed"
    message = "" if len(table) else "All values of the runs shown here could be read."
    about = (
        "Runs with values that could not be read, which are treated as missing. Runs with unreadable seeds or settings "
        "are not included in any mean."
    )
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
    """Return the scores of a run's two target classes as text; empty if it has one target class."""
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

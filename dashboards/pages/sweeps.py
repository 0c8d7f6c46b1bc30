"""Sweeps: how far each one is, when it ends, what failed and what it cost."""

from dashboards.figures.overview import SHOWN, sweep_bars
from dashboards.figures.points import counted
from dashboards.figures.sweeps import failure_table, over_time, progress_table
from dashboards.panels import Page, Panel, Plot, View

START = "mlflow run . --env-manager=local -e sweep -P grid=grids/quick/scores.yaml"


def progress(view: View) -> Panel:
    """A row and a bar for each sweep."""
    table = progress_table(view.runs, view.every)
    plots = (Plot(sweep_bars(table, view.theme)),) if len(table) else ()
    drawn = f", the newest {SHOWN} drawn" if len(table) > SHOWN else ""
    return Panel(
        "progress",
        "Progress",
        "Jobs of each sweep, one per fingerprint. The end is estimated from the time that each finished job took so "
        "far. Hours computed: the total time of all jobs, including repeated ones.",
        plots,
        table.drop(columns="key") if len(table) else table,
        counted(len(table), "sweep") + drawn,
        "" if len(table) else view.missing_message(view.every[:0], "", START),
        show_table=True,
    )


def pace(view: View) -> Panel:
    """Finished jobs over time."""
    table = progress_table(view.runs, view.every)
    return Panel(
        "pace",
        "Finished jobs over time",
        "Each step is a finished job; click a step to see its run. The filter Sweep selects sweeps.",
        (Plot(over_time(view.runs, table, view.theme)),) if len(table) else (),
        message="" if len(table) else view.missing_message(view.every[:0], "", START),
    )


def failures(view: View) -> Panel:
    """Failed jobs of sweeps by reason, each with the newest error."""
    table = failure_table(view.every[view.every["sweep"] != ""])
    return Panel(
        "failures",
        "Failures by reason",
        "Errors that differ only in numbers, ids and addresses are counted together; the newest one is shown in full.",
        table=table,
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

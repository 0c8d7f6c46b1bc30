"""Compare: any runs beside each other."""

import pandas as pd

from dashboards.figures.compare import curves, differing, labels
from dashboards.panels import Page, Panel, Plot, View
from rsc_mlflow.tracking import schema

MOST = 8
CURVES = (
    (schema.SPURIOUS_SCORE, "spurious score"),
    (schema.TEST_ACCURACY, "clean test accuracy"),
    (schema.TRAIN_LOSS, "training loss"),
    (schema.TRAIN_ACCURACY, "training accuracy"),
)
CHOOSE = "Choose up to 8 runs above (type a part of a name), or click a point on another page and take Compare there."


def chosen(view: View) -> pd.DataFrame:
    """The runs that the address names, in its order, at most eight."""
    wanted = list(dict.fromkeys(view.filters.options.get("run", ())))[:MOST]
    known = view.every.drop_duplicates("run_id").set_index("run_id", drop=False)
    return known.loc[[run_id for run_id in wanted if run_id in known.index]]


def _message(view: View, runs: pd.DataFrame) -> str:
    wanted = view.filters.options.get("run", ())
    if len(runs):
        return ""
    if wanted:
        return "The filters let none of the runs in the address through. Reset them, or choose other runs."
    return CHOOSE if len(view.every) else view.empty_message(view.every, [schema.TRAIN_LOSS], "make quickstart")


def parameters(view: View) -> Panel:
    """Parameters that differ."""
    runs = chosen(view)
    table = differing(runs, "params.") if len(runs) else pd.DataFrame()
    message = _message(view, runs)
    if not message and table.empty:
        message = "These runs have the same parameters."
    title = "Parameters that differ" if len(runs) != 1 else "Parameters"
    return Panel("parameters", title, table=table, message=message, show_table=True)


def over_epochs(view: View) -> Panel:
    """Curves over epochs."""
    runs = chosen(view)
    links = [f"{e}:{r}" for e, r in zip(runs["experiment_id"], runs["run_id"], strict=True)]
    names = labels(runs)
    plots, rows = [], []
    for metric, title in CURVES:
        found = {label: view.source.history(run, metric) for label, run in zip(names, runs["run_id"], strict=True)}
        if any(len(points) > 1 for points in found.values()):
            plots.append(Plot(curves(found, links, view.theme, title), title))
            rows += [
                {"metric": metric, "run": label, "epoch": step, "value": value, "links": link}
                for (label, points), link in zip(found.items(), links, strict=True)
                for step, value in points
            ]
    message = _message(view, runs)
    if not message and not plots:
        message = "These runs have no values over epochs."
    return Panel("curves", "Over epochs", "", tuple(plots), pd.DataFrame(rows), "", message)


def metrics(view: View) -> Panel:
    """Metrics side by side."""
    runs = chosen(view)
    table = differing(runs, "metrics.") if len(runs) else pd.DataFrame()
    title = "Metrics that differ" if len(runs) != 1 else "Metrics"
    return Panel("metrics", title, table=table, message=_message(view, runs), show_table=True)


PAGE = Page(
    "compare",
    "Compare",
    "Any runs beside each other: parameters that differ, curves over epochs, metrics.",
    (parameters, over_epochs, metrics),
    place=80,
)

"""Unlearning: does the pattern go when its examples go?"""

import math

import pandas as pd

from dashboards.alike import COUNT, RECIPES, Like, like
from dashboards.figures.dots import dots
from dashboards.figures.points import summary, unlike
from dashboards.figures.style import in_order, share_range
from dashboards.figures.unlearning import (
    METHODS,
    decades,
    dumbbells,
    method_mark,
    short,
    stage_points,
    trade_off,
    trade_off_points,
)
from dashboards.pages.scores import facets
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.analysis import metric, points

MADE_BY = "mlflow run . -e incremental_retraining, group_influence, exact_retraining … on a trained model"
SPLITS = (
    ("none", "all in one figure"),
    ("paper", "one figure per pattern"),
    ("dataset_family", "one figure per family"),
)
SPLIT = Option("split", "Split", SPLITS, "paper")
GAPS = (
    ("gap/spurious/score", "spurious score"),
    ("gap/spurious/flip_rate", "flip rate"),
    ("gap/test/accuracy", "clean accuracy"),
    ("unlearn/kl_to_reference", "KL to the reference, clean images"),
    ("unlearn/kl_to_reference_pattern", "KL to the reference, with the pattern"),
    ("unlearn/forget_accuracy", "accuracy on the forgotten examples"),
    ("unlearn/parameter_distance", "distance of the parameters to the source"),
)
GAP = Option("gap", "Measure", GAPS, "gap/spurious/score")
GAP_ABOUT = "Value of the method minus that of the exact retraining; 0: nothing tells the two apart."
ABOUT = {
    "unlearn/kl_to_reference": "Divergence from the exact retraining's predictions on test examples; 0: they agree.",
    "unlearn/kl_to_reference_pattern": "Divergence from the exact retraining's predictions on test examples that carry "
    "the pattern; 0: they agree.",
    "unlearn/forget_accuracy": "How often the network still gives the forgotten examples their old label.",
    "unlearn/parameter_distance": "How far the method moved the parameters (ℓ2 norm).",
}


def _like(view: View) -> Like:
    shown = ["method", "method_options", "pattern", "dataset_family"]
    return like(view, view.kind("unlearn"), shown, cover=["method", "pattern"])


def _runs(view: View) -> pd.DataFrame:
    return _like(view).runs


def _notice(view: View, table: pd.DataFrame) -> str:
    return " ".join(part for part in (_like(view).notice, unlike(table)) if part)


def before_after(view: View) -> Panel:
    """Scores before, after, and of the exact retraining."""
    runs = _runs(view)
    split = view.option(SPLIT)
    column = None if split == "none" else split
    table = stage_points(runs, ["method", column] if column else ["method"], "spurious/score")
    cut = facets(table, column)
    ends = share_range(table, also=(0,))
    if column == "paper":
        cut = sorted(cut, key=lambda pair: in_order(table["paper"].tolist()).index(pair[0]))
    return Panel(
        "before_after",
        "Spurious score before and after unlearning",
        "Reference: a network trained anew without the spurious examples. A method that forgets well ends at the "
        "reference.",
        tuple(Plot(dumbbells(rows, view.theme, "spurious score", ends), heading) for heading, rows in cut if len(rows)),
        table,
        summary(table),
        view.nothing(runs, ["spurious/score"], MADE_BY),
        notice=_notice(view, table),
    )


def _by_method(
    view: View, runs: pd.DataFrame, key: str, title: str, about: str, name: str, y: str, *, limit: float = math.inf
) -> Panel:
    table = points(runs, ["paper", "method"], name)
    methods = [m for m in METHODS if m in set(table["method"])]
    methods += sorted(set(table["method"]) - set(methods))
    drawn = dots(
        table,
        "paper",
        "method",
        view.theme,
        x="pattern",
        y=y,
        categories=in_order(table["paper"].tolist()),
        groups=methods,
        look=method_mark,
        least=-limit,
        most=limit,
    )
    drawn.for_each_trace(lambda trace: trace.update(name=short(trace.name)))
    if name == "unlearn/seconds":
        drawn.update_yaxes(type="log", tickformat="~g", range=None, **decades(table["mean"]))
    message = view.nothing(runs, [name], MADE_BY)
    return Panel(key, title, about, (Plot(drawn),), table, summary(table), message, notice=_notice(view, table))


def gaps(view: View) -> Panel:
    """Distance to the exact retraining."""
    name = view.option(GAP)
    words = dict(GAPS)[name]
    if name.startswith("gap/"):
        title, y = f"Gap to the exact retraining: {words}", f"gap in {words}"
        return _by_method(view, _runs(view), "gaps", title, GAP_ABOUT, name, y, limit=1)
    title = f"{words[0].upper()}{words[1:]}"
    return _by_method(view, _runs(view), "gaps", title, ABOUT[name], name, words)


def accuracy(view: View) -> Panel:
    """Clean accuracy after unlearning."""
    runs = _runs(view)
    change = metric(runs, "test/accuracy") - metric(runs, "before/test/accuracy")
    about = "What forgetting costs on clean test examples: accuracy after minus accuracy before."
    runs = runs.assign(**{"metrics.change": change})
    return _by_method(view, runs, "accuracy", "Change of clean test accuracy", about, "change", "change of accuracy")


def seconds(view: View) -> Panel:
    """Time of each method."""
    about = "Wall time of the update alone, without loading and scoring."
    return _by_method(view, _runs(view), "seconds", "Seconds", about, "unlearn/seconds", "seconds (log)")


def trade(view: View) -> Panel:
    """Gap against time."""
    runs = _runs(view)
    table = trade_off_points(runs)
    return Panel(
        "trade_off",
        "Trade-off: what is left against what it costs",
        "A point a method, family, pattern and number of examples. Best is lower left.",
        (Plot(trade_off(table, view.theme)),),
        table,
        summary(table),
        view.nothing(runs, ["gap/spurious/score"], f"{MADE_BY}, with -P reference=train"),
        notice=_notice(view, table),
    )


PAGE = Page(
    "unlearning",
    "Unlearning",
    "Does the pattern go when its examples go?",
    (before_after, gaps, accuracy, seconds, trade),
    (SPLIT, GAP, RECIPES, COUNT),
)

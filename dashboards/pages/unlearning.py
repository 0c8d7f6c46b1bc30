"""Unlearning: methods compared with a retrained reference, which never saw the spurious examples."""

import math
from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go

from dashboards.alike import COUNT, RECIPES, Like, like
from dashboards.figures.dot_plot import dot_plot
from dashboards.figures.points import lines, summary, unlike
from dashboards.figures.style import Theme, in_place, plain, share_range
from dashboards.figures.unlearning import (
    before_after_plot,
    decades,
    hollow,
    in_method_order,
    short,
    stage_points,
    trade_off,
    trade_off_points,
    variant_mark,
    with_verdicts,
)
from dashboards.figures.unlearning_table import gap_table, variants, with_membership
from dashboards.grouping import facet_by, facet_columns, facets, group_by, with_values
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.analysis import limits, metric, points
from rsc_mlflow.tracking import schema

MADE_BY = (
    "any unlearning method on a trained model, e.g. "
    "mlflow run . --env-manager=local -e relabel_finetuning -P dataset=digitsv8-10-0-0"
)
GROUP = group_by("Horizontal axis: group by", without=["method_options"])
FACET = facet_by("dataset_family", without=["method_options"])
GAPS = (
    (schema.gap(schema.SPURIOUS_SCORE), "spurious score"),
    (schema.gap(schema.SPURIOUS_FLIP_RATE), "flip rate"),
    (schema.gap(schema.TEST_ACCURACY), "clean accuracy"),
    (schema.gap(schema.FORGET_LOSS), "loss on the forgotten examples"),
    (schema.gap(schema.FORGET_CONFIDENCE), "confidence in the forgotten examples' old labels"),
    (schema.KL_TO_REFERENCE, "KL to the retrained reference, clean images"),
    (schema.KL_TO_REFERENCE_PATTERN, "KL to the retrained reference, with the pattern"),
    (schema.FORGET_LOSS, "loss on the forgotten examples (no gap)"),
    (schema.FORGET_CONFIDENCE, "confidence in the forgotten examples' old labels (no gap)"),
    (schema.FORGET_ACCURACY, "accuracy on the forgotten examples"),
    (schema.PARAMETER_DISTANCE, "distance of the parameters to the source"),
)
GAP = Option("gap", "Measure", GAPS, schema.gap(schema.SPURIOUS_SCORE))
GAP_ABOUT = "Value of the unlearned model minus value of the retrained reference."
ABOUT = {
    schema.KL_TO_REFERENCE: "KL divergence in nats of the unlearned model's predictions from the retrained "
    "reference's, averaged over test images without the pattern. At 0, the predictions are equal.",
    schema.KL_TO_REFERENCE_PATTERN: "KL divergence in nats of the unlearned model's predictions from the retrained "
    "reference's, averaged over test images with the pattern. At 0, the predictions are equal.",
    schema.FORGET_LOSS: "Mean loss in nats of the unlearned model on the forgotten examples with their old labels.",
    schema.FORGET_CONFIDENCE: "Mean probability that the unlearned model gives the forgotten examples' old labels.",
    schema.FORGET_ACCURACY: "Share of the forgotten examples that the unlearned model still gives their old label.",
    schema.PARAMETER_DISTANCE: "ℓ2 distance between the parameters before and after unlearning.",
}
OVER_SEEDS = " Points are means over seeds with their 95 % intervals."
HOLLOW = (
    "Hollow: at least half of the runs over-forget (their loss on the forgotten examples is far higher than the "
    "retrained reference's, or their confidence far lower), or at least one run destroyed the model. Such a point is "
    "not a success."
)


def _like(view: View, *shown: str) -> tuple[Like, list[str]]:
    """Return the runs of a figure that shows the columns ``shown`` and the variants, and the columns of its parts."""
    facet = facet_columns(view, FACET, *shown)
    columns = list(dict.fromkeys([*shown, *facet]))
    runs = with_values(view.kind("unlearn"), columns)
    found = like(view, runs, ["variant", *columns], cover=["method", "pattern"])
    return replace(found, runs=variants(found.runs)), [*facet, *found.by]


def _notice(alike: Like, table: pd.DataFrame) -> str:
    return " ".join(part for part in (alike.notice, unlike(table)) if part)


def _hollow(table: pd.DataFrame) -> str:
    """Return the explanation of hollow points if the table has faulty ones."""
    return f" {HOLLOW}" if len(table) and table["faulty"].any() else ""


def before_after(view: View) -> Panel:
    """Scores before and after unlearning and of the retrained reference."""
    group = view.option(GROUP)
    alike, cut = _like(view, group)
    by = ["variant", *cut, group]
    table = with_verdicts(stage_points(alike.runs, by, schema.SPURIOUS_SCORE, alike.average), alike.runs, by)
    ends = share_range(table, also=(0,))
    return Panel(
        "before_after",
        "Spurious score before and after unlearning",
        "Mean spurious score over seeds, with its 95 % interval: before unlearning, after it, and of the reference, a "
        "model trained from scratch without the spurious examples. The closer a method ends to the reference, the "
        f"better.{_hollow(table)}",
        tuple(
            Plot(before_after_plot(rows, view.theme, "spurious score", ends), heading)
            for heading, rows in facets(table, *cut, group)
            if len(rows)
        ),
        table.drop(columns="faulty"),
        summary(table, seeds=False),
        view.empty_message(alike.runs, [schema.SPURIOUS_SCORE], MADE_BY),
        notice=_notice(alike, table),
    )


def side_by_side(view: View) -> Panel:
    """Table of all measures by method."""
    shown = list(dict.fromkeys(["dataset_family", "paper", "n_spurious", view.option(GROUP)]))
    alike, cut = _like(view, *shown)
    table = gap_table(with_membership(alike.runs, view.kind("attack")), [*shown, *cut, "variant"])
    return Panel(
        "side_by_side",
        "Methods side by side: distance to the retrained reference",
        "Mean over seeds with its 95 % interval; with fewer than five seeds, the mean alone. Gap: value of the "
        "unlearned model minus value of the retrained reference. KL: divergence from the reference's predictions in "
        "nats. The method with the smallest absolute gap in spurious score has rank 1. Methods that over-forget "
        "(their loss on the forgotten examples is far higher than the reference's, or their confidence far lower) or "
        "destroy the model (its test accuracy fell) are last.",
        table=_method_first(table),
        message=view.empty_message(alike.runs, [schema.gap(schema.SPURIOUS_SCORE)], f"{MADE_BY} -P reference=train"),
        show_table=True,
        notice=alike.notice,
    )


def _method_first(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with variant and rank as its first columns, which are visible on narrow screens."""
    if table.empty:
        return table
    order = ["variant", "rank", *(name for name in table.columns if name not in ("variant", "rank"))]
    return table.assign(variant=table["variant"].map(short))[order]


def _by_method(
    view: View, key: str, title: str, about: str, name: str, y: str, of: "pd.Series[float] | None" = None
) -> Panel:
    """Return a panel with one point of a metric per variant and value of the option ``GROUP``.

    Args:
        view: the page's input.
        key: key of the panel.
        title: title of the panel.
        about: first sentences of the caption.
        name: metric.
        y: axis title.
        of: values of the metric, float ``[runs]``; default: those that the runs logged.
    """
    group = view.option(GROUP)
    alike, by = _like(view, group)
    runs = alike.runs if of is None else alike.runs.assign(**{f"metrics.{name}": of})
    keys = [*by, group, "variant"]
    table = with_verdicts(points(runs, keys, name, average=alike.average), runs, keys)
    cut = facets(table, *by)
    plots = [Plot(_dots(rows, view.theme, y, name, group), heading if len(cut) > 1 else "") for heading, rows in cut]
    message = view.empty_message(runs, [name], MADE_BY)
    shown = table.drop(columns="faulty")
    return Panel(
        key,
        title,
        about + OVER_SEEDS + _hollow(table),
        tuple(plots),
        shown,
        summary(table),
        message,
        notice=_notice(alike, table),
    )


def _dots(table: pd.DataFrame, theme: Theme, y: str, name: str, group: str) -> go.Figure:
    order = in_method_order(table["variant"])
    low, high = limits(name)
    drawn = dot_plot(
        table,
        group,
        "variant",
        theme,
        x=dict(GROUP.choices)[group],
        y=y,
        categories=in_place(table[group]),
        groups=[(variant, variant, variant_mark(variant, order)) for variant in order],
        label=plain,
        least=low if high <= 1 else -math.inf,
        most=high if high <= 1 else math.inf,
    )
    for trace in drawn.data:
        rows = table[table["variant"] == trace.name]
        if trace.hovertext is not None and len(trace.x) == len(rows):
            trace.marker.symbol = hollow(str(trace.marker.symbol), rows["faulty"].tolist())
        trace.name = lines(short(trace.name))
    if name == schema.UNLEARN_SECONDS:
        drawn.update_yaxes(type="log", tickformat="~g", range=None, **decades(table["mean"]))
    return drawn


def gaps(view: View) -> Panel:
    """The measure that is selected by the option ``GAP``."""
    name = view.option(GAP)
    words = dict(GAPS)[name]
    if name.startswith(schema.GAP_PREFIX):
        title, y = f"Gap to the retrained reference: {words}", f"gap in {words}"
        return _by_method(view, "gaps", title, GAP_ABOUT, name, y)
    words = words.removesuffix(" (no gap)")
    return _by_method(view, "gaps", f"{words[0].upper()}{words[1:]}", ABOUT[name], name, words)


def accuracy(view: View) -> Panel:
    """Change of the clean test accuracy."""
    runs = view.kind("unlearn")
    change = metric(runs, schema.TEST_ACCURACY) - metric(runs, schema.before(schema.TEST_ACCURACY))
    about = "Accuracy on test images without the pattern, after unlearning minus before."
    return _by_method(view, "accuracy", "Change of clean test accuracy", about, "change", "change of accuracy", change)


def seconds(view: View) -> Panel:
    """Duration of each method."""
    about = "Wall-clock time of the method alone, without loading and evaluation."
    return _by_method(view, "seconds", "Seconds", about, schema.UNLEARN_SECONDS, "seconds (log)")


def trade(view: View) -> Panel:
    """Gap against time."""
    shown = list(dict.fromkeys(["paper", "n_spurious", view.option(GROUP)]))
    alike, by = _like(view, *shown)
    table = trade_off_points(alike.runs, ["variant", *shown, *by])
    cut = facets(table, *by)
    return Panel(
        "trade_off",
        "Trade-off: gap in spurious score against time",
        "Mean gap in spurious score to the retrained reference against mean seconds, over seeds; one point per "
        "method, pattern and number of examples. Fast methods that match the reference are on the left at 0. Below 0, "
        f"the score after unlearning is lower than after retraining.{_hollow(table)}",
        tuple(Plot(trade_off(rows, view.theme), heading if len(cut) > 1 else "") for heading, rows in cut),
        table.drop(columns="faulty"),
        summary(table, seeds=False),
        view.empty_message(alike.runs, [schema.gap(schema.SPURIOUS_SCORE)], f"{MADE_BY} -P reference=train"),
        notice=_notice(alike, table),
    )


PAGE = Page(
    "unlearning",
    "Unlearning",
    "Does a model forget the pattern when its spurious examples are unlearned?",
    (side_by_side, before_after, gaps, accuracy, seconds, trade),
    (GAP, GROUP, FACET, RECIPES, COUNT),
    place=40,
)

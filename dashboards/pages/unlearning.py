"""Unlearning: does the pattern go when its examples go?"""

import math
from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go

from dashboards.alike import COUNT, RECIPES, Like, like
from dashboards.figures.dot_plot import dot_plot
from dashboards.figures.points import lines, summary, unlike
from dashboards.figures.style import Theme, in_order, share_range
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
from dashboards.pages.scores import facets
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.analysis import limits, metric, points
from rsc_mlflow.tracking import schema

MADE_BY = (
    "any unlearning method on a trained model, e.g. "
    "mlflow run . --env-manager=local -e relabel_finetuning -P dataset=digitsv8-10-0-0"
)
SPLITS = (
    ("none", "all in one figure"),
    ("paper", "one figure per family and pattern"),
    ("dataset_family", "one figure per family"),
)
SPLIT = Option("split", "Split", SPLITS, "paper")
GAPS = (
    (schema.gap(schema.SPURIOUS_SCORE), "spurious score"),
    (schema.gap(schema.SPURIOUS_FLIP_RATE), "flip rate"),
    (schema.gap(schema.TEST_ACCURACY), "clean accuracy"),
    (schema.gap(schema.FORGET_LOSS), "loss on the forgotten examples"),
    (schema.gap(schema.FORGET_CONFIDENCE), "confidence in the forgotten examples' old labels"),
    (schema.KL_TO_REFERENCE, "KL to the retrained reference, clean images"),
    (schema.KL_TO_REFERENCE_PATTERN, "KL to the retrained reference, with the pattern"),
    (schema.FORGET_LOSS, "loss on the forgotten examples, itself"),
    (schema.FORGET_CONFIDENCE, "confidence in the forgotten examples' old labels, itself"),
    (schema.FORGET_ACCURACY, "accuracy on the forgotten examples"),
    (schema.PARAMETER_DISTANCE, "distance of the parameters to the source"),
)
GAP = Option("gap", "Measure", GAPS, schema.gap(schema.SPURIOUS_SCORE))
GAP_ABOUT = "Value of the method minus that of the retrained reference; 0: nothing tells the two apart."
ABOUT = {
    schema.KL_TO_REFERENCE: "Divergence from the retrained reference's predictions on test examples; 0: they agree.",
    schema.KL_TO_REFERENCE_PATTERN: "Divergence from the retrained reference's predictions on test examples that "
    "carry the pattern; 0: they agree.",
    schema.FORGET_LOSS: "Mean loss on the forgotten examples with their old labels, in nats.",
    schema.FORGET_CONFIDENCE: "Mean probability that the network gives the forgotten examples' old labels.",
    schema.FORGET_ACCURACY: "How often the network still gives the forgotten examples their old label.",
    schema.PARAMETER_DISTANCE: "How far the method moved the parameters (ℓ2 norm).",
}
HOLLOW = (
    "Hollow: at least half of the runs over-forget (their loss or confidence on the forgotten examples is far beyond "
    "the retrained reference's) or one destroyed the model; no success, wherever the point stands."
)


def _like(view: View, *shown: str) -> Like:
    """The runs that a figure draws whose axes, marks and facets show these columns and the variants of methods."""
    found = like(view, view.kind("unlearn"), ["variant", *shown], cover=["method", "pattern"])
    return replace(found, runs=variants(found.runs))


def _notice(alike: Like, table: pd.DataFrame) -> str:
    return " ".join(part for part in (alike.notice, unlike(table)) if part)


def _cut(table: pd.DataFrame, *columns: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Facets, those of patterns in the paper's order."""
    order = in_order(table["paper"].tolist()) if "paper" in table else []
    return sorted(facets(table, *columns), key=lambda pair: order.index(pair[1]["paper"].iloc[0]) if order else 0)


def before_after(view: View) -> Panel:
    """Scores before, after, and of the exact retraining."""
    split = {"none": [], "paper": ["dataset_family", "paper"]}.get(view.option(SPLIT), ["dataset_family"])
    alike = _like(view, *split)
    by = ["variant", *split, *alike.by]
    table = with_verdicts(stage_points(alike.runs, by, schema.SPURIOUS_SCORE, alike.average), alike.runs, by)
    ends = share_range(table, also=(0,))
    return Panel(
        "before_after",
        "Spurious score before and after unlearning",
        "Reference: a network trained from scratch without the spurious examples. A method that forgets well ends at "
        f"the reference. {HOLLOW}",
        tuple(
            Plot(before_after_plot(rows, view.theme, "spurious score", ends), heading)
            for heading, rows in _cut(table, *split, *alike.by)
            if len(rows)
        ),
        table.drop(columns="faulty"),
        summary(table),
        view.empty_message(alike.runs, [schema.SPURIOUS_SCORE], MADE_BY),
        notice=_notice(alike, table),
    )


def side_by_side(view: View) -> Panel:
    """Table of all metrics of every method."""
    shown = ("dataset_family", "paper", "n_spurious")
    alike = _like(view, *shown)
    table = gap_table(with_membership(alike.runs, view.kind("attack")), [*shown, *alike.by, "variant"])
    return Panel(
        "side_by_side",
        "Methods side by side: distance to the retrained reference",
        "Mean over seeds and its 95 % interval; with fewer than five seeds, the mean alone. Gaps: the method's "
        "value minus the retrained reference's. KL: from the retrained reference's predictions. Of each setting, what "
        "is nearest to it in spurious score stands first, and what has a fault last: over-forgets (its loss or "
        "confidence on the forgotten examples is far beyond the retrained reference's) or destroyed (its test accuracy "
        "fell).",
        table=table.assign(variant=table["variant"].map(short)) if len(table) else table,
        message=view.empty_message(alike.runs, [schema.gap(schema.SPURIOUS_SCORE)], f"{MADE_BY} -P reference=train"),
        show_table=True,
        notice=alike.notice,
    )


def _by_method(
    view: View, key: str, title: str, about: str, name: str, y: str, of: "pd.Series[float] | None" = None
) -> Panel:
    """One point per variant and pattern of a metric (``values`` if no run logged it), one figure per family."""
    alike = _like(view, "paper", "dataset_family")
    runs = alike.runs if of is None else alike.runs.assign(**{f"metrics.{name}": of})
    by = ["dataset_family", *alike.by, "paper", "variant"]
    table = with_verdicts(points(runs, by, name, average=alike.average), runs, by)
    cut = facets(table, "dataset_family", *alike.by)
    plots = [Plot(_dots(rows, view.theme, y, name), heading if len(cut) > 1 else "") for heading, rows in cut]
    message = view.empty_message(runs, [name], MADE_BY)
    shown = table.drop(columns="faulty")
    return Panel(
        key, title, f"{about} {HOLLOW}", tuple(plots), shown, summary(table), message, notice=_notice(alike, table)
    )


def _dots(table: pd.DataFrame, theme: Theme, y: str, name: str) -> go.Figure:
    order = in_method_order(table["variant"])
    low, high = limits(name)
    drawn = dot_plot(
        table,
        "paper",
        "variant",
        theme,
        x="pattern",
        y=y,
        categories=in_order(table["paper"].tolist()),
        groups=order,
        look=lambda variant: variant_mark(variant, order),
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
    """Distance to the exact retraining."""
    name = view.option(GAP)
    words = dict(GAPS)[name]
    if name.startswith(schema.GAP_PREFIX):
        title, y = f"Gap to the retrained reference: {words}", f"gap in {words}"
        return _by_method(view, "gaps", title, GAP_ABOUT, name, y)
    words = words.removesuffix(", itself")
    return _by_method(view, "gaps", f"{words[0].upper()}{words[1:]}", ABOUT[name], name, words)


def accuracy(view: View) -> Panel:
    """Clean accuracy after unlearning."""
    runs = view.kind("unlearn")
    change = metric(runs, schema.TEST_ACCURACY) - metric(runs, schema.before(schema.TEST_ACCURACY))
    about = "What forgetting costs on clean test examples: accuracy after minus accuracy before."
    return _by_method(view, "accuracy", "Change of clean test accuracy", about, "change", "change of accuracy", change)


def seconds(view: View) -> Panel:
    """Time of each method."""
    about = "Wall time of the update alone, without loading and scoring."
    return _by_method(view, "seconds", "Seconds", about, schema.UNLEARN_SECONDS, "seconds (log)")


def trade(view: View) -> Panel:
    """Gap against time."""
    shown = ("dataset_family", "paper", "n_spurious")
    alike = _like(view, *shown)
    table = trade_off_points(alike.runs, ["variant", *shown, *alike.by])
    return Panel(
        "trade_off",
        "Trade-off: what is left against what it costs",
        "One point per method, family, pattern and number of examples. Best is a gap of 0 on the left: below 0, more "
        f"was forgotten than retraining forgets. {HOLLOW}",
        (Plot(trade_off(table, view.theme)),),
        table.drop(columns="faulty"),
        summary(table),
        view.empty_message(alike.runs, [schema.gap(schema.SPURIOUS_SCORE)], f"{MADE_BY} -P reference=train"),
        notice=_notice(alike, table),
    )


PAGE = Page(
    "unlearning",
    "Unlearning",
    "Does the pattern go when its examples go?",
    (side_by_side, before_after, gaps, accuracy, seconds, trade),
    (SPLIT, GAP, RECIPES, COUNT),
    place=40,
)

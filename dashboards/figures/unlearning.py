"""Unlearning: before, after and reference of each method, its gap, its price."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import behind, escape, hover, interval, records
from dashboards.figures.scores import error
from dashboards.figures.style import Mark, Theme, figure, mark
from rsc_mlflow.analysis import metric, series

METHODS = (
    "incremental_retraining",
    "group_influence",
    "relabel_finetuning",
    "gradient_difference",
    "exact_retraining",
)
SHORT = {
    "incremental_retraining": "incremental retraining",
    "group_influence": "group influence",
    "relabel_finetuning": "relabel fine-tuning",
    "gradient_difference": "gradient difference",
    "exact_retraining": "exact retraining",
}
STAGES = {
    "before": Mark("#999999", "circle-open", "solid"),
    "after": Mark("#4477AA", "circle", "solid"),
    "reference": Mark("#EE6677", "diamond-tall", "solid"),
}


def method_mark(method: str) -> Mark:
    """A method's fixed mark."""
    return mark(METHODS.index(method)) if method in METHODS else mark(len(METHODS))


def short(method: object) -> str:
    """A method's name for a person."""
    return SHORT.get(str(method), str(method))


def stage_points(runs: pd.DataFrame, by: list[str], metric_name: str) -> pd.DataFrame:
    """Points of one metric before and after unlearning and of the exact retraining (value minus gap).

    Returns:
        points (see :func:`rsc_mlflow.analysis.series`) with the column ``stage``.
    """
    after, gap = metric(runs, metric_name), metric(runs, f"gap/{metric_name}")
    reference = (after - gap).where(runs["method"] != "exact_retraining", after)
    staged = {"before": metric(runs, f"before/{metric_name}"), "after": after, "reference": reference}
    return series(runs, by, staged).rename(columns={"series": "stage"})


def dumbbells(table: pd.DataFrame, theme: Theme, x: str, ends: list[float] | None) -> go.Figure:
    """A row a method: before, after and reference, joined by a line; ``ends`` is the axis' range."""
    methods = [m for m in METHODS if m in set(table["method"])]
    methods += sorted(set(table["method"]) - set(methods))
    drawn = figure(theme, x=x, y="", height=110 + 52 * len(methods))
    change = [row for row in records(table, ["method", "stage", "mean"]) if row["stage"] != "reference"]
    x_line, y_line = [], []
    for place, method in enumerate(methods):
        means = [row["mean"] for row in change if row["method"] == method]
        x_line += [min(means), max(means), None] if means else []
        y_line += [place, place, None] if means else []
    line = {"color": theme.muted, "width": 2}
    drawn.add_trace(go.Scatter(x=x_line, y=y_line, mode="lines", line=line, showlegend=False, hoverinfo="skip"))
    for stage, look in STAGES.items():
        rows = table[table["stage"] == stage]
        bars = error(rows)
        drawn.add_trace(
            go.Scatter(
                x=rows["mean"].to_numpy(),
                y=[methods.index(m) + (0.16 if stage == "reference" else 0) for m in rows["method"]],
                name=stage,
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 11},
                error_x=bars | {"color": look.colour},
                customdata=rows["links"].tolist(),
                hovertext=hover(rows, [f"{escape(short(m))}, {stage}" for m in rows["method"]]),
                hoverinfo="text",
            )
        )
    drawn.update_xaxes(range=ends)
    drawn.update_yaxes(
        tickvals=list(range(len(methods))),
        ticktext=[escape(short(m)).replace(" ", "<br>") for m in methods],
        range=[len(methods) - 0.4, -0.6],
        gridcolor=theme.grid,
    )
    return drawn


def trade_off_points(runs: pd.DataFrame) -> pd.DataFrame:
    """A point a method, family, pattern and number: ``mean`` gap of the score, ``seconds``, ``accuracy`` gap."""
    by = ["method", "dataset_family", "paper", "n_spurious"]
    names = {"mean": "gap/spurious/score", "seconds": "unlearn/seconds", "accuracy": "gap/test/accuracy"}
    table = series(runs, by, {column: metric(runs, name) for column, name in names.items()})
    gap = table[table["series"] == "mean"].drop(columns="series")
    means = table.set_index([*by, "series"])["mean"].unstack().reindex(columns=["seconds", "accuracy"])
    return gap.merge(means.reset_index(), on=by, how="left")


def trade_off(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Seconds (log) against the gap that is left; marks by method."""
    drawn = figure(theme, x="seconds (log)", y="score above the exact retraining")
    known = table[table["seconds"].notna() & (table["seconds"] > 0)]
    for method in [m for m in METHODS if m in set(known["method"])] + sorted(set(known["method"]) - set(METHODS)):
        rows = known[known["method"] == method]
        look = method_mark(method)
        texts = [
            f"<b>{escape(short(method))}</b><br>{escape(r['dataset_family'])} {r['paper']}, "
            f"{r['n_spurious']:.0f} examples<br>"
            f"gap {r['mean']:.4f}, {interval(r['low'], r['high'])}<br>{r['seconds']:.1f} s<br>"
            f"accuracy {_signed(r['accuracy'])} against the exact retraining<br>{behind(r)}"
            for r in rows.to_dict("records")
        ]
        drawn.add_trace(
            go.Scatter(
                x=rows["seconds"].to_numpy(),
                y=rows["mean"].to_numpy(),
                name=escape(short(method)),
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 9, "opacity": 0.85},
                customdata=rows["links"].tolist(),
                hovertext=texts,
                hoverinfo="text",
            )
        )
    drawn.update_yaxes(zeroline=True, zerolinecolor=theme.muted)
    drawn.update_xaxes(type="log", tickformat="~g", **decades(known["seconds"]))
    return drawn


def _signed(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:+.4f}"


def decades(values: pd.Series) -> dict[str, object]:
    """Ticks at 1, 2 and 5 of each decade that the values span."""
    if values.empty:
        return {}
    low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    ticks = [m * 10.0**e for e in np.arange(low, high + 1) for m in ((1, 2, 5) if high - low <= 2 else (1,))]
    return {"tickvals": ticks}

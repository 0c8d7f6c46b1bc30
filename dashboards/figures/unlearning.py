"""Score before and after each unlearning method and of the retrained reference, and gap against time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import behind, escape, hover, interval, lines, records
from dashboards.figures.scores import error
from dashboards.figures.style import Mark, Theme, figure, mark, plain
from dashboards.figures.unlearning_table import faults
from rsc_mlflow.analysis import interval_bounds, metric, series
from rsc_mlflow.experiments.registry import method_names, method_title
from rsc_mlflow.tracking import schema

STAGES = {
    "before": Mark("#999999", "circle-open", "solid"),
    "after": Mark("#4477AA", "circle", "solid"),
    "reference": Mark("#EE6677", "diamond-tall", "solid"),
}


def method_mark(method: str) -> Mark:
    """Return the mark of a method, the same in all figures."""
    return mark(_place(method))


def _place(method: str) -> int:
    """Return the position of a method among the registered ones; unknown methods come last."""
    names = method_names()
    return names.index(method) if method in names else len(names)


def variant_mark(variant: str, among: Sequence[str]) -> Mark:
    """Return the mark of a variant: the color and dash of its method, and a symbol that differs between variants."""
    method = variant.split(", ")[0]
    place = sorted(other for other in set(among) if other.split(", ")[0] == method).index(variant)
    own = method_mark(method)
    return Mark(own.color, mark(_place(method) + place).symbol, own.dash)


def short(variant: object) -> str:
    """Return the title of a variant's method, followed by the variant's options."""
    method, *options = str(variant).split(", ")
    return ", ".join([method_title(method), *options])


def in_method_order(variants: Iterable[str]) -> list[str]:
    """Return the distinct variants in the order of their methods; unknown methods come last."""
    return sorted(set(variants), key=lambda variant: (_place(variant.split(", ")[0]), variant))


def hollow(symbol: str, faulty: Iterable[bool]) -> list[str]:
    """Return the symbol of each point: the open form of ``symbol`` if the point is faulty."""
    return [f"{symbol.removesuffix('-open')}-open" if fault else symbol for fault in faulty]


def with_verdicts(table: pd.DataFrame, runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return points with the columns ``verdict`` and ``faulty`` of :func:`faults`."""
    if table.empty:
        return table.assign(verdict="", faulty=False)
    return table.merge(faults(runs, by), on=list(by), how="left").fillna({"verdict": "", "faulty": False})


def stage_points(runs: pd.DataFrame, by: Sequence[str], metric_name: str, average: Sequence[str] = ()) -> pd.DataFrame:
    """Return the points of a metric before unlearning, after it, and of the retrained reference (value minus gap).

    Returns:
        Rows of :func:`rsc_mlflow.analysis.series` with a column ``stage``: ``before``, ``after`` or ``reference``.
    """
    after, gap = metric(runs, metric_name), metric(runs, schema.gap(metric_name))
    reference = (after - gap).where(runs["method"] != "exact_retraining", after)
    staged = {"before": metric(runs, schema.before(metric_name)), "after": after, "reference": reference}
    table = series(runs, by, staged, average=average, bounds=interval_bounds(metric_name))
    return table.rename(columns={"series": "stage"})


def titles(rows: pd.DataFrame, more: str = "") -> list[str]:
    """Return the headings of hover texts: the variant, ``more``, and the verdict on its runs."""
    pairs = zip(rows["variant"], rows["verdict"], strict=True)
    return [escape(short(name)) + more + (f": {verdict}" if verdict else "") for name, verdict in pairs]


def before_after_plot(table: pd.DataFrame, theme: Theme, x: str, ends: list[float] | None) -> go.Figure:
    """Plot one row per variant: markers before and after unlearning, joined by a line, and of the retrained reference.

    Args:
        table: points of :func:`stage_points` with verdicts.
        theme: light or dark.
        x: axis title.
        ends: range of the axis.
    """
    methods = in_method_order(table["variant"])
    drawn = figure(theme, x=x, y="", height=110 + 52 * len(methods))
    change = [row for row in records(table, ["variant", "stage", "mean"]) if row["stage"] != "reference"]
    x_line, y_line = [], []
    for place, method in enumerate(methods):
        means = [row["mean"] for row in change if row["variant"] == method]
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
                y=[methods.index(m) + (0.16 if stage == "reference" else 0) for m in rows["variant"]],
                name=stage,
                mode="markers",
                marker={
                    "color": look.color,
                    "symbol": hollow(look.symbol, (rows["faulty"] & (stage == "after")).tolist()),
                    "size": 11,
                },
                error_x=bars | {"color": look.color},
                customdata=rows["links"].tolist(),
                hovertext=hover(rows, titles(rows, f", {stage}")),
                hoverinfo="text",
            )
        )
    drawn.update_xaxes(range=ends)
    drawn.update_yaxes(
        tickvals=list(range(len(methods))),
        ticktext=[lines(short(m), 16) for m in methods],
        range=[len(methods) - 0.4, -0.6],
        gridcolor=theme.grid,
    )
    return drawn


def trade_off_points(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per group: ``mean`` (gap in the score), ``seconds``, ``accuracy`` (gap), verdict, ``faulty``."""
    by = list(by)
    names = {
        "mean": schema.gap(schema.SPURIOUS_SCORE),
        "seconds": schema.UNLEARN_SECONDS,
        "accuracy": schema.gap(schema.TEST_ACCURACY),
    }
    values = {column: metric(runs, name) for column, name in names.items()}
    table = series(runs, by, values, bounds={column: interval_bounds(name) for column, name in names.items()})
    gap = table[table["series"] == "mean"].drop(columns="series")
    means = table.set_index([*by, "series"])["mean"].unstack().reindex(columns=["seconds", "accuracy"])
    return with_verdicts(gap.merge(means.reset_index(), on=by, how="left"), runs, by)


def trade_off(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Plot the gap in the score against seconds (log), one marker per row of the table; faulty ones are hollow."""
    drawn = figure(theme, x="seconds (log)", y="gap in spurious score")
    known = table[table["seconds"].notna() & (table["seconds"] > 0)]
    for variant in in_method_order(known["variant"]):
        rows = known[known["variant"] == variant]
        look = variant_mark(variant, known["variant"].tolist())
        texts = [
            f"<b>{head}</b><br>{_where(r)}<br>"
            f"gap {r['mean']:.4f}, {interval(r['low'], r['high'])}<br>{r['seconds']:.1f} s<br>"
            f"gap in clean accuracy {_signed(r['accuracy'])}<br>{behind(r)}"
            for head, r in zip(titles(rows), rows.to_dict("records"), strict=True)
        ]
        drawn.add_trace(
            go.Scatter(
                x=rows["seconds"].to_numpy(),
                y=rows["mean"].to_numpy(),
                name=lines(short(variant)),
                mode="markers",
                marker={
                    "color": look.color,
                    "symbol": hollow(look.symbol, rows["faulty"].tolist()),
                    "size": 9,
                    "opacity": 0.85,
                },
                customdata=rows["links"].tolist(),
                hovertext=texts,
                hoverinfo="text",
            )
        )
    drawn.update_yaxes(zeroline=True, zerolinecolor=theme.muted)
    drawn.update_xaxes(type="log", tickformat="~g", **decades(known["seconds"]))
    return drawn


def _where(row: Mapping[Any, Any]) -> str:
    """Return the family, if it is known, the pattern and the number of examples of a point as text."""
    family = f"{escape(row['dataset_family'])} " if "dataset_family" in row else ""
    count = row["n_spurious"]
    return f"{family}{escape(row['paper'])}, {plain(count)} example{'' if count == 1 else 's'}"


def _signed(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:+.4f}"


def decades(values: pd.Series) -> dict[str, object]:
    """Return ticks for a logarithmic axis: powers of ten, and 2 and 5 times these for values within two decades."""
    if values.empty:
        return {}
    low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    ticks = [m * 10.0**e for e in np.arange(low, high + 1) for m in ((1, 2, 5) if high - low <= 2 else (1,))]
    return {"tickvals": ticks}

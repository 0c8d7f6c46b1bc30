"""Score, clean accuracy and accuracy with the pattern against the strength of a mitigation."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape, hover, lines
from dashboards.figures.scores import error, line_marks, single
from dashboards.figures.style import Mark, Theme, figure, in_place, mark, plain, share_range
from rsc_mlflow.analysis import metric, series, with_targets
from rsc_mlflow.tracking import schema

SERIES = {
    schema.SPURIOUS_SCORE: "spurious score",
    schema.TEST_ACCURACY: "clean accuracy",
    schema.SPURIOUS_TEST_ACCURACY: "accuracy with pattern",
}
"""Measures from top to bottom: metric → title."""
GAP = 0.07
"""Share of a figure's height between two panels."""


def mitigation_points(
    runs: pd.DataFrame, option: str, by: Sequence[str] = (), average: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the points of the three measures by the strength of one option (and ``by``), with a column ``measure``."""
    keys = [*dict.fromkeys([*by, option])]
    values = {name: metric(runs, name) for name in SERIES}
    table = series(runs, keys, values, average=average, bounds=(0, 1)).rename(columns={"series": "measure"})
    whole = with_targets(table, runs, keys, average)
    for name in [name for name in whole if name not in table]:
        whole[name] = whole[name].where(whole["measure"] == schema.SPURIOUS_SCORE)
    return whole


def stacked(
    table: pd.DataFrame,
    option: str,
    theme: Theme,
    x: str,
    group: str = "paper",
    marks: Sequence[tuple[object, str, Mark]] = (),
) -> go.Figure:
    """Plot the measures against the strength of a mitigation, one panel per measure and one line per group.

    The panels have a common axis, on which the strengths are equally spaced.

    Args:
        table: points of :func:`mitigation_points`.
        option: column of the strengths.
        theme: light or dark.
        x: title of their axis.
        group: column with one line per value.
        marks: lines from :func:`dashboards.figures.scores.line_marks`, the same for all figures of a panel.
    """
    known = [name for name in SERIES if (table["measure"] == name).any()]
    drawn = figure(theme, x=x, y="", height=90 + 150 * max(len(known), 1))
    strengths = in_place(table[option])
    base, share = drawn.layout.yaxis.to_plotly_json(), (1 + GAP) / max(len(known), 1)
    for place, name in enumerate(known):
        rows = table[table["measure"] == name]
        axis = f"y{place + 1 if place else ''}"
        for value, label, look in marks or line_marks(table[group]):
            own = rows[rows[group] == value].sort_values(option, key=lambda column: column.map(strengths.index))
            at = [strengths.index(strength) for strength in own[option]]
            titles = [f"{escape(label)}, {SERIES[name]}, {x} {plain(strength)}" for strength in own[option]]
            drawn.add_traces(_line(own, at, titles, label, look).update(yaxis=axis, showlegend=not place))
            drawn.add_traces(single(own, drawn.data[-1], look))
        top = 1 - place * share
        span = {"domain": [max(top - share + GAP, 0), top], "range": share_range(rows), "nticks": 5, "anchor": "x"}
        words = {"text": SERIES[name].replace(" ", "<br>", 1), "font": {"size": 12}, "standoff": 8}
        drawn.update_layout({axis.replace("y", "yaxis"): base | span | {"title": words}})
    ticks = {"tickvals": list(range(len(strengths))), "ticktext": [plain(value) for value in strengths]}
    return drawn.update_xaxes(**ticks, showgrid=False, anchor=f"y{len(known)}" if len(known) > 1 else "y")


def _line(rows: pd.DataFrame, at: Sequence[int], titles: Sequence[str], label: str, look: Mark) -> go.Scatter:
    return go.Scatter(
        x=at,
        y=rows["mean"],
        name=lines(label),
        legendgroup=label,
        mode="lines+markers",
        line={"color": look.color, "dash": look.dash, "width": 2},
        marker={"color": look.color, "symbol": look.symbol, "size": 9},
        error_y=error(rows),
        customdata=rows["links"],
        hovertext=hover(rows, titles),
        hoverinfo="text",
    )


def theory_curves(curves: Sequence[Mapping[str, Any]], theme: Theme, links: str) -> go.Figure:
    """Plot the linear model's spurious score against γ for one noise level, one line per ridge penalty λ.

    Args:
        curves: each with ``lambda`` (float), ``gamma`` and ``score`` (float ``[points]``).
        theme: light or dark.
        links: "experiment:run" of the run that computed them.
    """
    drawn = figure(theme, x="γ", y="spurious score", height=300)
    for index, curve in enumerate(sorted(curves, key=lambda one: float(one["lambda"]))):
        look = mark(index)
        name = f"λ = {float(curve['lambda']):g}"
        drawn.add_trace(
            go.Scatter(
                x=curve["gamma"],
                y=curve["score"],
                name=name,
                mode="lines",
                line={"color": look.color, "dash": ("solid", "dash", "dot", "dashdot")[index % 4], "width": 2},
                customdata=[links] * len(curve["gamma"]),
                hovertemplate=f"<b>{name}</b><br>γ %{{x:.2f}}<br>score %{{y:.4f}}<extra></extra>",
            )
        )
    drawn.update_yaxes(rangemode="tozero")
    return drawn

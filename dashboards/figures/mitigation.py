"""Mitigation: score on one axis, clean and spurious accuracy on the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import hover
from dashboards.figures.scores import error, single
from dashboards.figures.style import Mark, Theme, figure, mark, share_range
from rsc_mlflow.analysis import metric, series, with_targets
from rsc_mlflow.tracking import schema

SERIES = {
    schema.SPURIOUS_SCORE: ("spurious score (left)", Mark("#EE6677", "circle", "solid")),
    schema.TEST_ACCURACY: ("clean accuracy (right)", Mark("#4477AA", "square", "dash")),
    schema.SPURIOUS_TEST_ACCURACY: ("accuracy with the pattern (right)", Mark("#228833", "diamond", "dot")),
}


def mitigation_points(
    runs: pd.DataFrame, option: str, by: Sequence[str] = (), average: Sequence[str] = ()
) -> pd.DataFrame:
    """Points of the three measures by the strength of one option (and ``by``), with the column ``measure``."""
    keys = [*dict.fromkeys([*by, option])]
    values = {name: metric(runs, name) for name in SERIES}
    table = series(runs, keys, values, average=average, bounds=(0, 1)).rename(columns={"series": "measure"})
    whole = with_targets(table, runs, keys, average)
    for name in [name for name in whole if name not in table]:
        whole[name] = whole[name].where(whole["measure"] == schema.SPURIOUS_SCORE)
    return whole


def two_axes(table: pd.DataFrame, option: str, theme: Theme, x: str) -> go.Figure:
    """Strengths at equal distances; the score belongs to the left axis, both accuracies to the right."""
    drawn = figure(theme, x=x, y="spurious score", height=360)
    strengths = sorted(table[option].unique())
    for name, (title, look) in SERIES.items():
        rows = table[table["measure"] == name].sort_values(option)
        at = [strengths.index(value) for value in rows[option]]
        drawn.add_trace(
            go.Scatter(
                x=at,
                y=rows["mean"],
                yaxis="y" if name == schema.SPURIOUS_SCORE else "y2",
                name=title,
                legendgroup=title,
                mode="lines+markers",
                line={"color": look.color, "dash": look.dash, "width": 2},
                marker={"color": look.color, "symbol": look.symbol, "size": 9},
                error_y=error(rows),
                customdata=rows["links"],
                hovertext=hover(rows, [f"{title.split(' (')[0]}, {x} {value:g}" for value in rows[option]]),
                hoverinfo="text",
            )
        )
        drawn.add_traces(single(rows, drawn.data[-1], look))
    drawn.update_xaxes(tickvals=list(range(len(strengths))), ticktext=[f"{value:g}" for value in strengths])
    axis = drawn.layout.yaxis.to_plotly_json()
    right = axis | {"overlaying": "y", "side": "right", "showgrid": False, "range": [0, 1.04], "dtick": 0.2}
    ends = share_range(table[table["measure"] == schema.SPURIOUS_SCORE])
    left = [0, ends[1]] if ends else None  # the accuracies' axis begins at 0, too
    drawn.update_layout(yaxis={"range": left}, yaxis2=right, yaxis2_title_text="accuracy")
    return drawn


def theory_curves(curves: Sequence[Mapping[str, Any]], theme: Theme, links: str) -> go.Figure:
    """The linear model's score over γ, one line per ridge penalty λ, for one noise level.

    Args:
        curves: each with ``lambda`` (float), ``gamma`` and ``score`` (float [points]).
        theme: light or dark.
        links: of the run that they belong to.
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

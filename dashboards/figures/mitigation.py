"""Mitigation: score on one axis, clean and spurious accuracy on the other."""

import pandas as pd
import plotly.graph_objects as go

from dashboards.data import metric
from dashboards.figures.points import hover, series
from dashboards.figures.scores import error
from dashboards.figures.style import Mark, Theme, figure

SERIES = {
    "spurious/score": ("spurious score (left)", Mark("#EE6677", "circle", "solid")),
    "test/accuracy": ("clean accuracy (right)", Mark("#4477AA", "square", "dash")),
    "spurious/test_accuracy": ("accuracy with the pattern (right)", Mark("#228833", "diamond", "dot")),
}


def mitigation_points(runs: pd.DataFrame, knob: str) -> pd.DataFrame:
    """Points of the three measures by the strength of one knob, with the column ``measure``."""
    values = {name: metric(runs, name) for name in SERIES}
    return series(runs, [knob], values).rename(columns={"series": "measure"})


def two_axes(table: pd.DataFrame, knob: str, theme: Theme, x: str) -> go.Figure:
    """Strengths at equal distances; the score belongs to the left axis, both accuracies to the right."""
    drawn = figure(theme, x=x, y="spurious score", height=360)
    strengths = sorted(table[knob].unique())
    for name, (title, look) in SERIES.items():
        rows = table[table["measure"] == name].sort_values(knob)
        drawn.add_trace(
            go.Scatter(
                x=[strengths.index(value) for value in rows[knob]],
                y=rows["mean"],
                yaxis="y" if name == "spurious/score" else "y2",
                name=title,
                mode="lines+markers",
                line={"color": look.colour, "dash": look.dash, "width": 2},
                marker={"color": look.colour, "symbol": look.symbol, "size": 9},
                error_y=error(rows),
                customdata=rows["links"],
                hovertext=hover(rows, [f"{title.split(' (')[0]}, {x} {value:g}" for value in rows[knob]]),
                hoverinfo="text",
            )
        )
    drawn.update_xaxes(tickvals=list(range(len(strengths))), ticktext=[f"{value:g}" for value in strengths])
    axis = drawn.layout.yaxis.to_plotly_json()
    right = axis | {"overlaying": "y", "side": "right", "showgrid": False, "range": [0, 1.04], "dtick": 0.2}
    drawn.update_layout(yaxis={"rangemode": "tozero"}, yaxis2=right, yaxis2_title_text="accuracy")
    return drawn

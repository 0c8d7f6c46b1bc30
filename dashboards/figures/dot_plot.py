"""A dot plot of means with intervals by category and group, used by several pages."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape, hover
from dashboards.figures.scores import error, single
from dashboards.figures.style import Mark, Theme, figure, share_range

WIDTH = 0.7
"""Share of a category's width that its points use."""


def dot_plot(
    table: pd.DataFrame,
    category: str,
    group: str,
    theme: Theme,
    *,
    x: str,
    y: str,
    categories: Sequence[object],
    groups: Sequence[tuple[object, str, Mark]],
    label: Callable[[object], str] = str,
    least: float = -np.inf,
    most: float = np.inf,
    also: Sequence[float] = (),
) -> go.Figure:
    """Plot one mean with its interval per category and group; the groups of a category are side by side.

    Points with fewer than five seeds have no interval but a small marker for each seed.

    Args:
        table: points (see :func:`rsc_mlflow.analysis.series`) with the columns ``category`` and ``group``.
        category: column along the axis.
        group: column that gives color and symbol.
        theme: light or dark.
        x: axis title.
        y: axis title.
        categories: the categories in order.
        groups: the value of ``group``, the name and the mark of each group, in order.
        label: function from a category to its name.
        least: smallest possible value; see :func:`dashboards.figures.style.share_range`.
        most: largest possible value.
        also: other values that must be visible.
    """
    drawn = figure(theme, x=x, y=y)
    place = {value: index for index, value in enumerate(categories)}
    for index, (own_value, name, own) in enumerate(groups):
        rows = table[table[group] == own_value]
        shift = (index - (len(groups) - 1) / 2) * WIDTH / len(groups)
        titles = [f"{escape(name)}, {escape(label(value))}" for value in rows[category]]
        at = [place[value] + shift for value in rows[category]]
        drawn.add_trace(
            go.Scatter(
                x=at,
                y=rows["mean"].to_numpy(),
                name=escape(name),
                legendgroup=escape(name),
                mode="markers",
                marker={"color": own.color, "symbol": own.symbol, "size": 9},
                error_y=error(rows),
                customdata=rows["links"].tolist(),
                hovertext=hover(rows, titles),
                hoverinfo="text",
            )
        )
        drawn.add_traces(single(rows, drawn.data[-1], own))
    drawn.update_xaxes(
        tickvals=list(range(len(categories))),
        ticktext=[escape(label(value)) for value in categories],
        range=[-0.6, len(categories) - 0.4],
        showgrid=False,
    )
    drawn.update_yaxes(range=share_range(table, least=least, most=most, also=also))
    edge = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": theme.grid, "width": 1}}
    drawn.layout.shapes = [edge | {"x0": place - 0.5, "x1": place - 0.5} for place in range(1, len(categories))]
    return drawn

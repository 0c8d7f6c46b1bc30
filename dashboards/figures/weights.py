"""Heat maps of first-layer weights, and occlusion curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboards.figures.points import escape, lines
from dashboards.figures.style import Theme, figure, mark


def weight_map(values: np.ndarray, theme: Theme, ends: tuple[float, float], links: str) -> go.Figure:
    """Plot an image as a heat map.

    Args:
        values: float ``[H, W]``.
        theme: light or dark.
        ends: values of the first and the last color.
        links: "experiment:run" of its run.
    """
    drawn = figure(theme, x="", y="", height=300)
    step = 1 / (len(theme.scale) - 1)
    drawn.add_trace(
        go.Heatmap(
            z=values,
            zmin=ends[0],
            zmax=ends[1],
            colorscale=[[i * step, color] for i, color in enumerate(theme.scale)],
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".2g"},
            hovertemplate="row %{y}, column %{x}: %{z:.4f}<extra></extra>",
            customdata=np.full(values.shape, links),
        )
    )
    drawn.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain", showgrid=False, ticks="")
    drawn.update_xaxes(constrain="domain", showgrid=False, ticks="")
    return drawn


def occlusion_curves(curves: Sequence[Mapping[str, object]], theme: Theme) -> go.Figure:
    """Plot the mean probability of the true class against the percentage of non-zero pixels removed, a line per model.

    Args:
        curves: each with ``label``, ``share`` (percent), ``probability`` and ``links``.
        theme: light or dark.
    """
    drawn = figure(theme, x="non-zero pixels removed (%)", y="mean probability of the true class")
    for index, curve in enumerate(curves):
        look = mark(index)
        name = f"<b>{escape(curve['label'])}</b>"
        drawn.add_trace(
            go.Scatter(
                x=curve["share"],
                y=curve["probability"],
                name=lines(curve["label"]),
                mode="lines",
                line={"color": look.color, "width": 2, "dash": look.dash},
                customdata=[curve["links"]] * len(list(curve["share"])),  # type: ignore[call-overload]
                hovertemplate=f"{name}<br>%{{x:.0f}} % removed<br>probability %{{y:.3f}}<extra></extra>",
            )
        )
    drawn.update_yaxes(rangemode="tozero")
    return drawn

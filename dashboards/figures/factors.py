"""Spurious score against the norm of the pattern."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape, hover
from dashboards.figures.scores import error, single
from dashboards.figures.style import Theme, figure, in_order, pattern_mark, share_range
from rsc_mlflow.analysis import correlation, points
from rsc_mlflow.tracking import schema

FEWEST = 5
"""Minimum number of patterns of a family for a correlation and a least-squares line."""


def correlation_words(table: pd.DataFrame) -> str:
    """Return a text with Pearson's r and Spearman's ρ between ``norm`` and ``mean`` over the patterns of each family.

    Families with fewer than :data:`FEWEST` patterns are omitted.
    """
    pairs = table.dropna(subset=["norm", "mean"])
    families = {str(name): rows for name, rows in pairs.groupby("dataset_family") if len(rows) >= FEWEST}
    words = [f"{name}: {_correlation(rows)}" for name, rows in families.items()]
    return "; ".join(words) or f"No correlation, because no family has {FEWEST} patterns"


def _correlation(pairs: pd.DataFrame) -> str:
    found = correlation(pairs["norm"], pairs["mean"])
    if np.isnan(found["r"]):
        return "Pearson's r is not defined, because all points have the same norm or the same score"
    scaled = ", of which R1, R2 and R3 are the same noise at three scales" * ({"R1", "R2", "R3"} <= set(pairs["paper"]))
    return (
        f"Pearson's r = {found['r']:.2f} (95 % interval {found['low']:.2f} to {found['high']:.2f}; "
        f"p = {found['p_value']:.2g}), Spearman's ρ = {found['rho']:.2f}, {len(pairs)} patterns{scaled}"
    )


def norm_points(runs: pd.DataFrame, by: Sequence[str] = (), average: Sequence[str] = ()) -> pd.DataFrame:
    """Return the mean score of each family and pattern, with the mean norm of the pattern as column ``norm``."""
    by = [*dict.fromkeys([*by, "dataset_family", "paper"])]
    table = points(runs, by, schema.SPURIOUS_SCORE, average=average)
    norms = points(runs, by, schema.PATTERN_NORM)[[*by, "mean"]].rename(columns={"mean": "norm"})
    return table.merge(norms, on=by, how="inner")


def norm_scatter(table: pd.DataFrame, theme: Theme, ends: tuple[float, float] | None = None) -> go.Figure:
    """Plot the mean score against the mean norm, one point per family and pattern.

    Each family with at least :data:`FEWEST` patterns has a least-squares line.

    Args:
        table: points of :func:`norm_points`.
        theme: light or dark.
        ends: range of the axis of norms; default: chosen by plotly.
    """
    drawn = figure(theme, x="mean ℓ2 norm of the added pattern", y="spurious score")
    drawn.update_xaxes(range=ends)
    for family, rows in table.dropna(subset=["norm", "mean"]).groupby("dataset_family"):
        if len(rows) >= FEWEST and rows["norm"].nunique() > 2:
            drawn.add_trace(_least_squares(rows, f"least squares, {family}", theme))
    for name in in_order(table["paper"].tolist()):
        rows = table[table["paper"] == name]
        look = pattern_mark(name)
        titles = [
            f"{name} on {escape(family)}, norm {norm:.2f}"
            for family, norm in zip(rows["dataset_family"], rows["norm"], strict=True)
        ]
        texts = hover(rows, titles)
        drawn.add_trace(
            go.Scatter(
                x=rows["norm"],
                y=rows["mean"],
                name=name,
                legendgroup=name,
                mode="markers",
                marker={"color": look.color, "symbol": look.symbol, "size": 10},
                error_y=error(rows),
                customdata=rows["links"],
                hovertext=texts,
                hoverinfo="text",
            )
        )
        drawn.add_traces(single(rows, drawn.data[-1], look))
    drawn.update_yaxes(range=share_range(table))
    return drawn


def _least_squares(rows: pd.DataFrame, name: str, theme: Theme) -> go.Scatter:
    slope, offset = np.polyfit(rows["norm"], rows["mean"], 1)
    ends = np.array([rows["norm"].min(), rows["norm"].max()])
    line = {"color": theme.muted, "dash": "dot", "width": 1.5}
    return go.Scatter(x=ends, y=offset + slope * ends, mode="lines", line=line, name=escape(name), hoverinfo="skip")

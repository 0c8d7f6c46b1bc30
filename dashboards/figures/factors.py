"""What makes a pattern easy to learn: its norm against its score."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape, hover
from dashboards.figures.scores import error, single
from dashboards.figures.style import Theme, figure, in_order, pattern_mark, share_range
from rsc_mlflow.analysis import correlation, points
from rsc_mlflow.tracking import schema


def correlation_words(table: pd.DataFrame) -> str:
    """Pearson's r and Spearman's ρ between ``norm`` and ``mean`` in words."""
    pairs = table[["norm", "mean"]].dropna()
    if len(pairs) < 3:
        return f"Pearson's r needs 3 points; here are {len(pairs)}"
    found = correlation(pairs["norm"], pairs["mean"])
    if np.isnan(found["r"]):
        return "Pearson's r is not defined: all points have the same norm or the same score"
    spread = "no interval" if np.isnan(found["low"]) else f"95 % interval {found['low']:.2f} to {found['high']:.2f}"
    return (
        f"Pearson's r = {found['r']:.2f} ({spread}; p = {found['p_value']:.2g}), Spearman's ρ = {found['rho']:.2f}; "
        f"{len(pairs)} points, of which R1, R2 and R3 are one noise, scaled"
    )


def norm_points(runs: pd.DataFrame, by: Sequence[str] = (), average: Sequence[str] = ()) -> pd.DataFrame:
    """Mean score of each family and pattern, with the mean norm of the pattern as column ``norm``."""
    by = [*dict.fromkeys([*by, "dataset_family", "paper"])]
    table = points(runs, by, schema.SPURIOUS_SCORE, average=average)
    norms = points(runs, by, schema.PATTERN_NORM)[[*by, "mean"]].rename(columns={"mean": "norm"})
    return table.merge(norms, on=by, how="inner")


def norm_scatter(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Mean norm against mean score, one point per family and pattern, with the least-squares line."""
    drawn = figure(theme, x="mean ℓ2 norm of what the pattern adds", y="spurious score")
    if table["norm"].nunique() > 2:  # a line through two points says nothing
        slope, offset = np.polyfit(table["norm"], table["mean"], 1)
        ends = np.array([table["norm"].min(), table["norm"].max()])
        line = {"color": theme.muted, "dash": "dot", "width": 1.5}
        drawn.add_trace(
            go.Scatter(x=ends, y=offset + slope * ends, mode="lines", line=line, name="least squares", hoverinfo="skip")
        )
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

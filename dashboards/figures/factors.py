"""What makes a pattern easy to learn: its norm against its score."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy import stats

from dashboards.figures.points import behind, escape, points
from dashboards.figures.scores import error
from dashboards.figures.style import PATTERN_MARKS, Theme, figure, in_order


@dataclass(frozen=True)
class Correlation:
    """Pearson's r with its interval over ``n`` pairs; nan where it is not defined."""

    r: float
    low: float
    high: float
    p: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.r):
            return f"Pearson's r needs 3 points that differ; here are {self.n}"
        spread = "no interval" if np.isnan(self.low) else f"95 % interval {self.low:.2f} to {self.high:.2f}"
        return f"Pearson's r = {self.r:.2f} ({spread}; p = {self.p:.2g}; {self.n} points)"


def correlation(x: pd.Series, y: pd.Series) -> Correlation:
    """Pearson's r of pairs, Fisher's z interval (95 %), two-sided p."""
    pairs = pd.DataFrame({"x": x, "y": y}).dropna()
    if len(pairs) < 3 or pairs["x"].nunique() < 2 or pairs["y"].nunique() < 2:
        return Correlation(np.nan, np.nan, np.nan, np.nan, len(pairs))
    found = stats.pearsonr(pairs["x"], pairs["y"])
    bounds = found.confidence_interval(0.95) if len(pairs) > 3 else (np.nan, np.nan)
    return Correlation(float(found.statistic), float(bounds[0]), float(bounds[1]), float(found.pvalue), len(pairs))


def norm_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean score of each family and pattern, with the mean norm of the pattern as column ``norm``."""
    by = ["family", "paper"]
    table = points(runs, by, "spurious/score")
    norms = points(runs, by, "spurious/pattern_norm")[[*by, "mean"]].rename(columns={"mean": "norm"})
    return table.merge(norms, on=by, how="inner")


def norm_scatter(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Mean norm against mean score, one point a family and pattern, with the straight line of least squares."""
    drawn = figure(theme, x="mean ℓ2 norm of what the pattern adds", y="spurious score")
    found = correlation(table["norm"], table["mean"])
    if not np.isnan(found.r):
        slope, offset = np.polyfit(table["norm"], table["mean"], 1)
        ends = np.array([table["norm"].min(), table["norm"].max()])
        line = {"color": theme.muted, "dash": "dot", "width": 1.5}
        drawn.add_trace(
            go.Scatter(x=ends, y=offset + slope * ends, mode="lines", line=line, name="least squares", hoverinfo="skip")
        )
    for name in in_order(table["paper"].tolist()):
        rows = table[table["paper"] == name]
        look = PATTERN_MARKS[name]
        texts = [
            f"<b>{name} on {escape(row['family'])}</b><br>norm {row['norm']:.2f}<br>"
            f"score {row['mean']:.4f}<br>{behind(row)}"
            for _, row in rows.iterrows()
        ]
        drawn.add_trace(
            go.Scatter(
                x=rows["norm"],
                y=rows["mean"],
                name=name,
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 10},
                error_y=error(rows),
                customdata=rows["links"],
                hovertext=texts,
                hoverinfo="text",
            )
        )
    return drawn

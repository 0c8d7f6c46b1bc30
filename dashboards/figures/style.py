"""Colors, markers and layout of all figures.

Each pattern has the same color, symbol and dash in all figures.  The colors are from Okabe and Ito's palette, which
people with color vision deficiencies can distinguish; symbols and dashes also distinguish the patterns without color.
Methods, attacks and other groups have the colors of Paul Tol's "bright" palette.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True)
class Mark:
    """Color, symbol and dash of a series, as plotly names them."""

    color: str
    symbol: str
    dash: str


@dataclass(frozen=True)
class Theme:
    """Background, text and grid colors of a figure."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    scale: tuple[str, ...]  # colors of heat maps, from low to high


LIGHT = Theme("light", "#ffffff", "#1c2128", "#59636e", "#e4e8ec", ("#f4f6f8", "#9ecae1", "#3182bd", "#08306b"))
DARK = Theme("dark", "#161b22", "#e6edf3", "#9aa4af", "#2d343d", ("#1f262e", "#1d4f7a", "#4aa3df", "#d9f0ff"))


def theme_named(name: str) -> Theme:
    """Return the theme with this name; the light theme for other names."""
    return DARK if name == DARK.name else LIGHT


PATTERN_MARKS = {
    "S1": Mark("#56B4E9", "circle", "solid"),
    "S2": Mark("#0072B2", "square", "dash"),
    "S3": Mark("#009E73", "diamond", "dot"),
    "R1": Mark("#E69F00", "triangle-up", "longdash"),
    "R2": Mark("#D55E00", "triangle-down", "dashdot"),
    "R3": Mark("#CC79A7", "star", "longdashdot"),
    "Co": Mark("#808891", "x", "9px,3px,2px,3px,2px,3px"),
    "clean": Mark("#808891", "circle-open", "2px,6px"),
}
"""The paper's name of a pattern → its mark; :func:`pattern_mark` accepts any pattern."""
PATTERN_ORDER = tuple(PATTERN_MARKS)

_BRIGHT = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#999999")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "star", "x")
_DASHES = ("solid", "dash", "dot", "longdash", "dashdot", "longdashdot", "9px,3px,2px,3px,2px,3px")


def mark(index: int) -> Mark:
    """Return the mark of the ``index``-th group that is not a pattern.

    The first seven marks differ in color, symbol and dash.  After seven, colors repeat with other symbols and dashes.
    After 49, marks repeat.
    """
    place, again = index % 7, index // 7
    return Mark(_BRIGHT[place], _SYMBOLS[(place + again) % 7], _DASHES[(place + again) % 7])


def pattern_mark(name: str) -> Mark:
    """Return the mark of a pattern; that of a pattern registered by a plug-in depends only on its name."""
    return PATTERN_MARKS.get(name) or mark(zlib.crc32(name.encode()))


def in_order(patterns: Sequence[str]) -> list[str]:
    """Return the distinct names: the paper's patterns in the paper's order, then others alphabetically."""
    found = set(patterns)
    return [name for name in PATTERN_ORDER if name in found] + sorted(found - set(PATTERN_ORDER))


def in_place(values: "pd.Series[Any]") -> list[Any]:
    """Return the distinct values of a column: patterns as in :func:`in_order`, else numbers by size, then texts."""
    if values.name == "paper":
        return in_order(values.tolist())
    return sorted(values.dropna().unique(), key=lambda value: (isinstance(value, str), value))


def plain(value: object) -> str:
    """Return a value as text for an axis or a legend."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def figure(theme: Theme, *, x: str, y: str, height: int = 380) -> go.Figure:
    """Return an empty figure in the common layout.

    Args:
        theme: light or dark.
        x: axis title.
        y: axis title.
        height: in pixels.
    """
    axis: dict[str, object] = {
        "gridcolor": theme.grid,
        "linecolor": theme.muted,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": theme.muted,
        "automargin": True,
    }
    title = {"font": {"size": 13}, "standoff": 8}
    layout = go.Layout(
        height=height,
        margin={"l": 8, "r": 20, "t": 8, "b": 8},
        paper_bgcolor=theme.paper,
        plot_bgcolor=theme.paper,
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": theme.ink},
        hoverlabel={"bgcolor": theme.paper, "bordercolor": theme.muted, "font": {"color": theme.ink}, "align": "left"},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}, "itemwidth": 30},
        hovermode="closest",
        showlegend=True,  # a single line needs its name, too
        xaxis=axis | {"title": title | {"text": x}},
        yaxis=axis | {"title": title | {"text": y}},
        uirevision="keep",
    )
    return go.Figure(layout=layout)


def share_range(
    table: pd.DataFrame, *, least: float = 0.0, most: float = 1.0, also: Sequence[float] = ()
) -> list[float] | None:
    """Return the range of an axis that shows all means, and their intervals within the possible values.

    Intervals of scores are within [0, 1].  Student's intervals, for example of gaps, can extend beyond the possible
    values; the axis does not show those parts.

    Args:
        table: with ``mean``, ``low`` and ``high``.
        least: smallest possible value.
        most: largest possible value.
        also: other values that must be visible.

    Returns:
        (low, high) with a margin of 5 %, or None for an empty table (plotly then chooses the range).
    """
    if table.empty:
        return None
    means = [*table["mean"], *also]
    ends = np.clip(table[["low", "high"]].to_numpy(), least, most)
    low = min(np.nanmin(ends, initial=np.inf), *means)
    high = max(np.nanmax(ends, initial=-np.inf), *means)
    if high - low < 1e-6:  # all values are equal
        return [float(max(low - 0.05, least - 0.005)), float(min(high + 0.05, most + 0.005))]
    room = 0.05 * (high - low)
    return [float(low - room), float(high + room)]


def common_range(figures: Sequence[go.Figure]) -> None:
    """Give vertical axes with the same title the same range, so that figures side by side can be compared.

    Axes without a title or without a range are not changed.
    """
    axes = [axis for one in figures for axis in one.select_yaxes() if axis.title.text and axis.range]
    for title in {axis.title.text for axis in axes}:
        group = [axis for axis in axes if axis.title.text == title]
        ends = [end for axis in group for end in axis.range]
        for axis in group:
            axis.range = (min(ends), max(ends))

"""The legend that all figures of a panel share.

It wraps on narrow screens, and a click on a name shows or hides that series in all figures of the panel.  Exported
figures have plotly's own legend instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

_STAR = "14,1.5 15.4,5 19,5.3 16.2,7.7 17.1,11.3 14,9.3 10.9,11.3 11.8,7.7 9,5.3 12.6,5"
_SHAPES = {
    "circle": '<circle cx="14" cy="7" r="4.2"/>',
    "square": '<rect x="10" y="3" width="8" height="8"/>',
    "diamond": '<polygon points="14,1.7 19.3,7 14,12.3 8.7,7"/>',
    "diamond-tall": '<polygon points="14,1 17.5,7 14,13 10.5,7"/>',
    "triangle-up": '<polygon points="14,2 19,11 9,11"/>',
    "triangle-down": '<polygon points="14,12 19,3 9,3"/>',
    "star": f'<polygon points="{_STAR}"/>',
    "x": '<path d="M10.5 3.5l7 7m0-7l-7 7" stroke-width="3"/>',
}
_DASHES = {"dash": "7,3", "dot": "2,2", "longdash": "10,3", "dashdot": "7,2,2,2", "longdashdot": "10,2,2,2"}
_HATCHES = {"x": "M8 1l12 12m0-12l-12 12", "/": "M8 13l12-12", ".": "M11 7h1m4 0h1"}


@dataclass(frozen=True)
class Entry:
    """A series in a legend, with plotly's names of its symbol and dash.

    Attributes:
        name: label.
        color: of the marker, line or bar.
        symbol: empty if the series has no markers.
        dash: empty if the series has no line.
        hatch: pattern of a bar, possibly empty; None if the series is not a bar.
    """

    name: str
    color: str
    symbol: str = ""
    dash: str = ""
    hatch: str | None = None

    @property
    def image(self) -> str:
        """A picture of the marker, line or bar as a data URL with an SVG."""
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="28" height="14" stroke="{self.color}">']
        if self.dash:
            dash = _DASHES.get(self.dash, self.dash.replace("px", "") if self.dash != "solid" else "none")
            parts.append(f'<line x1="0" y1="7" x2="28" y2="7" stroke-width="2" stroke-dasharray="{dash}"/>')
        if self.symbol:
            fill = "none" if self.symbol.endswith("-open") else self.color
            parts.append(f'<g fill="{fill}" stroke-width="1.4">{_SHAPES[self._shape]}</g>')
        if self.hatch is not None:
            parts.append(f'<rect x="8" y="1" width="12" height="12" fill="{self.color}"/>')
            parts.append(f'<path d="{_HATCHES.get(self.hatch, "M0 0")}" stroke="#fff" stroke-width="1.5"/>')
        return f"data:image/svg+xml,{quote(''.join([*parts, '</svg>']))}"

    @property
    def _shape(self) -> str:
        shape = self.symbol.removesuffix("-open")
        return shape if shape in _SHAPES else "circle"


def entries(figures: Sequence[go.Figure]) -> list[Entry]:
    """Return one entry per series name in the figures, in the order of the names' last appearances."""
    named = [trace for one in figures if one.layout.showlegend is not False for trace in one.data]
    found = [_entry(trace) for trace in named if trace.type in ("scatter", "bar") and trace.showlegend is not False]
    return list({entry.name: entry for entry in reversed(found) if entry.name}.values())[::-1]


def _entry(trace: Any) -> Entry:
    name = str(trace.name or "")
    if trace.type == "bar":
        return Entry(name, str(trace.marker.color), hatch=str(trace.marker.pattern.shape or ""))
    mode = trace.mode or ""
    color = trace.marker.color if "markers" in mode and isinstance(trace.marker.color, str) else trace.line.color
    return Entry(
        name,
        str(color or "#808891"),
        _symbol(trace.marker.symbol) if "markers" in mode else "",
        str(trace.line.dash or "solid") if "lines" in mode else "",
    )


def _symbol(symbol: object) -> str:
    """Return the symbol of a series: its first filled one, else its first one."""
    names = [symbol] if isinstance(symbol, str) else list(symbol) if isinstance(symbol, tuple | list) else []
    return str(next((name for name in names if not str(name).endswith("-open")), names[0] if names else "circle"))


def legend(figures: Sequence[go.Figure]) -> list[Component]:
    """Return the legend as buttons, which ``assets/dashboards.js`` handles; empty if no series has a name."""
    buttons = [
        html.Button(
            [html.Img(src=entry.image, alt="", width=28, height=14), _text(entry.name)],
            title="show or hide",
            className="series",
            **{"data-name": entry.name, "aria-pressed": "true"},
        )
        for entry in entries(figures)
    ]
    return [html.Div(buttons, className="legend")] if buttons else []


def _text(name: str) -> str:
    plain = name.replace("<br>", " ")
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def without_legend(figure: go.Figure) -> dict[str, Any]:
    """Return the figure as JSON without its own legend, for panels that have a shared one."""
    drawn: dict[str, Any] = figure.to_plotly_json()
    drawn["layout"] = {**drawn["layout"], "showlegend": False}
    return drawn

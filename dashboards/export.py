"""Exports figures as PDF, SVG or PNG at a given size, and tables as LaTeX and CSV, for papers.

In Python::

    from dashboards.export import Size, latex_table, open_panels, save_figure

    panels = open_panels("sqlite:///mlflow.db", "scores", "?family=mnist")
    save_figure(panels["curves"].plots[0].figure, "scores.pdf", Size(8.5, 6))
    print(latex_table(panels["curves"].table, caption="Spurious scores"))
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboards.data import Filters
from dashboards.figures.style import LIGHT
from dashboards.pages import PAGES, page_at
from dashboards.panels import Panel, View, panels
from dashboards.repository import RunRepository
from dashboards.tables import column_texts, heading, is_numeric, shown_columns
from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.frame import RunStore
from rsc_mlflow.tracking.store import redact_passwords

FORMATS = ("pdf", "svg", "png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "Exporting figures needs Chromium or Chrome. Install it (apt-get install chromium) or set RSC_CHROMIUM"
TIMEOUT_SECONDS = 120
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    letter: f"\\{letter}" for letter in "&%$#_{}"
}
_MATH = {"∞": r"$\infty$", "ε": r"$\varepsilon$", "γ": r"$\gamma$", "λ": r"$\lambda$", "ρ": r"$\rho$", "ℓ": r"$\ell$"}


BOUNDS = {"width_cm": (3, 100), "height_cm": (3, 100), "font_pt": (4, 40)}
"""The smallest and the largest value of each field of :class:`Size`."""


@dataclass(frozen=True)
class Size:
    """Size of an exported figure in centimeters, and its font size in points.

    Raises:
        InputError: a value is outside :data:`BOUNDS`.
    """

    width_cm: float = 17.0
    height_cm: float = 9.0
    font_pt: float = 8.0

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise InputError(f"Invalid value for '{name}': {value:g}. Expected a number from {low} to {high}.")

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height in CSS pixels (96 per inch)."""
        return round(self.width_cm / 2.54 * 96), round(self.height_cm / 2.54 * 96)


SIZES = {"column": Size(8.5, 6.0, 7.0), "page": Size(17.0, 9.0, 8.0)}
"""Sizes that the pages offer: one column, and the full width of a page with two columns."""


def sized(figure: go.Figure, size: Size) -> go.Figure:
    """Return a copy of the figure at a size on paper; markers are scaled with the font size."""
    scale = size.font_pt / 0.75 / 13  # the font size on the web page is 13 px
    made = go.Figure(figure)
    width, height = size.pixels
    made.update_layout(width=width, height=height, font_size=13 * scale)
    made.update_xaxes(title_font_size=13 * scale)
    made.update_yaxes(title_font_size=13 * scale)
    for trace in made.data:
        if isinstance(trace, go.Scatter) and isinstance(trace.marker.size, int | float):
            trace.marker.size = trace.marker.size * scale
    return made


def image_bytes(figure: go.Figure, kind: str = "pdf", size: Size | None = None) -> bytes:
    """Return a figure as the content of an image file, drawn by Kaleido with the Chromium of this machine.

    Args:
        figure: a figure of a panel.
        kind: ``pdf``, ``svg`` or ``png`` (at three times the resolution of a screen).
        size: size on paper; default: 17 × 9 cm.

    Raises:
        InputError: there is no Chromium, or ``kind`` is none of these.
    """
    if kind not in FORMATS:
        raise InputError(f"Invalid image format: {kind!r}. Expected one of {', '.join(FORMATS)}.")
    return images([figure], kind, size or SIZES["page"])[0]


def images(figures: Sequence[go.Figure], kind: str, size: Size) -> list[bytes]:
    """Return :func:`image_bytes` of several figures, drawn by one browser process."""
    import kaleido

    width, height = size.pixels
    options = {"format": kind, "width": width, "height": height, "scale": 3 if kind == "png" else 1}
    page = kaleido.PageGenerator(mathjax=False)  # by default the page asks the network for MathJax
    browser = {"path": chromium_path(), "page_generator": page, "timeout": TIMEOUT_SECONDS}
    with tempdirs.tempdir() as folder:
        paths = [Path(folder, f"{index}.{kind}") for index in range(len(figures))]
        jobs = [
            {"fig": sized(figure, size), "path": path, "opts": options}
            for figure, path in zip(figures, paths, strict=True)
        ]
        kaleido.write_fig_from_object_sync(jobs, kopts=browser)
        return [path.read_bytes() for path in paths]


def chromium_path() -> str:
    """Return the path of the browser that draws figures: ``RSC_CHROMIUM``, or the first of ``BROWSERS`` on ``PATH``.

    Raises:
        InputError: no browser was found.
    """
    found = os.environ.get("RSC_CHROMIUM") or next((p for p in map(shutil.which, BROWSERS) if p), None)
    if not found:
        raise InputError(f"{NO_BROWSER}.")
    return found


def save_figure(figure: go.Figure, path: str | Path, size: Size | None = None) -> None:
    """Write a figure to a file whose suffix determines the format.

    Raises:
        InputError: the suffix is not ``.pdf``, ``.svg`` or ``.png``, or there is no Chromium.
    """
    Path(path).write_bytes(image_bytes(figure, Path(path).suffix.lower().removeprefix("."), size))


def export_all(view: View, folder: Path, size: Size, kinds: Sequence[str] = ("pdf", "svg")) -> int:
    """Write all figures and tables of all pages except Compare to files ``PAGE-PANEL[-NUMBER].KIND``.

    Args:
        view: the runs, in the light theme.
        folder: an existing folder.
        size: size of the figures on paper.
        kinds: formats of the figures.

    Returns:
        The number of files.

    Raises:
        InputError: there is no Chromium.  The tables have already been written.
    """
    figures: dict[str, go.Figure] = {}
    tables = 0
    for page in PAGES:
        for panel in panels(page, view) if page.path != "compare" else ():
            name = f"{page.path or 'overview'}-{panel.key}"
            figures |= {f"{name}-{at + 1}": plot.figure for at, plot in enumerate(panel.plots) if not panel.message}
            if len(panel.table):
                Path(folder, f"{name}.csv").write_text(csv_text(panel.table), encoding="utf-8")
                Path(folder, f"{name}.tex").write_text(latex_table(panel.table, caption=panel.title), encoding="utf-8")
                tables += 2
    for kind in kinds if figures else ():
        for name, content in zip(figures, images(list(figures.values()), kind, size), strict=True):
            Path(folder, f"{name}.{kind}").write_bytes(content)
    return tables + len(figures) * len(kinds)


def open_panels(tracking_uri: str, page: str, search: str = "") -> dict[str, Panel]:
    """Return the panels of a page by key, with the filters and options of a URL.

    Args:
        tracking_uri: any MLflow tracking URI.
        page: path of the page, e.g. ``scores``; ``overview`` for the first page.
        search: query string of the URL, e.g. ``?family=mnist&facet=none``.

    Raises:
        InputError: there is no such page, the store does not answer, or the filter is not valid.
    """
    found = page_at(page)
    if found is None:
        raise InputError(f"Invalid page: {page!r}. Expected one of {', '.join(p.path or 'overview' for p in PAGES)}.")
    store = RunStore(tracking_uri)
    if error := store.refresh().error:
        raise InputError(f"The tracking store {redact_passwords(tracking_uri)} does not answer ({error}).")
    repository = RunRepository(store, Details(lambda: store.client))
    view = repository.view(repository.snapshot(), Filters.parse(search), LIGHT)
    return {panel.key: panel for panel in panels(found, view)}


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV; an apostrophe is put before text that a spreadsheet would interpret as a formula."""
    return str(table.map(_harmless).rename(columns=_harmless).to_csv(index=False))


def _harmless(value: Any) -> Any:
    risky = (
        isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) and not _NUMBER.fullmatch(value)
    )
    return f"'{value}" if risky else value


def latex_table(table: pd.DataFrame, *, caption: str = "", label: str = "") -> str:
    """Return a table as LaTeX code for the package ``booktabs``, with numbers as on the page and without links to runs.

    Args:
        table: table of a panel.
        caption: caption above the table, unless empty.
        label: label for ``\\ref``, unless empty.
    """
    names = [name for name in shown_columns(table) if name != "links"]
    texts = pd.DataFrame({name: [_latex(text) for text in column_texts(name, table)] for name in names})
    texts.columns = pd.Index([_latex(heading(name, table)) for name in names])
    align = "".join("r" if is_numeric(table[name]) else "l" for name in names)
    styled = texts.style.hide(axis="index")
    return styled.to_latex(
        hrules=True,
        column_format=align,
        position_float="centering",
        caption=_latex(caption) or None,
        label=label or None,
    )


def _latex(text: str) -> str:
    """Escape text for LaTeX; a negative number is set in math mode."""
    escaped = "".join(_LATEX.get(letter) or _MATH.get(letter) or letter for letter in text)
    return f"${escaped}$" if _NUMBER.fullmatch(text) and text.startswith("-") else escaped

"""Tables: as AG Grid with sorting, filters and pages on web pages, and as text for the report and LaTeX."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from dash import html
from dash.development.base_component import Component
from dash_ag_grid import AgGrid

from dashboards.figures.points import INTERVAL
from dashboards.repository import RunRepository

ROWS = 2000
"""Maximum number of rows on a web page; downloads contain all rows."""
PAGE_ROWS = 15
LINKS = 3
HEADS = {
    "dataset_family": "family",
    "paper": "pattern",
    "n_spurious": "examples",
    "variant": "method",
    "mean": "mean",
    "low": "95 % from",
    "high": "95 % to",
    "units": "seeds",
    "over": "mean over",
    "each": "single seeds",
    "grad_clip": "clipping",
    "weight_decay": "weight decay",
    "input_noise": "input noise",
    "target_class": "target class",
    "n_clean": "clean models",
}
"""Column → heading, if they differ by more than underscores."""
LONG = ("error", "what and why", "reason", "log", "over")
"""Columns with long texts."""
_LEFT_OUT = ("incomplete", "running", "failed", "copies", "unreadable", "mixed")
"""Columns that tables omit if all their values are 0 or empty."""


def digits(value: float) -> str:
    """Return a number as text, in the format of all tables.

    Integers are shown in full.  Other numbers have four significant digits if they are at least 1, four decimals
    otherwise, and an exponent if they are below 0.001 or at least 10^6.  Thousands are separated by commas.
    ``assets/dashAgGridFunctions.js`` does the same in the browser.
    """
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")
    if abs(value) < 1:
        return f"{value:.4f}"
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.{max(3 - math.floor(math.log10(abs(rounded))), 0)}f}"


def cell_text(value: object) -> str:
    """Return a cell as text: numbers by :func:`digits`, lists joined by commas."""
    if isinstance(value, tuple | list):
        return ", ".join(digits(float(one)) for one in value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return digits(float(value))
    return "" if value is None else str(value)


def heading(name: object, table: pd.DataFrame) -> str:
    """Return a column's heading."""
    if name == "links":
        return "runs (links)" if "runs" in table else "run"
    return HEADS.get(str(name), str(name).replace("_", " "))


def shown_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns to show: no ends of intervals, and no column of ``_LEFT_OUT`` that is 0 or empty."""
    ends = {f"{name}{end}" for name in table.columns for end in INTERVAL}
    names = [str(name) for name in table.columns if name not in ends]
    return [name for name in names if name not in _LEFT_OUT or table[name].astype(bool).any()]


def has_interval(name: str, table: pd.DataFrame) -> bool:
    """Return whether a column is a mean whose interval is in two further columns."""
    return all(f"{name}{end}" in table for end in INTERVAL)


def column_texts(name: str, table: pd.DataFrame) -> list[str]:
    """Return a column's cells as text; means with an interval as "mean [from, to]"."""
    texts = [cell_text(value) for value in table[name].tolist()]
    if not has_interval(name, table):
        return texts
    ends = zip(*(table[f"{name}{end}"].tolist() for end in INTERVAL), strict=True)
    return [
        text if low != low else f"{text} [{digits(low)}, {digits(high)}]"
        for text, (low, high) in zip(texts, ends, strict=True)
    ]


def run_links(links: str, repository: RunRepository) -> list[list[str]]:
    """Return [text, address] of the first runs of "experiment:run,…"; addresses are empty if no UI is known."""
    pairs = [link.split(":", 1) for link in links.split(",") if ":" in link]
    parts = [[run_id[:6], repository.run_address(experiment_id, run_id)] for experiment_id, run_id in pairs[:LINKS]]
    return [*parts, [f"+{len(pairs) - LINKS}", ""]] if len(pairs) > LINKS else parts


def text_rows(table: pd.DataFrame, repository: RunRepository) -> dict[str, list[Any]]:
    """Return ``head`` and ``rows`` of a table for the report; cells of runs are lists of [text, address]."""
    names, shown = shown_columns(table), table.head(ROWS)
    columns = [
        [run_links(str(value), repository) for value in shown[name]] if name == "links" else column_texts(name, shown)
        for name in names
    ]
    return {"head": [heading(n, table) for n in names], "rows": [list(row) for row in zip(*columns, strict=True)]}


def grid(table: pd.DataFrame, repository: RunRepository, name: str, key: Mapping[str, str]) -> Component:
    """Return a paged table whose columns can be sorted and filtered.

    Args:
        table: ``links`` ("experiment:run,…") becomes links to runs.
        repository: source of the runs' addresses.
        name: title of the table, for screen readers.
        key: id of the grid, for callbacks that replace its rows.
    """
    names, rows = shown_columns(table), row_data(table, repository)
    columns = [_column(column, table) | _room(column, names, table) for column in names]
    fitted = [column["field"] for column in columns if "flex" not in column]
    made = AgGrid(
        id=dict(key),
        rowData=rows,
        columnDefs=columns,
        defaultColDef={"filter": "agTextColumnFilter", "sortable": True, "resizable": True},
        dashGridOptions={
            "theme": {"function": "rscTheme(themeQuartz)"},
            "suppressFieldDotNotation": True,
            "domLayout": "autoHeight",
            "pagination": len(rows) > PAGE_ROWS,
            "paginationPageSize": PAGE_ROWS,
            "paginationPageSizeSelector": [PAGE_ROWS, 50, 200],
            "autoSizeStrategy": {"type": "fitCellContents", "defaultMaxWidth": 420, "colIds": fitted},
            "enableCellTextSelection": True,
            "ensureDomOrder": True,
            "suppressColumnVirtualisation": len(names) <= 40,
            "enableBrowserTooltips": True,
        },
        style={"height": None, "width": "100%"},
    )
    box = html.Div(made, className="grid", role="region", **{"aria-label": name})
    more = html.P(f"The first {ROWS:,} of {len(table):,} rows. The downloads contain all rows.", className="note")
    return html.Div([more, box]) if len(table) > ROWS else box


def row_data(table: pd.DataFrame, repository: RunRepository) -> list[dict[str, Any]]:
    """Return the rows of a grid: column → cell."""
    names, shown = shown_columns(table), table.head(ROWS)
    names += [f"{name}{end}" for name in names if has_interval(name, table) for end in INTERVAL]
    cells = [_cells(column, shown[column], repository) for column in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]


def _cells(name: str, values: "pd.Series[Any]", repository: RunRepository) -> Sequence[Any]:
    """Return a column's cells for the browser: numbers as numbers, so that they are sorted as such; NaN as None."""
    if name == "links":
        return [run_links(str(value), repository) for value in values.tolist()]
    if is_numeric(values):
        return [None if value != value or math.isinf(value) else value for value in values.tolist()]
    return [cell_text(value) for value in values.tolist()]


def _room(name: str, names: Sequence[str], table: pd.DataFrame) -> dict[str, Any]:
    """Return AG Grid's width options for columns that fill the remaining width; empty for all others.

    These are the columns with long texts, or else the first column.  A character takes about 7 pixels.
    """
    long = [column for column in names if column in LONG]
    if name not in (long or names[:1]):
        return {}
    longest = 0 if long else max(map(len, column_texts(name, table.head(PAGE_ROWS))), default=0)
    return {"flex": 1, "minWidth": min(max(7 * longest + 40, 150), 220)}


def is_numeric(values: "pd.Series[Any]") -> bool:
    """Return whether a column contains numbers."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _column(name: str, table: pd.DataFrame) -> dict[str, Any]:
    column: dict[str, Any] = {"field": name, "headerName": heading(name, table)}
    if name == "links":
        return column | {"cellRenderer": "RscRuns", "sortable": False, "filter": False}
    if is_numeric(table[name]):
        formatter = {"function": "rscInterval(params)" if has_interval(name, table) else "rscDigits(params)"}
        return column | {"type": "rightAligned", "filter": "agNumberColumnFilter", "valueFormatter": formatter}
    return column | {"tooltipField": name}

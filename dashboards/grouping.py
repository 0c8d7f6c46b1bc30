"""The options *Group by* and *Facet by*, which accept any parameter and work the same way on every page."""

from collections.abc import Sequence

import pandas as pd

from dashboards.alike import PARAMETERS
from dashboards.figures.style import in_place, plain
from dashboards.panels import Option, View
from rsc_mlflow.analysis.settings import SETTINGS, in_words

FIELDS = (("paper", "pattern"), *(pair for pair in PARAMETERS if pair[0] != "pattern"))
"""Columns that can group runs: (column, name for users)."""
NOTHING = "none"
NO_VALUE = "no value"


def facet_by(default: str = NOTHING, without: Sequence[str] = ()) -> Option:
    """Return the option *Facet by*, which selects a parameter with one figure per value."""
    fields = tuple(pair for pair in FIELDS if pair[0] not in without)
    return Option("facet", "Facet by", ((NOTHING, "nothing: all in one figure"), *fields), default)


def group_by(label: str, first: Sequence[tuple[str, str]] = (), without: Sequence[str] = ()) -> Option:
    """Return an option that selects a parameter with one line, color or position per value; default: the pattern.

    Args:
        label: the option's label.
        first: further choices, listed after the pattern: (column, name for users).
        without: columns that cannot be chosen.
    """
    fields = tuple(pair for pair in FIELDS if pair[0] not in without)
    return Option("group", label, (fields[0], *first, *fields[1:]), "paper")


def facet_columns(view: View, option: Option, *shown: str) -> list[str]:
    """Return a list with the column that defines the facets; empty if there is none or it is one of ``shown``."""
    name = view.option(option)
    return [] if name in (NOTHING, *shown) else [name]


def with_values(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the runs with :data:`NO_VALUE` for missing values of the columns, so that such runs form a group."""
    gaps = [name for name in columns if name in runs and runs[name].isna().any()]
    if not gaps:
        return runs
    return runs.assign(**{name: runs[name].astype(object).where(runs[name].notna(), NO_VALUE) for name in gaps})


def facets(table: pd.DataFrame, *columns: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Split a table by the values of some columns.

    Args:
        table: points of a figure.
        columns: None and columns that are not in the table are ignored.

    Returns:
        (heading, rows) of each part, in order; the whole table with an empty heading if there are no columns.
    """
    names = [name for name in dict.fromkeys(columns) if name is not None and name in table]
    if not names:
        return [("", table)]
    places = [{value: at for at, value in enumerate(in_place(table[name]))} for name in names]
    cut = sorted(
        table.groupby(names, sort=False), key=lambda pair: [at[one] for at, one in zip(places, pair[0], strict=True)]
    )
    return [(_heading(names, key), rows) for key, rows in cut if len(rows)]


def _heading(columns: Sequence[str], values: Sequence[object]) -> str:
    words = [_words(column, value) for column, value in zip(columns, values, strict=True)]
    return " · ".join(word for word in words if word)


def _words(column: str, value: object) -> str:
    if value == NO_VALUE:
        return f"no {SETTINGS[column][0]}"
    if column in SETTINGS and column not in ("dataset_family", "form", "pattern"):
        return in_words(column, value) or f"{SETTINGS[column][0]} {value}"
    return plain(value)

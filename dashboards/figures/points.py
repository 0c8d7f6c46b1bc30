"""What stands behind the points of a figure, in words; and the marks of single seeds."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

T = TypeVar("T")
LINE = 40
"""Letters that a legend has room for on a screen of 390 pixels."""
COUNTS = ("runs", "incomplete", "running", "failed", "copies", "unreadable")
INTERVAL = (" from", " to")
"""Endings of the columns that hold the ends of another column's interval; tables show them in that column."""
TARGETS = ("target_1", "target_2")
"""Columns of the two scores of runs with two target classes."""


def interval(low: float, high: float) -> str:
    """An interval in words for a hover text."""
    return "fewer than 5 seeds, no interval" if np.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"


def behind(row: Mapping[Any, Any] | pd.Series) -> str:
    """What stands behind a point, in words."""
    parts = [counted(row["runs"], "run"), row["over"] or counted(row["units"], "seed")]
    parts += [f"{row['failed']:.0f} failed"] if row["failed"] else []
    parts += [f"{row['running']:.0f} still running"] if row["running"] else []
    parts += [f"{row['copies']:.0f} repeated, left out"] if row["copies"] else []
    parts += [f"{row['incomplete']:.0f} of seeds that lack a run, left out"] if row["incomplete"] else []
    parts += [f"{row['unreadable']:.0f} unreadable, left out"] if row["unreadable"] else []
    parts += [f"averages unlike runs: {row['mixed']} differ"] if row["mixed"] else []
    return " · ".join(parts)


def hover(table: pd.DataFrame, title: Sequence[str]) -> list[str]:
    """Hover texts of the points: title, mean, interval, and what stands behind."""
    more = [name for name in TARGETS if name in table]
    rows = records(table, ["mean", "low", "high", "units", "over", "each", "mixed", *COUNTS, *more])
    return [f"<b>{head}</b><br>{_mean(row)}<br>{behind(row)}" for head, row in zip(title, rows, strict=True)]


def _mean(row: Mapping[Any, Any]) -> str:
    words = f"mean {row['mean']:.4f}<br>{interval(row['low'], row['high'])}"
    if row["each"]:
        words += f": {', '.join(f'{value:.3f}' for value in row['each'])}"
    known = [f"{row[name]:.4f}" for name in TARGETS if name in row and row[name] == row[name]]
    return words + (f"<br>first and second target class: {', '.join(known)}" if known else "")


def seed_marks(rows: pd.DataFrame, place: Sequence[T]) -> tuple[list[T], list[float]]:
    """Where single seeds are drawn: those of the points with too few of them for an interval.

    Args:
        rows: points.
        place: of each point: where it stands, or its number.

    Returns:
        Places and values.
    """
    marks = [(x, value) for x, each in zip(place, rows["each"], strict=True) for value in each or ()]
    return [x for x, _ in marks], [value for _, value in marks]


def records(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as mappings of some columns, several times faster than pandas' own."""
    rows = zip(*(table[name].tolist() for name in columns), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def summary(table: pd.DataFrame) -> str:
    """One line about all points of a figure; runs behind several points are counted once."""
    if table.empty:
        return "no points"
    low, high = int(table["units"].min()), int(table["units"].max())
    units = counted(low, "seed") if low == high else f"{low} to {high} seeds"
    distinct = table.drop_duplicates("links")
    parts = [counted(len(table), "point"), counted(distinct["runs"].sum(), "run"), f"{units} each", _over(table)]
    kinds = (("running", "still running"), ("failed", "failed"), ("copies", "repeated"))
    parts += [f"{distinct[name].sum():,.0f} {words} and left out" for name, words in kinds if distinct[name].sum()]
    parts += [f"{lost:,.0f} of seeds that lack a run left out" for lost in (distinct["incomplete"].sum(),) if lost]
    parts += [f"{odd:,.0f} unreadable and left out" for odd in (distinct["unreadable"].sum(),) if odd]
    return " · ".join(part for part in parts if part) + few(table)


def _over(table: pd.DataFrame) -> str:
    """What the means estimate, if that is the same for all."""
    found = set(table["over"])
    return f"means {found.pop()}" if len(found) == 1 else ""


def few(table: pd.DataFrame) -> str:
    """Says that points have no interval where they have none."""
    none = int(table["low"].isna().sum())
    if not none:
        return ""
    what = "No point has an interval" if none == len(table) else f"{none:,} of {len(table):,} points have no interval"
    return f". {what}: it takes five seeds; small marks are single seeds"


def unlike(table: pd.DataFrame) -> str:
    """Says so where a mean goes over runs that differ in a setting which the figure does not show; else empty."""
    mixed = table.loc[table["mixed"] != "", "mixed"] if "mixed" in table else pd.Series(dtype=object)
    names = dict.fromkeys(name for words in mixed for name in words.split(", "))
    return f"Unlike runs are averaged here: they differ in {', '.join(names)}. Use the filters." if names else ""


def counted(number: float, what: str) -> str:
    """A number and its noun, in the plural where it is not one."""
    return f"{number:,.0f} {what}" + ("" if number == 1 else "s")


def symlog(values: pd.Series | Sequence[float]) -> np.ndarray:
    """0 and 1 stay, beyond it is 1 + log10: an axis on which none, one and a thousand have room."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) <= 1, array, np.sign(array) * (1 + np.log10(np.maximum(np.abs(array), 1))))


def escape(text: object) -> str:
    """Text for a plotly label, which would read some HTML."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lines(text: object, length: int = LINE) -> str:
    """Text for a legend, which plotly does not wrap: as many lines as it takes on a phone."""
    return "<br>".join(escape(line) for line in textwrap.wrap(str(text), length, break_on_hyphens=False))

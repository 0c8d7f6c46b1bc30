"""Texts about the points of a figure (hover texts, summaries, labels), and markers of single seeds."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

T = TypeVar("T")
LINE = 40
"""Maximum number of characters in a line of a legend, for a screen 390 pixels wide."""
COUNTS = ("runs", "incomplete", "running", "failed", "copies", "unreadable")
INTERVAL = (" from", " to")
"""Suffixes of the columns with the ends of another column's interval; tables show all three in one column."""
TARGETS = ("target_1", "target_2")
"""Columns with the scores of both classes, for runs with two target classes."""


def interval(low: float, high: float) -> str:
    """Return an interval as text."""
    return "fewer than 5 seeds, no interval" if np.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"


def behind(row: Mapping[Any, Any] | pd.Series) -> str:
    """Return a text with the numbers of runs and seeds behind a point, and of runs that were left out."""
    parts = [counted(row["runs"], "run"), row["over"] or counted(row["units"], "seed")]
    parts += [f"{row['failed']:.0f} failed"] if row["failed"] else []
    parts += [f"{row['running']:.0f} still running"] if row["running"] else []
    parts += [f"{row['copies']:.0f} repeated, left out"] if row["copies"] else []
    parts += [f"{row['incomplete']:.0f} of seeds that lack a run, left out"] if row["incomplete"] else []
    parts += [f"{row['unreadable']:.0f} unreadable, left out"] if row["unreadable"] else []
    parts += [f"averages runs that differ in {row['mixed']}"] if row["mixed"] else []
    return " · ".join(parts)


def hover(table: pd.DataFrame, title: Sequence[str]) -> list[str]:
    """Return the hover text of each point: title, mean, interval and numbers of runs and seeds."""
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
    """Return the positions and values of single seeds, for points with fewer than five seeds.

    Args:
        rows: points.
        place: position of each point.
    """
    marks = [(x, value) for x, each in zip(place, rows["each"], strict=True) for value in each or ()]
    return [x for x, _ in marks], [value for _, value in marks]


def records(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows of some columns as dictionaries; several times faster than ``DataFrame.to_dict``."""
    rows = zip(*(table[name].tolist() for name in columns), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def summary(table: pd.DataFrame, seeds: bool = True) -> str:
    """Return a line with the numbers of points, runs and seeds of a figure, and of runs that were left out.

    Runs behind several points are counted once.

    Args:
        table: points.
        seeds: whether the figure has small markers for single seeds.
    """
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
    return " · ".join(part for part in parts if part) + few(table, seeds)


def _over(table: pd.DataFrame) -> str:
    """Return what the means estimate, if it is the same for all points."""
    found = set(table["over"])
    return f"means {found.pop()}" if len(found) == 1 else ""


def few(table: pd.DataFrame, seeds: bool = True) -> str:
    """Return a sentence about points without an interval, or an empty text; for ``seeds`` see :func:`summary`."""
    none = int(table["low"].isna().sum())
    if not none:
        return ""
    some = f"{none:,} of {len(table):,} points {'has' if none == 1 else 'have'} no"
    what = "No point has an" if none == len(table) else some
    return f". {what} interval, which needs five seeds" + "; small markers are single seeds" * seeds


def unlike(table: pd.DataFrame) -> str:
    """Return a warning if means include runs with different settings that the figure does not show; else empty."""
    mixed = table.loc[table["mixed"] != "", "mixed"] if "mixed" in table else pd.Series(dtype=object)
    names = dict.fromkeys(name for words in mixed for name in words.split(", "))
    return f"Means include runs that differ in {', '.join(names)}. Use the filters." if names else ""


def counted(number: float, what: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number:,.0f} {what}" + ("" if number == 1 else "s")


def symlog(values: pd.Series | Sequence[float]) -> np.ndarray:
    """Return x from -1 to 1, and sign(x) (1 + log10(abs(x))) beyond: positions on an axis that shows 0, 1 and 1,000."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) <= 1, array, np.sign(array) * (1 + np.log10(np.maximum(np.abs(array), 1))))


def escape(text: object) -> str:
    """Escape text for a plotly label, which interprets some HTML."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lines(text: object, length: int = LINE) -> str:
    """Wrap and escape text for a legend, because plotly does not wrap it."""
    return "<br>".join(escape(line) for line in textwrap.wrap(str(text), length, break_on_hyphens=False))

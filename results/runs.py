"""A study's runs as CSV files: the same runs always give the same bytes, and two files can be merged.

The columns are those of ``mlflow.search_runs`` (``params.…``, ``metrics.…``, ``tags.…``, ``run_id``, ``start_time`` and
``end_time`` in milliseconds since 1970) and the fingerprints of the runs that a run refers to.
"""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema

Row = Mapping[str, str]
FINGERPRINT = f"tags.{schema.FINGERPRINT}"
SOURCE_FINGERPRINT = "source_fingerprint"
REFERENCE_FINGERPRINT = "reference_fingerprint"
LEADING = (
    FINGERPRINT,
    f"tags.{schema.KIND}",
    f"tags.{schema.METHOD}",
    "params.dataset",
    "params.model",
    "params.optimizer",
    "params.random_seed",
)
"""The first columns; rows are sorted by them."""
SORTED_BY = (*LEADING[1:], FINGERPRINT)
PLAIN = ("run_id", "start_time", "end_time", SOURCE_FINGERPRINT, REFERENCE_FINGERPRINT)


def number_text(value: float) -> str:
    """A number with at most nine significant digits, so that equal numbers give equal text on every machine."""
    return f"{value:.9g}"


def merged(old: Sequence[Row], new: Sequence[Row], *, replace: bool) -> list[Row]:
    """The rows of both, one per fingerprint. The old row is kept unless ``replace`` is set."""
    first, second = (old, new) if replace else (new, old)
    return list({row[FINGERPRINT]: row for row in [*first, *second]}.values())


def rows_text(rows: Iterable[Row]) -> str:
    """Format rows as a CSV file with sorted rows and columns and empty cells for missing values."""
    ordered = sorted(rows, key=lambda row: [row.get(name, "") for name in SORTED_BY])
    found = {name for row in ordered for name, value in row.items() if value != ""}
    columns = [*LEADING, *PLAIN]
    columns += sorted(found - set(columns), key=lambda name: (_GROUPS.index(name.split(".")[0]), name))
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[row.get(name, "") for name in columns] for row in ordered])
    return target.getvalue()


_GROUPS = ("params", "metrics", "tags")


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file without its empty cells; no rows if the file does not exist.

    Raises:
        InputError: the file is not a table of runs.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.DictReader(source)
        if FINGERPRINT not in (reader.fieldnames or ()):
            raise InputError(f"{path} has no column {FINGERPRINT}. Expected a file from `python -m results export`.")
        return [{name: value for name, value in row.items() if value} for row in reader]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file atomically: an interrupted export leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(rows_text(rows), encoding="utf-8", newline="")
    os.replace(part, path)


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One row per run, newest first, with MLflow's column names and types; missing parameters are NaN."""
    frame = pd.DataFrame(list(rows), columns=None if rows else [*LEADING, *PLAIN]).assign(status="FINISHED")
    names = [str(name) for name in frame.columns]
    numbers = ["start_time", "end_time", *(name for name in names if name.startswith("metrics."))]
    return frame.astype(dict.fromkeys(numbers, float)).sort_values(
        ["start_time", "run_id"], ascending=False, ignore_index=True
    )

"""Filters: read from a page's URL and applied to runs with typed columns (:func:`rsc_mlflow.analysis.read`)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd

from rsc_mlflow.analysis import metric
from rsc_mlflow.tracking.filters import matching

NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?", re.ASCII)


def drop_raw_columns(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without the raw columns ``params.…`` and ``tags.…``, which only the page Compare shows.

    These are about half of the columns, and copying them would take most of a page's time.
    """
    return runs[[name for name in runs.columns if not name.startswith(("params.", "tags."))]]


CHOICES: Mapping[str, tuple[str, str]] = {
    "experiment": ("Experiment", "experiment_id"),
    "family": ("Family", "dataset_family"),
    "architecture": ("Architecture", "architecture"),
    "optimizer": ("Optimizer", "optimizer"),
    "target": ("Target class", "target_class"),
    "count": ("Spurious examples", "n_spurious"),
    "epochs": ("Epochs", "epochs"),
    "method": ("Method", "method"),
    "seed": ("Training seed", "random_seed"),
    "sweep": ("Sweep", "sweep"),
}
"""Filters that accept several values: name in the URL → (label, column)."""
OF_PATTERN = ("target", "count")
"""Filters that keep all clean runs, which have no such value and are needed for comparisons."""


@dataclass(frozen=True)
class Filters:
    """The filters, which apply to every page, and the options of single pages, as given in a URL.

    An empty filter keeps all runs.
    """

    experiment: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    architecture: tuple[str, ...] = ()
    optimizer: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    count: tuple[str, ...] = ()
    epochs: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    seed: tuple[str, ...] = ()
    sweep: tuple[str, ...] = ()
    filter: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of single pages

    @classmethod
    def parse(cls, search: str | None) -> Self:
        """Read the query string of a URL, with or without its question mark."""
        given = {k: tuple(v) for k, v in parse_qs((search or "").lstrip("?")).items()}
        lists = {name: given.pop(name, ()) for name in CHOICES}
        text = given.pop("filter", ("",))[0].strip()
        return cls(**lists, filter=text, options=given)

    def search(self) -> str:
        """Return the query string for a URL: empty, or starting with a question mark."""
        pairs = [(name, value) for name in CHOICES for value in getattr(self, name)]
        pairs += [("filter", self.filter)] if self.filter else []
        pairs += [(name, value) for name, values in sorted(self.options.items()) for value in values]
        return "?" + urlencode(pairs) if pairs else ""

    def apply(self, runs: pd.DataFrame, experiments: Mapping[str, str]) -> pd.DataFrame:
        """Return the runs that pass all filters.

        Args:
            runs: from :func:`rsc_mlflow.analysis.read`.
            experiments: id → name.

        Raises:
            InputError: ``filter`` is not a valid MLflow filter.
        """
        keep = matching(runs, self.filter)
        for name, (_, column) in CHOICES.items():
            if wanted := getattr(self, name):
                values = runs[column].map(experiments) if name == "experiment" else texts(runs[column])
                fits = values.isin(wanted)
                keep &= fits | (runs["pattern"] == "none") if name in OF_PATTERN else fits
        return runs if keep.all() else runs[keep]


def texts(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column's values as they are written in URLs; missing values are empty."""
    codes, values = pd.factorize(column)
    spelled = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return pd.Series(np.array([*spelled, ""], dtype=object)[codes], index=column.index)


def choices(runs: pd.DataFrame, experiments: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the values that occur for each filter of :data:`CHOICES`: filter → value → label, in display order."""
    found = {
        name: _values(runs[column]) for name, (_, column) in CHOICES.items() if name not in ("experiment", "sweep")
    }
    return {"experiment": {name: name for name in sorted(set(experiments.values()))}, **found, "sweep": _sweeps(runs)}


def _sweeps(runs: pd.DataFrame) -> dict[str, str]:
    """Return a label for the id of each sweep, newest first: its name, if known, and the start of its id."""
    known = runs[runs["sweep"] != ""].sort_values("started_ms", ascending=False)
    named = known[known["kind"] == "sweep"].drop_duplicates("sweep").set_index("sweep")["run_name"].to_dict()
    ids = dict.fromkeys(known["sweep"])
    return {one: f"{named[one]} ({one[:6]})" if one in named else one[:12] for one in ids}


def _values(column: pd.Series) -> dict[str, str]:
    found = [value for value in texts(column.drop_duplicates()) if value not in ("", "none")]
    numbers = all(NUMBER.fullmatch(value) for value in found)
    return {value: value for value in sorted(found, key=float if numbers else str)}


def has_metric(runs: pd.DataFrame, names: Sequence[str]) -> bool:
    """Return whether any run has any of the metrics."""
    return any(metric(runs, name).notna().any() for name in names)

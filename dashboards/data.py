"""Filters from the address, applied to runs with typed columns (:func:`rsc_mlflow.analysis.read`).

Everything here is a pure function of a snapshot of :class:`rsc_mlflow.tracking.frame.RunStore`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlencode

import pandas as pd

from rsc_mlflow.analysis import metric
from rsc_mlflow.tracking.filters import matching


def drop_raw_columns(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the parameters and tags as logged, which only Compare shows: half of the columns, most of the time."""
    return runs[[name for name in runs.columns if not name.startswith(("params.", "tags."))]]


@dataclass(frozen=True)
class Filters:
    """The choices that hold on every page, as the address carries them; empty means all."""

    experiment: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    optimizer: tuple[str, ...] = ()
    filter: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of single pages

    @classmethod
    def parse(cls, search: str | None) -> Self:
        """Reads the part of an address after the question mark."""
        given = {k: tuple(v) for k, v in parse_qs((search or "").lstrip("?")).items()}
        lists = {name: given.pop(name, ()) for name in CHOICES}
        text = given.pop("filter", ("",))[0].strip()
        return cls(**lists, filter=text, options=given)

    def search(self) -> str:
        """The part of an address after the path, empty or beginning with a question mark."""
        pairs = [(name, value) for name in CHOICES for value in getattr(self, name)]
        pairs += [("filter", self.filter)] if self.filter else []
        pairs += [(name, value) for name, values in sorted(self.options.items()) for value in values]
        return "?" + urlencode(pairs) if pairs else ""

    def apply(self, runs: pd.DataFrame, experiments: Mapping[str, str]) -> pd.DataFrame:
        """The runs that these choices let through.

        Raises:
            InputError: the free filter is not one.
        """
        keep = matching(runs, self.filter)
        if self.experiment:
            keep &= runs["experiment_id"].map(experiments).isin(self.experiment)
        if self.family:
            keep &= runs["dataset_family"].isin(self.family)
        if self.optimizer:
            keep &= runs["optimizer"].isin(self.optimizer)
        if self.target:
            keep &= runs["target_class"].isin(self.target) | (runs["pattern"] == "none")
        return runs if keep.all() else runs[keep]


CHOICES = ("experiment", "family", "target", "optimizer")
"""The filters that are lists of values."""


def choices(runs: pd.DataFrame, experiments: Mapping[str, str]) -> dict[str, list[str]]:
    """The values that each list filter can take, sorted."""
    return {
        "experiment": sorted(set(experiments.values())),
        "family": _values(runs["dataset_family"]),
        "target": sorted(set(_values(runs["target_class"])) - {"none"}, key=lambda text: (len(text), text)),
        "optimizer": _values(runs["optimizer"]),
    }


def _values(column: pd.Series) -> list[str]:
    return sorted(value for value in column.unique() if value)


def has_metric(runs: pd.DataFrame, names: Sequence[str]) -> bool:
    """Whether any run carries any of the metrics."""
    return any(metric(runs, name).notna().any() for name in names)

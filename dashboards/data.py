"""Runs as the figures want them: typed columns, filters from the address, one row a fingerprint.

Everything here is a pure function of a snapshot of :class:`rsc_mlflow.tracking.frame.RunStore`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd

from rsc_mlflow.names import PATTERNS, form_of
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.filters import matching

NUMBERS = {
    "n": "n_spurious",
    "target": "target_class",
    "dataset_seed": "dataset_seed",
    "random_seed": "random_seed",
    "weight_decay": "weight_decay",
    "input_noise": "input_noise",
    "grad_clip": "grad_clip",
    "n_parameters": "n_parameters",
    "epochs": "epochs",
    "jobs": "n_jobs",
}
"""Column → the parameter that it is the number of."""
WORDS = {
    "family": "dataset_family",
    "dataset": "dataset",
    "pattern": "pattern",
    "architecture": "architecture",
    "optimizer": "optimizer",
    "model_uri": "model_uri",
}
TAGS = {
    "kind": schema.KIND,
    "method": schema.METHOD,
    "fingerprint": schema.FINGERPRINT,
    "sweep": schema.SWEEP,
    "error": schema.ERROR,
    "source_run": schema.SOURCE_RUN_ID,
}
GONE = "gone"
"""The ``source_kind`` of a run whose source is no longer in the store."""
PLAIN = ("run_id", "experiment_id", "run_name", "status")
"""Texts of every run that are kept as Python's: cutting and reading them is several times faster than Arrow's."""
UNFINISHED = ("FAILED", "KILLED")
UNENDED = ("RUNNING", "SCHEDULED")


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds the figures' columns to a frame of runs (MLflow's column names).

    Added: those of ``NUMBERS`` (float, nan where absent), ``WORDS`` and ``TAGS`` (str, empty where absent),
    ``paper`` (S1 … Co, ``clean`` without a pattern), ``form`` (of the data set's name: the pattern in one class or in
    two, or the quarters of membership attacks), ``seed`` (what a seed-level average goes over), ``source_kind`` (kind
    of the run named by ``source_run``, empty where none is named, ``GONE`` where it is not in the frame) and
    ``started`` (UTC time).  Quoted values, as ``mlflow run`` may store them, are unquoted.

    The frame is that of the whole store: what a run was made from is looked up before any filter hides it.
    """
    columns: dict[str, pd.Series] = {}
    for name, param in NUMBERS.items():
        columns[name] = pd.to_numeric(_text(frame, f"params.{param}"), errors="coerce")
    for name, param in WORDS.items():
        columns[name] = _text(frame, f"params.{param}")
    for name, tag in TAGS.items():
        columns[name] = _text(frame, f"tags.{tag}")
    columns["form"] = columns["dataset"].map(form_of).astype("str")
    columns["paper"] = columns["pattern"].map(PATTERNS).fillna("clean")
    seeds = columns["random_seed"].fillna(0).astype(int), columns["dataset_seed"].fillna(0).astype(int)
    columns["seed"] = seeds[0].astype(str) + "/" + seeds[1].astype(str)
    kinds = dict(zip(frame["run_id"], columns["kind"], strict=True))
    columns["source_kind"] = columns["source_run"].map({"": ""} | kinds).fillna(GONE)
    columns["started"] = pd.to_datetime(frame["start_time"], unit="ms", utc=True)
    made = pd.DataFrame(columns, index=frame.index)
    texts = {name: object for name in [*made.columns[made.dtypes == "str"], *PLAIN] if name in made or name in frame}
    return pd.concat([frame, made], axis=1).astype(texts).copy()


def lean(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the parameters and tags as logged, which only Compare shows: half of the columns, most of the time."""
    return runs[[name for name in runs.columns if not name.startswith(("params.", "tags."))]]


def _text(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame:
        return pd.Series("", index=frame.index, dtype="str")
    return frame[column].fillna("").astype("str").str.strip("'")


def once(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a fingerprint: the newest finished run, or the newest of any status where none finished.

    Runs without a fingerprint all stay.  Added: ``copies`` (runs of this fingerprint, finished or running) and
    ``lost`` (bool: every run of this fingerprint failed or was killed).
    """
    key = runs["fingerprint"].where(runs["fingerprint"] != "", runs["run_id"])
    rank = runs["status"].map({"FINISHED": 2, "RUNNING": 1, "SCHEDULED": 1}).fillna(0)
    copies = (rank > 0).groupby(key).transform("sum")
    ranked = pd.DataFrame({"key": key, "rank": rank, "start": runs["start_time"]})
    newest = ranked.sort_values(["rank", "start"], ascending=False, kind="stable").drop_duplicates("key").index
    return runs.loc[newest].assign(copies=copies[newest], lost=runs["status"].isin(UNFINISHED)[newest])


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
        """The prepared runs that these choices let through.

        Raises:
            InputError: the free filter is not one.
        """
        keep = matching(runs, self.filter)
        if self.experiment:
            keep &= runs["experiment_id"].map(experiments).isin(self.experiment)
        if self.family:
            keep &= runs["family"].isin(self.family)
        if self.optimizer:
            keep &= runs["optimizer"].isin(self.optimizer)
        if self.target:
            keep &= runs["target"].isin([float(t) for t in self.target if t.isdecimal()]) | (runs["pattern"] == "none")
        return runs if keep.all() else runs[keep]


CHOICES = ("experiment", "family", "target", "optimizer")
"""The filters that are lists of values."""


def choices(runs: pd.DataFrame, experiments: Mapping[str, str]) -> dict[str, list[str]]:
    """The values that each list filter can take, sorted."""
    targets = runs["target"].dropna().unique()
    return {
        "experiment": sorted(set(experiments.values())),
        "family": _values(runs["family"]),
        "target": [str(int(t)) for t in np.sort(targets)],
        "optimizer": _values(runs["optimizer"]),
    }


def _values(column: pd.Series) -> list[str]:
    return sorted(value for value in column.unique() if value)


def metric(runs: pd.DataFrame, name: str) -> pd.Series:
    """A metric's column, float, nan where a run has none."""
    column = f"metrics.{name}"
    return runs[column] if column in runs else pd.Series(np.nan, index=runs.index)


def has_metric(runs: pd.DataFrame, names: Sequence[str]) -> bool:
    """Whether any run carries any of the metrics."""
    return any(metric(runs, name).notna().any() for name in names)

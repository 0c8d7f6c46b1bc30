"""The table printed at the end of a sweep: results of its jobs, averaged over seeds, per dataset and recipe."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Any

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from rich.table import Table

from rsc_mlflow.analysis import finished, latest_per_fingerprint, metric, over_seeds, read
from rsc_mlflow.experiments.registry import attack_names
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.frame import flatten
from rsc_mlflow.tracking.query import iterate_runs, quoted

SHOWN = 40
"""Maximum number of rows; the caption counts the others."""
_IDS_A_QUERY = 100
_DATASET = ("name", "dataset_family", "form", "pattern", "n_spurious", "target_class")
"""Columns that distinguish datasets; the first one is shown."""
_OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "train": {"spurious score": schema.SPURIOUS_SCORE, "test accuracy": schema.TEST_ACCURACY},
    "unlearn": {
        "spurious score": schema.SPURIOUS_SCORE,
        "before": schema.before(schema.SPURIOUS_SCORE),
        "gap to retraining": schema.gap(schema.SPURIOUS_SCORE),
        "test accuracy": schema.TEST_ACCURACY,
    },
}


def finished_runs(client: MlflowClient, run_ids: Iterable[str]) -> list[Run]:
    """Return the runs with these ids, in a few queries."""
    ids = list(run_ids)
    chunks = (ids[start : start + _IDS_A_QUERY] for start in range(0, len(ids), _IDS_A_QUERY))
    conditions = (f"attributes.run_id IN ({', '.join(map(quoted, chunk))})" for chunk in chunks)
    return list(chain.from_iterable(iterate_runs(client, [one]) for one in conditions))


def result_table(runs: Collection[Run]) -> Table | None:
    """Return a table of means, with 95 % intervals from five seeds on, of runs of one kind; None if there are none.

    Settings in which the runs differ are columns; only seeds are averaged over.
    """
    frame = finished(latest_per_fingerprint(read(flatten(list(runs)))))
    if not len(frame):
        return None
    kind = frame["kind"].iloc[0]
    outcomes = _outcomes(kind)
    values = {words: metric(frame, name) for words, name in outcomes.items()}
    frame = frame.assign(**values, name=frame["dataset"].map(_without_seed))
    by = [*_DATASET, *(["method"] if kind != "train" else [])]
    means = over_seeds(frame, by, tuple(outcomes))
    if not len(means):
        return None
    settings = list(means.columns[: means.columns.get_loc("outcome")])
    return _drawn(means, settings, [words for words in outcomes if words in set(means["outcome"])])


def _outcomes(kind: str) -> Mapping[str, str]:
    """Return column heading → metric for runs of one kind."""
    if kind == "attack":
        return {
            f"{name} {words}": schema.attack(name, measure)
            for name in attack_names()
            for words, measure in (("AUC", "auc"), ("spurious AUC", "spurious_auc"))
        }
    return _OUTCOMES.get(kind, {})


def _without_seed(dataset: str) -> str:
    """Return the dataset name without the seed of its examples, over which the table averages."""
    return re.sub(r"(-\d+)-\d+$", r"\1", dataset)


def _drawn(means: pd.DataFrame, settings: list[str], outcomes: list[str]) -> Table:
    shown = _telling(means, [name for name in settings if name not in _DATASET[1:]])
    headings = ("dataset" if name == _DATASET[0] else name.replace("_", " ") for name in shown)
    table = Table(*headings, title="Mean over seeds [95 % interval]")
    for heading in (*outcomes, "runs"):
        table.add_column(heading, justify="right")
    groups = list(means.groupby(settings, sort=False))
    for key, group in groups[:SHOWN]:
        values = dict(zip(settings, key, strict=True))
        of = {row["outcome"]: row for row in group.to_dict("records")}
        cells = [_cell(of.get(outcome)) for outcome in outcomes]
        table.add_row(*(_word(values[name]) for name in shown), *cells, str(int(group["runs"].max())))
    if len(groups) > SHOWN:
        table.caption = f"and {len(groups) - SHOWN} more rows: see the dashboards"
    return table


def _telling(means: pd.DataFrame, settings: list[str]) -> list[str]:
    """Return the settings without those that others determine, as the optimizer determines the momentum."""
    kept = list(settings)
    for name in reversed(settings[1:]):
        others = [one for one in kept if one != name]
        if name in kept and means.groupby(others, dropna=False)[name].nunique(dropna=False).max() == 1:
            kept.remove(name)
    return kept


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return "–"
    interval = "" if row["low"] != row["low"] else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['mean']:.3f}{interval}"

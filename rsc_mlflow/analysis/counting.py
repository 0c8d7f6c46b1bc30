"""Selection of the newest run of each fingerprint, and of runs by status, kind and dataset."""

import numpy as np
import pandas as pd

UNENDED = ("RUNNING", "SCHEDULED")
"""Statuses of runs that have not ended."""
UNFINISHED = ("FAILED", "KILLED")
"""Statuses of runs that ended without a result."""
_RANK = {"FINISHED": 2} | dict.fromkeys(UNENDED, 1)


def latest_per_fingerprint(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one run per fingerprint: the newest finished one, or else the newest running one, or else the newest.

    Runs without a fingerprint are all kept.  Added columns: ``copies`` (number of further finished runs with this
    fingerprint), ``counts`` (bool: the run is finished and readable, so it can be averaged), ``running`` (bool: it has
    not ended) and ``lost`` (bool: every run with this fingerprint failed or was killed).

    Args:
        runs: a table from :func:`rsc_mlflow.analysis.read`.
    """
    key = runs["fingerprint"].where(runs["fingerprint"] != "", runs["run_id"])
    rank = runs["status"].map(_RANK).fillna(0)
    finished = (rank == 2).groupby(key).transform("sum")
    ranked = pd.DataFrame({"key": key, "rank": rank, "start": runs["started_ms"]})
    newest = ranked.sort_values(["rank", "start"], ascending=False, kind="stable").drop_duplicates("key").index
    kept, best = runs.loc[newest], rank[newest]
    return kept.assign(
        copies=(finished[newest] - 1).clip(lower=0).astype(int),
        counts=(best == 2) & kept["readable"],
        running=best == 1,
        lost=best == 0,
    )


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of :func:`latest_per_fingerprint` that can be averaged, i.e. finished and readable runs."""
    return runs[runs["counts"].to_numpy(bool)]


def poisoned(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on datasets with a pattern."""
    return runs[~runs["pattern"].isin(["", "none"]).to_numpy()]


def clean(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on clean datasets."""
    return runs[(runs["pattern"] == "none").to_numpy()]


def kind(runs: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """Return the runs of the given kinds."""
    return runs[np.isin(runs["kind"].to_numpy(object), kinds)]

"""Which runs count: finished ones, the newest of each fingerprint; the others are counted, not averaged."""

import numpy as np
import pandas as pd

UNENDED = ("RUNNING", "SCHEDULED")
UNFINISHED = ("FAILED", "KILLED")
_RANK = {"FINISHED": 2} | dict.fromkeys(UNENDED, 1)


def latest_per_fingerprint(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per fingerprint: the newest finished run, else the newest that has not ended, else the newest.

    Runs without a fingerprint all stay.  Added: ``copies`` (further finished runs of this fingerprint, left out),
    ``counts`` (bool: finished, and its settings could be read: it may enter a mean), ``running`` (bool: has not
    ended) and ``lost`` (bool: every run of this fingerprint failed or was killed).
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
    """Those of :func:`latest_per_fingerprint`'s rows that may enter a mean."""
    return runs[runs["counts"].to_numpy(bool)]


def poisoned(runs: pd.DataFrame) -> pd.DataFrame:
    """Those with a pattern."""
    return runs[~runs["pattern"].isin(["", "none"]).to_numpy()]


def clean(runs: pd.DataFrame) -> pd.DataFrame:
    """Those without a pattern."""
    return runs[(runs["pattern"] == "none").to_numpy()]


def kind(runs: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """Those of some kinds."""
    return runs[np.isin(runs["kind"].to_numpy(object), kinds)]

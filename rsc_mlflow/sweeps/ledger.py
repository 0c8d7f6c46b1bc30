"""The ledger of a sweep: the fingerprints that have a finished run in MLflow.

Querying all finished runs takes about 1 ms of CPU time per run, 10 s for 10,000 runs, and the same on the server.  Each
sweep therefore logs a summary as an artifact of its run: a run for each fingerprint, and the time of the query.  The
next sweep reads the newest summary, queries only runs that ended later, and removes runs that were deleted.  If there
is no summary, all runs are queried.
"""

import gzip
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeGuard

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from rsc_mlflow import tempdirs
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import all_experiments, condition, iterate_runs, pages
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.tracking.store import reason, with_retries
from rsc_mlflow.tracking.values import number

SUMMARY = "ledger.json.gz"
SLACK_SECONDS = 600.0
"""Runs that ended up to this long before a summary are queried again, because clocks differ and writes are delayed."""
_VERSION = 1
_TRIED = 20  # maximum number of sweeps to search for summaries
_COMPARED = 3  # number of summaries to compare; the newest sweep may not have the newest summary
_READ_SECONDS = 5.0  # maximum time to wait for a summary
_logger = logging.getLogger(__name__)
_FINISHED = condition("attributes", "status", "FINISHED")


@dataclass(frozen=True)
class Entry:
    """A finished run of a fingerprint."""

    run_id: str
    experiment_id: str


@dataclass
class Ledger:
    """The fingerprints with a finished run in any active experiment of a store.

    Attributes:
        finished: a finished run of each fingerprint.
        fetched: number of runs that were queried.
        from_summary: number of entries from a summary.
    """

    client: MlflowClient
    finished: dict[str, Entry] = field(default_factory=dict)
    fetched: int = 0
    from_summary: int = 0
    _experiments: list[str] = field(default_factory=list)
    _until: float = 0.0

    @classmethod
    def read(cls, client: MlflowClient, *, recheck: bool = False) -> "Ledger":
        """Return the current ledger; with ``recheck``, query all runs and ignore summaries."""
        ledger = cls(client)
        ledger._experiments = all_experiments(client)
        summary = None if recheck else _newest_summary(client, ledger._experiments)
        if summary is None:
            ledger._ask([_FINISHED], ledger._experiments)
        else:
            ledger._apply(summary)
        return ledger

    def refresh(self) -> None:
        """Add the runs that finished since the last query."""
        since = int(1000 * (self._until - SLACK_SECONDS))
        self._ask([_FINISHED, f"attributes.end_time > {since}"], self._experiments)

    def add(self, fingerprint: str, run_id: str, experiment_id: str) -> None:
        """Add a run that this sweep finished."""
        self.finished.setdefault(fingerprint, Entry(run_id, experiment_id))

    def save(self, run: TrackedRun) -> None:
        """Log a summary as an artifact of the sweep's run."""
        content = {
            "version": _VERSION,
            "until": self._until,
            "experiments": self._experiments,
            "finished": {key: [entry.run_id, entry.experiment_id] for key, entry in self.finished.items()},
        }
        run.log_bytes(gzip.compress(json.dumps(content).encode(), mtime=0), SUMMARY)

    def _ask(self, conditions: list[str], experiments: list[str]) -> None:
        now = time.time()
        for run in iterate_runs(self.client, conditions, experiments):
            self.fetched += 1
            fingerprint = run.data.tags.get(schema.FINGERPRINT)
            if fingerprint and schema.KIND in run.data.tags:
                self.finished.setdefault(fingerprint, Entry(run.info.run_id, run.info.experiment_id))
        self._until = now

    def _apply(self, summary: "_Summary") -> None:
        active = set(self._experiments)
        deleted = {run.info.run_id for run in self._deleted()} if active else set()
        for fingerprint, entry in summary.finished.items():
            if entry.experiment_id in active and entry.run_id not in deleted:
                self.finished[fingerprint] = entry
        self.from_summary = len(self.finished)
        self._until = summary.until
        if unknown := sorted(active - summary.experiments):  # created or restored later
            self._ask([_FINISHED], unknown)
            self._until = summary.until
        self.refresh()

    def _deleted(self) -> Iterator[Run]:
        ask = partial(self.client.search_runs, self._experiments, _FINISHED, ViewType.DELETED_ONLY, 1000)
        return pages(lambda token: ask(page_token=token))


@dataclass(frozen=True)
class _Summary:
    """A summary logged by a sweep: the finished runs of some experiments at one time."""

    until: float  # seconds since 1970
    experiments: frozenset[str]
    finished: dict[str, Entry]

    @classmethod
    def of(cls, content: object) -> "_Summary | None":
        """Return the summary in a JSON document, or None if it is not in the format of :meth:`Ledger.save`."""
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            return None
        until, experiments, finished = (content.get(key) for key in ("until", "experiments", "finished"))
        moment = number(until)
        if moment is None or not 0 <= moment <= time.time() + SLACK_SECONDS:
            return None
        if not isinstance(finished, dict) or not _are_texts(experiments):
            return None
        if not all(_are_texts(entry) and len(entry) == 2 for entry in finished.values()):
            return None
        return cls(moment, frozenset(experiments), {key: Entry(*entry) for key, entry in finished.items()})


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _newest_summary(client: MlflowClient, experiments: list[str]) -> _Summary | None:
    """Return the summary with the latest time among the newest sweeps; None if there is no valid one."""
    found: list[_Summary] = []
    sweeps = iterate_runs(client, [condition("tags", schema.KIND, "sweep")], experiments, page=_TRIED)
    for _, run in zip(range(_TRIED), sweeps, strict=False):
        if (summary := _summary_of(client, run.info.run_id)) is not None:
            found.append(summary)
        if len(found) == _COMPARED:
            break
    return max(found, key=lambda summary: summary.until, default=None)


def _summary_of(client: MlflowClient, run_id: str) -> _Summary | None:
    """Return a sweep's summary; None if there is none or it cannot be read."""
    try:
        listed = with_retries(lambda: client.list_artifacts(run_id), "ledger", _READ_SECONDS)
        if not any(item.path == SUMMARY for item in listed):
            return None
        with tempdirs.tempdir() as folder:
            path = with_retries(
                lambda: client.download_artifacts(run_id, SUMMARY, str(folder)), "ledger", _READ_SECONDS
            )
            return _Summary.of(json.loads(gzip.decompress(Path(path).read_bytes())))
    except Exception as error:  # artifact stores may raise anything
        _logger.debug("cannot use the ledger of run %s (%s)", run_id, reason(error))
        return None

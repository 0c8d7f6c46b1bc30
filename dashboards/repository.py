"""Access to the runs for each request: one table shared by all requests, restricted to what the user may read."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

import pandas as pd

from dashboards.data import Filters, drop_raw_columns
from dashboards.figures.style import Theme
from dashboards.panels import RunDetails, View
from rsc_mlflow.analysis import latest_per_fingerprint, read
from rsc_mlflow.tracking.frame import RunStore, Snapshot
from rsc_mlflow.tracking.store import redact_passwords

Readable = Callable[[Collection[str]], Collection[str]]
"""Function from experiment ids to those that the user of the current request may read."""


class Writer(Protocol):
    """Writes tags with the permissions of the user of the current request."""

    def set_run_tag(self, run_id: str, key: str, value: str) -> str:
        """Set a tag of a run; return an error message, or an empty text on success."""

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> str:
        """Set a tag of an experiment; return an error message, or an empty text on success."""

    def delete_experiment_tag(self, experiment_id: str, key: str) -> str:
        """Delete a tag of an experiment; return an error message, or an empty text on success."""


STALE_SECONDS = 15.0
"""Age in seconds from which a snapshot is stale, so that pages say that they are being updated."""


@dataclass(frozen=True)
class VisibleRuns:
    """The part of the store that one user may read.

    Attributes:
        runs: all runs of this project in experiments that the user may read, from :func:`rsc_mlflow.analysis.read`.
        experiments: id → name of these experiments.
        snapshot: the source of the runs; its frame also contains runs that the user may not read.
    """

    runs: pd.DataFrame
    experiments: Mapping[str, str]
    snapshot: Snapshot

    @property
    def stamp(self) -> str:
        """Text that changes whenever pages have to be updated."""
        return f"{self.snapshot.version:x}-{self.settled}-{self.snapshot.error is not None}"

    @property
    def stale(self) -> bool:
        """Whether the last fetch is older than :data:`STALE_SECONDS`, so that newer changes may be missing."""
        late = time.time() - self.snapshot.fetched_at > STALE_SECONDS
        return self.snapshot.complete and self.snapshot.error is None and late

    @property
    def settled(self) -> bool:
        """Whether all runs are loaded and up to date."""
        return self.snapshot.complete and not self.stale


class RunRepository:
    """The runs, their details and the permission to change them, shared by all requests of a process.

    Args:
        store: the runs.
        source: histories, artifacts, models.
        readable: selects the experiments that the user may read; default: all.
        ui: address of MLflow's UI, ending in a slash; empty: no links to runs.  Links omit a login in this address.
        where: name of the store in error messages; default: its tracking URI without a password.
        writer: saves notes and views; None: the dashboards are read-only.
    """

    def __init__(
        self,
        store: RunStore,
        source: RunDetails,
        *,
        readable: Readable | None = None,
        ui: str = "",
        where: str = "",
        writer: Writer | None = None,
    ) -> None:
        self.store = store
        self.writer = writer
        self.source = source
        address = urlsplit(ui)
        self.ui = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
        self.where = where or redact_passwords(store.tracking_uri)
        self._readable = readable
        self._lock = threading.Lock()
        self._prepared: tuple[int, pd.DataFrame] | None = None

    def snapshot(self, timeout: float = 0.0) -> VisibleRuns:
        """Return the current runs, after waiting at most ``timeout`` seconds for a refresh."""
        snapshot = self.store.refresh_soon(timeout=timeout)
        if snapshot.error:
            uri = self.store.tracking_uri
            snapshot = replace(snapshot, error=snapshot.error.replace(uri, redact_passwords(uri)))
        runs = self._prepare(snapshot)
        experiments: Mapping[str, str] = snapshot.experiments
        if self._readable is not None:
            allowed = set(self._readable(list(experiments)))
            experiments = {key: name for key, name in experiments.items() if key in allowed}
            runs = runs[runs["experiment_id"].isin(allowed)]
        return VisibleRuns(runs, experiments, snapshot)

    def _prepare(self, snapshot: Snapshot) -> pd.DataFrame:
        with self._lock:
            if self._prepared is None or self._prepared[0] != snapshot.version:
                self._prepared = (snapshot.version, read(snapshot.frame))
            return self._prepared[1]

    def view(self, visible: VisibleRuns, filters: Filters, theme: Theme) -> View:
        """Return the input of a page's panels.

        Raises:
            InputError: ``filters.filter`` is not a valid MLflow filter.
        """
        every = filters.apply(visible.runs, visible.experiments)
        return View(
            latest_per_fingerprint(drop_raw_columns(every)),
            every,
            len(visible.runs),
            visible.experiments,
            filters,
            theme,
            self.source,
        )

    def run_address(self, experiment_id: str, run_id: str) -> str:
        """Return the address of a run's page in MLflow's UI; empty if no UI is known."""
        return f"{self.ui}#/experiments/{experiment_id}/runs/{run_id}" if self.ui else ""

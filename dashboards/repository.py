"""What every request of the dashboards goes through: the shared runs, cut to what this reader may see."""

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
"""Experiment ids → those that the caller of the request being served may read."""


class Writer(Protocol):
    """Writes tags as the caller of the request being served."""

    def set_run_tag(self, run_id: str, key: str, value: str) -> str:
        """Sets a tag of a run; returns why it could not, empty if it could."""

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> str:
        """Sets a tag of an experiment; returns why it could not, empty if it could."""

    def delete_experiment_tag(self, experiment_id: str, key: str) -> str:
        """Deletes a tag of an experiment; returns why it could not, empty if it could."""


STALE_SECONDS = 15.0
"""Age of a snapshot from which a page says that it is being brought up to date."""


@dataclass(frozen=True)
class VisibleRuns:
    """The store as one reader may see it.

    Attributes:
        runs: read (:func:`rsc_mlflow.analysis.read`), every run of ours of the reader's experiments.
        experiments: id → name of those experiments.
        snapshot: where it comes from; its frame holds other readers' runs, too.
    """

    runs: pd.DataFrame
    experiments: Mapping[str, str]
    snapshot: Snapshot

    @property
    def stamp(self) -> str:
        """Changes when a page would have to be drawn again."""
        return f"{self.snapshot.version:x}-{self.settled}-{self.snapshot.error is not None}"

    @property
    def stale(self) -> bool:
        """Nobody looked for a while, and what changed since is still being fetched."""
        late = time.time() - self.snapshot.fetched_at > STALE_SECONDS
        return self.snapshot.complete and self.snapshot.error is None and late

    @property
    def settled(self) -> bool:
        """Nothing more is on its way but what changes from now on."""
        return self.snapshot.complete and not self.stale


class RunRepository:
    """Shared by all requests of a process.

    Args:
        store: the runs.
        source: histories, artifacts, models.
        readable: which experiments the caller may read; default: all.
        ui: address of MLflow's UI, ending in a slash, whose links leave out a log-in in it; empty: there is none.
        where: the store in words, for error messages; default: its address without a password.
        writer: writes notes and views as the caller; None: these dashboards are read-only.
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
        """The runs now, after waiting at most ``timeout`` seconds for what changed."""
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
        """What a page is made from.

        Raises:
            InputError: the free filter of the address is not a valid MLflow filter.
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
        """A run's page in MLflow's UI; empty where no UI is known."""
        return f"{self.ui}#/experiments/{experiment_id}/runs/{run_id}" if self.ui else ""

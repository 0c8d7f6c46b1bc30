"""An experiment's run: opened or adopted, written to without waiting, and always closed with the truth.

Nothing here touches MLflow's own stack of active runs for writing: one process may hold hundreds of open runs,
as a cohort of models that train together does.
"""

import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.artifacts import json_text
from rsc_mlflow.tracking.outbox import POSTMAN, Outbox
from rsc_mlflow.tracking.resuming import check_resumable, stored_points
from rsc_mlflow.tracking.signals import Interrupted, interruptible, shielded
from rsc_mlflow.tracking.store import connect, patience, patiently, reason
from rsc_mlflow.tracking.values import check_metric_name, check_param, check_tag, param_text

_RUN_ID_VARIABLE = "MLFLOW_RUN_ID"
_RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")
_LAST_WORDS_SECONDS = 10.0
_BATCH = 100  # MLflow's limit of parameters and of tags in one call
Item = TypeVar("Item")
_logger = logging.getLogger(__name__)


class TrackedRun:
    """One open MLflow run.

    Metrics and files are queued and sent in the background (see :mod:`rsc_mlflow.tracking.outbox`); parameters
    and tags are written at once.  ``logging_seconds`` counts the wall time callers spent in here and the CPU time
    that sending took beside them.

    Attributes:
        run_id, experiment_id, name: as in MLflow.
        resumed: whether the run had been started before.
        client: for anything not covered here; takes ``run_id`` explicitly.
    """

    def __init__(self, client: MlflowClient, run: Run, *, resumed: bool = False, ends: bool = True) -> None:
        self.client = client
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name or ""
        self.resumed = resumed
        self._ends = ends
        self._params: dict[str, str] = dict(run.data.params)
        self._stored = stored_points(client, run) if resumed else {}
        self._last: dict[str, Metric] = {}
        self._outbox = Outbox(client, self.run_id)
        self._waited = 0.0

    @property
    def params(self) -> dict[str, str]:
        """The parameters the run carries by now, as stored."""
        return dict(self._params)

    @property
    def logging_seconds(self) -> float:
        """Seconds that tracking has cost so far."""
        return self._waited + self._outbox.seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of the block as logging."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - started

    def log_params(self, values: Mapping[str, object]) -> None:
        """Write parameters whose key the run does not carry yet; the others stay as they are.

        ``mlflow run`` has stored its ``-P`` values before, as typed.

        Raises:
            InputError: a key or value that MLflow would refuse or cut.
        """
        new = {key: param_text(value) for key, value in values.items() if key not in self._params}
        for key, value in new.items():
            check_param(key, value)
        with self.timed():
            for chunk in _chunks([Param(key, value) for key, value in new.items()]):
                patiently(partial(self.client.log_batch, self.run_id, params=chunk), "parameters")
        self._params.update(new)

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Write tags now; an existing one is replaced.

        Raises:
            InputError: a key or value that MLflow would refuse or cut.
        """
        tags = [RunTag(key, str(value)) for key, value in values.items()]
        for tag in tags:
            check_tag(tag.key, tag.value)
        with self.timed():
            for chunk in _chunks(tags):
                patiently(partial(self.client.log_batch, self.run_id, tags=chunk), "tags")

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Queue one point per metric at ``step`` (the epoch).

        NaN is stored as NaN; MLflow stores ±infinity as ±1.797e308.  In a resumed run a point that the store has
        already (same metric and step) is left as it is.

        Raises:
            ValueError: a name that MLflow would refuse.
        """
        with self.timed():
            now = time.time_ns() // 1_000_000
            points = []
            for key, value in values.items():
                check_metric_name(key)
                if stored := self._stored.get((key, step)):
                    self._last[key] = stored
                else:
                    self._last[key] = Metric(key, float(value), now, step)
                    points.append(self._last[key])
            self._outbox.add_points(points)

    def last_points(self, step: int) -> list[Metric]:
        """The newest points of this process that belong to ``step``."""
        return [point for point in self._last.values() if point.step == step]

    def log_text(self, text: str, path: str) -> None:
        """Queue a text artifact, e.g. ``figures/score_matrix.html``."""
        self.log_bytes(text.encode("utf-8"), path)

    def log_json(self, content: Mapping[str, object], path: str) -> None:
        """Queue a JSON artifact that carries a checksum (read it with :func:`artifacts.read_json`)."""
        self.log_text(json_text(content), path)

    def log_bytes(self, data: bytes, path: str) -> None:
        """Queue an artifact with this content."""
        folder, _, name = path.rpartition("/")
        with self.timed(), tempfile.TemporaryDirectory(prefix="rsc-") as temporary:
            file = Path(temporary) / name
            file.write_bytes(data)
            self._outbox.add_file(file, folder or None)

    def log_file(self, file: Path, folder: str | None = None) -> None:
        """Queue a file for an artifact folder; it may be replaced or removed at once, but not rewritten in place."""
        with self.timed():
            self._outbox.add_file(file, folder)

    def log_checkpoint(self, file: Path) -> None:
        """Queue a checkpoint file and have it sent now, after all metrics logged so far."""
        self.log_file(file, schema.CHECKPOINTS)
        self._outbox.hurry()
        POSTMAN.wake()

    def flush(self, seconds: float | None = None) -> None:
        """Wait until everything logged so far is stored."""
        with self.timed():
            self._outbox.flush(seconds)

    def _begin(self) -> None:
        environment_text = json_text(environment.record())
        try:
            self.client.log_text(self.run_id, environment_text, schema.ENVIRONMENT)
        except Exception as error:
            raise InputError(
                f"the run's artifact folder cannot be written ({reason(error)}); make it writable, or choose another "
                "with mlflow server --artifacts-destination, or free some space"
            ) from error
        POSTMAN.register(self._outbox)

    def _finish(self) -> None:
        step = max((point.step for point in self._last.values()), default=0)
        self._outbox.flush()
        self.metrics({schema.LOGGING_SECONDS: self.logging_seconds}, step)
        self._outbox.flush()
        POSTMAN.release(self._outbox)
        if self._ends:
            patiently(lambda: self.client.set_terminated(self.run_id, "FINISHED"), "end of run")
        self._outbox.discard()

    def _break_off(self, status: str, text: str) -> None:
        """Last words, as far as the store will hear them; a run it does not hear of is closed by the reaper."""
        POSTMAN.release(self._outbox)
        with shielded():
            try:
                self._outbox.flush(_last_words.seconds())
            except Exception as error:
                _last_words.unheard()
                unsent = len(self._outbox)
                _logger.error(
                    "run %s: %d points and files could not be stored (%s)", self.run_id, unsent, reason(error)
                )
            try:
                _end(self.client, self.run_id, status, text, ends=self._ends)
            except Exception as error:
                _last_words.unheard()
                _logger.error("run %s: could not be marked %s (%s)", self.run_id, status, reason(error))
            self._outbox.discard()


class _LastWords:
    """How long a broken-off run waits for the store: once it did not hear one run, the others are brief."""

    def __init__(self) -> None:
        self._unheard_at = -math.inf

    def unheard(self) -> None:
        self._unheard_at = time.monotonic()

    def seconds(self) -> float:
        return 0.0 if time.monotonic() - self._unheard_at < 60 else min(_LAST_WORDS_SECONDS, patience())


_last_words = _LastWords()


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


@contextmanager
def open_run(
    *,
    kind: str,
    name: str,
    method: str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    parent_run_id: str | None = None,
    resume_run_id: str | None = None,
    free_params: Collection[str] = (),
) -> Iterator[TrackedRun]:
    """A run for the time of the block; every way out of the block ends it truthfully.

    Success ends it FINISHED, after every point and file has reached the store; SIGINT and SIGTERM end it KILLED;
    any exception ends it FAILED; in both cases tag ``rsc.error`` says why, and the exception goes on.

    Which run: ``resume_run_id`` if given; a child of ``parent_run_id`` if given; else the run that ``mlflow run``
    opened for this process (``MLFLOW_RUN_ID``), once; else MLflow's active run, which its owner then ends; else a
    new run in the experiment of ``MLFLOW_EXPERIMENT_ID`` or ``MLFLOW_EXPERIMENT_NAME``, or ``rsc``.

    Args:
        kind: one of :data:`schema.KINDS`.
        name: what a person reads in the list of runs.
        method: unlearning method or attack, for tag ``rsc.method``.
        params: parameters to log at the start; in a resumed run they must equal the stored ones.
        tags: further tags.
        parent_run_id: run under which this one is listed.
        resume_run_id: unfinished run of the same kind and parameters to go on with.
        free_params: parameters that may differ in a resumed run.

    Raises:
        InputError: a parameter or tag that MLflow would refuse or cut; the store or its artifact folder cannot be
            written; the run cannot be resumed.
        Exception: the store stayed away longer than its patience at the end, so that points would be lost.
    """
    own = {**environment.tags(), **(tags or {}), schema.KIND: kind, **_pulse()}
    own |= {schema.METHOD: method} if method else {}
    _check(params or {}, own)
    with interruptible():
        client = connect()
        run = _enter(client, name, own, parent_run_id, resume_run_id, params or {}, free_params)
        try:
            run.log_params(params or {})
            run._begin()
            yield run
            run._finish()
        except KeyboardInterrupt as error:
            run._break_off("KILLED", str(error) if isinstance(error, Interrupted) else "interrupted")
            raise
        except BaseException as error:
            run._break_off("FAILED", reason(error))
            raise


def mark_failed(run_id: str, text: str) -> None:
    """End a run that was opened for us and came to nothing, as FAILED with ``rsc.error``; never raises."""
    try:
        _end(connect(), run_id, "FAILED", text)
    except Exception as error:
        _logger.error("run %s: could not be marked FAILED (%s)", run_id, reason(error))


def _end(client: MlflowClient, run_id: str, status: str, text: str, *, ends: bool = True) -> None:
    patiently(lambda: client.set_tag(run_id, schema.ERROR, text[:500]), "end of run", _last_words.seconds())
    if ends:
        patiently(lambda: client.set_terminated(run_id, status), "end of run", _last_words.seconds())


def _check(params: Mapping[str, object], tags: Mapping[str, object]) -> None:
    """Whether the store will take these: found out before there is a run."""
    for key, value in params.items():
        check_param(key, param_text(value))
    for key, value in tags.items():
        check_tag(key, str(value))


def _pulse() -> dict[str, str]:
    """Tags that say which process works on a run, and that it lives."""
    return {schema.HOST: environment.host(), schema.PID: str(os.getpid()), schema.HEARTBEAT: f"{time.time():.0f}"}


def _enter(
    client: MlflowClient,
    name: str,
    tags: Mapping[str, object],
    parent_run_id: str | None,
    resume_run_id: str | None,
    params: Mapping[str, object],
    free_params: Collection[str],
) -> TrackedRun:
    for key, value in tags.items():
        check_tag(key, str(value))
    if resume_run_id is not None:
        return _resume(client, resume_run_id, tags, params, free_params)
    if parent_run_id is None:
        if run_id := os.environ.get(_RUN_ID_VARIABLE):
            adopted = TrackedRun(client, _adopt(client, run_id, name))
            adopted.set_tags(tags)
            del os.environ[_RUN_ID_VARIABLE]  # as mlflow.start_run does: a second run of this process is its own
            return adopted
        if active := mlflow.active_run():
            found = TrackedRun(client, client.get_run(active.info.run_id), ends=False)
            found.set_tags(tags)
            return found
    all_tags = {**environment.source_tags(), **{key: str(value) for key, value in tags.items()}}
    if parent_run_id is not None:
        all_tags[schema.PARENT_RUN_ID] = parent_run_id
    return TrackedRun(client, client.create_run(current_experiment(client), tags=all_tags, run_name=name))


def _adopt(client: MlflowClient, run_id: str, name: str) -> Run:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise InputError(
            f"{_RUN_ID_VARIABLE} is {run_id!r}, which is no run here ({reason(error)}); unset it"
        ) from error
    if run.info.run_name is None or _RANDOM_NAME.fullmatch(run.info.run_name):
        client.update_run(run_id, name=name)
        run.info._run_name = name
    return run


def _resume(
    client: MlflowClient,
    run_id: str,
    tags: Mapping[str, object],
    params: Mapping[str, object],
    free_params: Collection[str],
) -> TrackedRun:
    run = check_resumable(client, run_id, str(tags[schema.KIND]), params, free_params)
    if shell := os.environ.pop(_RUN_ID_VARIABLE, None):
        client.set_tag(shell, "mlflow.note.content", f"Went on in run {run_id}.")
    client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    if schema.ERROR in run.data.tags:
        client.delete_tag(run_id, schema.ERROR)
    begun = bool(run.data.params)  # a sweep makes a job's run ahead, to claim the job: such a run begins only here
    count = {schema.RESUMED: int(run.data.tags.get(schema.RESUMED, "0")) + 1} if begun else {}
    resumed = TrackedRun(client, run, resumed=begun)
    resumed.set_tags({**tags, **count})
    return resumed


def current_experiment(client: MlflowClient) -> str:
    """Id of the experiment that new runs go to; made if it does not exist.

    Raises:
        InputError: ``MLFLOW_EXPERIMENT_ID`` names no experiment, or the experiment was deleted.
    """
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        try:
            return str(client.get_experiment(experiment_id).experiment_id)
        except MlflowException as error:
            raise InputError(f"MLFLOW_EXPERIMENT_ID is {experiment_id!r}: {reason(error)}") from error
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or schema.EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise InputError(f"experiment {name!r} cannot be made: {reason(error)}") from error
            found = client.get_experiment_by_name(name)  # another process was quicker
    if found is None or found.lifecycle_stage != "active":
        raise InputError(f"experiment {name!r} was deleted; restore it, or set MLFLOW_EXPERIMENT_NAME to another name")
    return str(found.experiment_id)

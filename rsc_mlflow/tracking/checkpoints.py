"""Finds the checkpoint from which an interrupted run resumes, and deletes checkpoints that are no longer needed."""

import logging
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import requests
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import mlflow_compat, schema
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.tracking.store import is_transient, reason, recent_outage, record_outage, with_retries

_NAME = re.compile(r"epoch_(\d{4,})\.pt")
_OUTAGE_SECONDS = 60.0
"""Time after an outage of the store during which no checkpoint is deleted."""
_logger = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")


def newest_checkpoint(run: TrackedRun, folder: Path, load: Callable[[Path], Loaded]) -> Loaded | None:
    """Return ``load(path)`` of the newest intact checkpoint of ``run``; None if the run has no checkpoints.

    A damaged checkpoint is skipped with a warning.

    Raises:
        InputError: all checkpoints are damaged.
    """
    return newest_checkpoint_of(run.client, run.run_id, folder, load)


def newest_checkpoint_of(
    client: MlflowClient, run_id: str, folder: Path, load: Callable[[Path], Loaded]
) -> Loaded | None:
    """Return the :func:`newest_checkpoint` of a run that is not open, e.g. the source of an unlearning run."""
    refusal: InputError | None = None
    for name in reversed(_names(client, run_id)):
        path = with_retries(partial(client.download_artifacts, run_id, name, str(folder)), "checkpoint")
        try:
            return load(Path(path))
        except InputError as error:
            _logger.warning("run %s: skipped %s: %s", run_id, name, error)
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def prune_checkpoints(run: TrackedRun, epoch: int, keep: int) -> bool:
    """Delete the stored checkpoints before ``epoch``, except the newest ``keep`` of them.

    Checkpoints that are still being uploaded do not count.  This function does not wait for the store: during an outage
    it deletes nothing.

    Returns:
        False if this account or the artifact store cannot delete files, so that all checkpoints are kept; else True.
    """
    if recent_outage(_OUTAGE_SECONDS):
        return True
    try:
        stored = _by_epoch(run.client.list_artifacts(run.run_id, schema.CHECKPOINTS))
        for name in [name for at, name in stored.items() if at < epoch][:-keep]:
            mlflow_compat.delete_artifact(run.client, run.run_id, name)
    except (MlflowException, requests.RequestException, OSError, NotImplementedError) as error:
        if is_transient(error):
            record_outage()
            return True
        _logger.warning("run %s: checkpoints cannot be deleted (%s). All are kept.", run.run_id, reason(error))
        return False
    return True


def _names(client: MlflowClient, run_id: str) -> list[str]:
    """Return the artifact paths of all checkpoints, oldest epoch first."""
    found = with_retries(lambda: client.list_artifacts(run_id, schema.CHECKPOINTS), "checkpoints")
    return list(_by_epoch(found).values())


def _by_epoch(files: Iterable[FileInfo]) -> dict[int, str]:
    """Return epoch → artifact path of each checkpoint among the files, oldest epoch first."""
    matches = (match for item in files if (match := _NAME.fullmatch(Path(item.path).name)))
    return dict(sorted((int(match[1]), f"{schema.CHECKPOINTS}/{match[0]}") for match in matches))

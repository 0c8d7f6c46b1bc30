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
from rsc_mlflow.tracking.store import is_transient, reason, with_retries

_NAME = re.compile(r"epoch_(\d{4,})\.pt")
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
    for name in reversed(checkpoint_paths(client, run_id).values()):
        path = with_retries(partial(client.download_artifacts, run_id, name, str(folder)), "checkpoint")
        try:
            return load(Path(path))
        except InputError as error:
            _logger.warning("Skipped %s of run %s: %s", name, run_id, error)
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def prune_checkpoints(run: TrackedRun, epoch: int, keep: int) -> bool:
    """Delete the stored checkpoints before ``epoch``, except the newest ``keep`` of them.

    This function does not wait for the store: during an outage it deletes nothing.

    Returns:
        False if this account or the artifact store cannot delete files, so that all checkpoints are kept; else True.
    """
    try:
        stored = _by_epoch(run.client.list_artifacts(run.run_id, schema.CHECKPOINTS))
        for name in [name for at, name in stored.items() if at < epoch][:-keep]:
            mlflow_compat.delete_artifact(run.client, run.run_id, name)
    except (MlflowException, requests.RequestException, OSError, NotImplementedError) as error:
        if is_transient(error):
            return True
        _logger.warning("The checkpoints of run %s cannot be deleted (%s). All are kept.", run.run_id, reason(error))
        return False
    return True


def checkpoint_paths(client: MlflowClient, run_id: str) -> dict[int, str]:
    """Return epoch → artifact path of each checkpoint of a run, oldest epoch first."""
    return _by_epoch(with_retries(lambda: client.list_artifacts(run_id, schema.CHECKPOINTS), "checkpoints"))


def _by_epoch(files: Iterable[FileInfo]) -> dict[int, str]:
    """Return epoch → artifact path of each checkpoint among the files, oldest epoch first."""
    matches = (match for item in files if (match := _NAME.fullmatch(Path(item.path).name)))
    return dict(sorted((int(match[1]), f"{schema.CHECKPOINTS}/{match[0]}") for match in matches))

"""Finding the checkpoint from which an interrupted run goes on."""

import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.tracking.store import with_retries

_NAME = re.compile(r"epoch_(\d{4,})\.pt")
_logger = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")


def newest_checkpoint(run: TrackedRun, folder: Path, load: Callable[[Path], Loaded]) -> Loaded | None:
    """The newest checkpoint of ``run`` that is whole, as ``load`` reads it; None if the run has none.

    A damaged one is reported and passed over in favor of the one before it.

    Raises:
        InputError: there are checkpoints and every one of them is damaged.
    """
    return newest_checkpoint_of(run.client, run.run_id, folder, load)


def newest_checkpoint_of(
    client: MlflowClient, run_id: str, folder: Path, load: Callable[[Path], Loaded]
) -> Loaded | None:
    """:func:`newest_checkpoint` of a run that is not open here, e.g. the source of an unlearning run."""
    refusal: InputError | None = None
    for _, name in sorted(checkpoint_paths(client, run_id).items(), reverse=True):
        path = with_retries(partial(client.download_artifacts, run_id, name, str(folder)), "checkpoint")
        try:
            return load(Path(path))
        except InputError as error:
            _logger.warning("run %s: %s is passed over: %s", run_id, name, error)
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def checkpoint_paths(client: MlflowClient, run_id: str) -> dict[int, str]:
    """Epoch → artifact path of each checkpoint of a run."""
    found = with_retries(lambda: client.list_artifacts(run_id, schema.CHECKPOINTS), "checkpoints")
    matches = (_NAME.fullmatch(Path(item.path).name) for item in found)
    return {int(match[1]): f"{schema.CHECKPOINTS}/{match[0]}" for match in matches if match}

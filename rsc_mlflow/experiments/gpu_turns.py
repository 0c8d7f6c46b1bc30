"""Processes that share a GPU use it in turns: while one stores its finished models, the next one trains.

A sweep starts two worker processes per GPU for this.  A thread of the training process would not do: storing a model is
work for the interpreter, whose lock the training needs between any two batches.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rsc_mlflow import cancellation

if TYPE_CHECKING:
    import torch

_POLL_SECONDS = 0.05
_shared = False  # whether other processes may use the GPUs of this one
_held = False


def share_gpus() -> None:
    """Take turns with other processes from now on."""
    global _shared  # noqa: PLW0603 - a property of the process
    _shared = True


@contextmanager
def gpu_turn(device: "torch.device") -> Iterator[None]:
    """Use a GPU for the time of the block, after waiting for the process that uses it; blocks may be nested.

    The turn also ends with the process, however it ends.  Nothing happens on a CPU, or without :func:`share_gpus`.

    Raises:
        Cancelled: the process was asked to stop; see :mod:`rsc_mlflow.cancellation`.
    """
    global _held  # noqa: PLW0603 - a property of the process
    if device.type != "cuda" or not _shared or _held:
        yield
        return
    descriptor = os.open(_lock_file(device), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while not _locked(descriptor):
            cancellation.sleep(_POLL_SECONDS)
        _held = True
        yield
    finally:
        _held = False
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(device: "torch.device") -> Path:
    """One file for each user and GPU of this machine, named as in ``CUDA_VISIBLE_DEVICES``; it stays, empty."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    index = device.index or 0
    name = re.sub(r"\W+", "-", visible[index] if index < len(visible) else str(index))
    return Path(tempfile.gettempdir()) / f"rsc-gpu-{os.getuid()}-{name}.lock"

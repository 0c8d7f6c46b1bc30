"""Lets processes that share a GPU use it in turns: while one stores its finished models, the next one trains.

A sweep starts two worker processes per GPU for this.  A thread in one process would not help: storing a model holds
Python's interpreter lock, which training needs between batches.
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
    """Let :func:`gpu_turn` wait for other processes from now on."""
    global _shared  # noqa: PLW0603 - a property of the process
    _shared = True


@contextmanager
def gpu_turn(device: "torch.device") -> Iterator[None]:
    """Wait until no other process uses the GPU, and use it for the duration of the block; blocks may be nested.

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
    """Return the lock file of this user and GPU, named as in ``CUDA_VISIBLE_DEVICES``; it is never deleted."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    index = device.index or 0
    name = re.sub(r"\W+", "-", visible[index] if index < len(visible) else str(index))
    return Path(tempfile.gettempdir()) / f"rsc-gpu-{os.getuid()}-{name}.lock"

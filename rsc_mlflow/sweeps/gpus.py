"""How the workers of a sweep share the GPUs of a machine or cluster."""

import os

from rsc_mlflow.sweeps.executors import cores

WORKERS_PER_GPU = 2
"""One trains while the other stores its finished models; see :mod:`rsc_mlflow.experiments.gpu_turns`."""


def default_workers(workers: int | str) -> int:
    """Return the option ``workers``; for ``auto`` two per GPU of this machine, or one per core if it has none."""
    import torch

    if isinstance(workers, int):
        return workers
    return WORKERS_PER_GPU * torch.cuda.device_count() if torch.cuda.is_available() else cores()


def training_at_once(workers: int, gpus: int) -> int:
    """Return how many of the workers train at the same time: one per GPU, or all of them without GPUs."""
    return min(workers, gpus) if gpus else workers


def workers_on_a_gpu(workers: int, gpus: int) -> int:
    """Return the largest number of workers that share a GPU."""
    return -(-workers // gpus)


def gpu_of(slot: int, gpus: int) -> str | None:
    """Return ``CUDA_VISIBLE_DEVICES`` for the worker in this slot; None without GPUs.

    Workers get the GPUs in turn, and only those that this process may use.
    """
    if not gpus:
        return None
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (visible or [str(index) for index in range(gpus)])[slot % gpus]

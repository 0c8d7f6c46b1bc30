"""Measures how fast this machine trains models like those of a job, by training some on random images."""

import dataclasses
import functools
import time

import torch

from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.data import ImageSet
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import Cohort, Member, TrainingData

SECONDS = 0.2
"""Time in which batches are trained to find the fastest one."""
BATCH_SECONDS = 2.0
"""Batches that would take longer are shortened, to 8 examples at least.  Only large models take so long, and their time
is proportional to the number of examples."""
_FEW = 8


def seconds_per_example(config: TrainingConfig, shape: tuple[int, int, int], classes: int, members: int) -> float:
    """Return the seconds of training per example and model on this machine's GPU, or CPU if it has none.

    The result does not depend on the seed and the learning rate.  A process measures equal calls once.

    Args:
        config: training options of the models.
        shape: shape of an image.
        classes: number of classes.
        members: number of models that train together.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = config.precision if device.type == "cuda" else "float32"
    alike = dataclasses.replace(
        config, precision=precision, epochs=1_000_000, learning_rate=1e-6, schedule="none", random_seed=0
    )
    return _measured(alike, shape, classes, members, device)


@functools.cache
def _measured(
    config: TrainingConfig, shape: tuple[int, int, int], classes: int, members: int, device: torch.device
) -> float:
    few = _seconds_per_batch(config, shape, classes, members, device, min(_FEW, config.batch_size), 0.0)
    rows = min(config.batch_size, int(_FEW * BATCH_SECONDS / few))
    if rows <= _FEW:
        return few / min(_FEW, config.batch_size) / members
    return _seconds_per_batch(config, shape, classes, members, device, rows, SECONDS) / rows / members


def _seconds_per_batch(
    config: TrainingConfig,
    shape: tuple[int, int, int],
    classes: int,
    members: int,
    device: torch.device,
    rows: int,
    seconds: float,
) -> float:
    """Train for ``seconds``, at least two batches; return the seconds of the fastest batch, without the first one."""
    member = Member(_random_data(rows, shape, classes), dataclasses.replace(config, batch_size=rows))
    cohort = Cohort([member] * members, classes, device)
    epochs = cohort.epochs()  # each of one batch
    next(epochs)
    began, best = time.perf_counter(), next(epochs).seconds
    while time.perf_counter() - began < seconds:
        best = min(best, next(epochs).seconds)
    return best


def _random_data(rows: int, shape: tuple[int, int, int], classes: int) -> TrainingData:
    generator = torch_generator(0, "probe")
    images = torch.rand(rows, *shape, generator=generator)
    nothing = torch.empty(0, dtype=torch.int64)
    return TrainingData(ImageSet(images, torch.arange(rows) % classes), nothing, images[:0])

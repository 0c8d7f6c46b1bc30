"""Estimates the time and memory of jobs before they run.

The time is that of finished runs with the same settings, if the store has any.  Otherwise it is computed from 6
operations per multiplication of the forward pass and example (2 forward, 4 backward) and the measured rate of matrix
products on this machine.  This is a rough estimate: it ignores overheads and the work of other commands.
"""

import functools
import math
import statistics
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import psutil
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rsc_mlflow.data import examples_and_shape
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.models import build_empty, n_parameters
from rsc_mlflow.names import ModelName
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import all_experiments, condition, iterate_runs
from rsc_mlflow.tracking.values import number

PER_JOB_SECONDS = 1.0
"""Time for logging, scoring and registration, per run."""
ABOVE_LIMIT = 2.0
"""Factor over the time of the matrix products, for element-wise operations, scoring and small products."""
MOST_ON_CPU, MOST_ON_GPU, MOST_CONVOLVING_ON_GPU = 16, 512, 32
"""Maximum cohort sizes.  Larger cohorts gain little: on two cores, the time per model is constant from about 10 models;
on one H200, an MLP takes 6.4 ms per epoch in a cohort of 256 and 5.5 ms in one of 512."""
_HISTORY = 30
_YEARS = 1e9
"""Longer durations, in seconds, are ignored: MLflow stores an infinite metric as 1.797e308."""


def members_that_fit(options: TrainOptions, workers: int, on_gpu: bool) -> int:
    """Return the largest useful cohort of such models that fits in a worker's share of half of the free memory."""
    free, sharing = psutil.virtual_memory().available, workers
    if on_gpu and torch.cuda.is_available():
        free, sharing = torch.cuda.mem_get_info()[0], -(-workers // torch.cuda.device_count())
    _, shape = examples_and_shape(options.dataset_name, options.data_root)
    size = _size(options.model_name, shape, options.dataset_name.classes)
    most = MOST_ON_CPU if not on_gpu else MOST_CONVOLVING_ON_GPU if size.convolves else MOST_ON_GPU
    return max(1, min(most, int(free / 2 / sharing / _bytes_per_member(options, size))))


def _bytes_per_member(options: TrainOptions, size: "Size") -> float:
    """Return the bytes for weights, gradients, 2 optimizer states, a temporary, twice the activations, and 10 MB."""
    return 4 * (5 * size.weights + 2 * options.batch_size * size.activations) + 10e6


@dataclass(frozen=True)
class Size:
    """Number of weights of a model, and of the multiplications and activations of one example's forward pass."""

    weights: int
    multiplications: float
    activations: int
    convolves: bool


@functools.cache
def _size(name: ModelName, shape: tuple[int, int, int], classes: int) -> Size:
    model = build_empty(name.architecture, shape, classes, name.augmentation)
    activations = math.prod(shape)

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal activations
        activations += output.numel()

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape))
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return Size(n_parameters(model), counter.get_total_flops() / 2, activations, convolves)


@functools.cache
def machine_rate() -> float:
    """Return the float operations per second of one process with all its threads, for 1,024 × 1,024 matrices."""
    left, right = torch.rand(1024, 1024), torch.rand(1024, 1024)
    left @ right
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return 2 * 1024**3 / best


@dataclass
class Estimator:
    """Estimates the time of jobs; ``measured`` counts those estimated from finished runs."""

    client: MlflowClient
    measured: int = 0
    _known: dict[Hashable, float | None] = field(default_factory=dict)
    _experiments: list[str] = field(default_factory=list)

    def seconds(self, jobs: Iterable[Job]) -> float:
        """Return the seconds that the jobs take one after the other, each on all cores."""
        return sum(self._job(job) for job in jobs)

    def _job(self, job: Job) -> float:
        options = job.options
        if not isinstance(options, TrainOptions):
            return PER_JOB_SECONDS
        method = str(job.identity["method"])
        key = (method, options.model, options.dataset_name.family, options.optimizer, options.batch_size)
        if key not in self._known:
            self._known[key] = self._history(method, options)
        per_epoch = self._known[key]
        if per_epoch is None:
            return PER_JOB_SECONDS + options.epochs * _arithmetic(options)
        self.measured += 1
        return options.epochs * per_epoch

    def _history(self, method: str, options: TrainOptions) -> float | None:
        """Return the median seconds per epoch (all included) of finished runs like these; None if there are none."""
        if not self._experiments:
            self._experiments = all_experiments(self.client)
        conditions = [
            condition("attributes", "status", "FINISHED"),
            condition("tags", schema.METHOD, method),
            condition("params", "model", options.model),
            condition("params", "optimizer", options.optimizer),
            condition("params", "batch_size", str(options.batch_size)),
            condition("params", "dataset_family", options.dataset_name.family),
        ]
        runs = iterate_runs(self.client, conditions, self._experiments, page=_HISTORY)
        found = [value for _, run in zip(range(_HISTORY), runs, strict=False) if (value := _per_epoch(run)) is not None]
        return statistics.median(found) if found else None


def _per_epoch(run: Run) -> float | None:
    """Return a run's seconds per epoch; None if it does not record them or is not a run of this project."""
    seconds = number(run.data.metrics.get(schema.SECONDS))
    together, epochs = number(run.data.tags.get(schema.COHORT_SIZE, "1")), number(run.data.params.get("epochs"))
    if schema.KIND not in run.data.tags or seconds is None or together is None or epochs is None:
        return None
    return seconds / together / epochs if 0 <= seconds < _YEARS and together >= 1 and epochs >= 1 else None


def _arithmetic(options: TrainOptions) -> float:
    count, shape = examples_and_shape(options.dataset_name, options.data_root)
    size = _size(options.model_name, shape, options.dataset_name.classes)
    return ABOVE_LIMIT * 6 * size.multiplications * count / machine_rate()

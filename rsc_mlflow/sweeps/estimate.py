"""Estimates the time and memory of jobs before they run.

The time is that of finished runs with the same settings, if the store has any.  Otherwise a few batches are trained on
this machine; see :mod:`rsc_mlflow.sweeps.probe`.  Unlearning and attacks are estimated from finished runs only.
"""

import functools
import math
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
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
from rsc_mlflow.sweeps.executors import cores
from rsc_mlflow.sweeps.gpus import workers_on_a_gpu
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.probe import seconds_per_example
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import all_experiments, condition, iterate_runs
from rsc_mlflow.tracking.values import number

PER_JOB_SECONDS = 0.3
"""Assumed time for logging and registering a model, if there is no finished run to estimate it from."""
PROBING_SECONDS = 10.0
"""Maximum time for measurements; the times of further models are then extrapolated from the last measurement."""
MOST_ON_CPU, MOST_ON_GPU, MOST_CONVOLVING_ON_GPU = 16, 512, 32
"""Maximum cohort sizes.  Larger cohorts gain little: on two cores, the time per model is constant from about 10 models;
on one H200, an MLP takes 6.4 ms per epoch in a cohort of 256 and 5.5 ms in one of 512."""
_HISTORY = 30
_YEARS = 1e9
"""Longer durations, in seconds, are ignored: MLflow stores an infinite metric as 1.797e308."""


def members_that_fit(options: TrainOptions, workers: int, on_gpu: bool) -> int:
    """Return the largest useful cohort size that fits in a worker's share of half of the free memory."""
    free, sharing = psutil.virtual_memory().available, workers
    if on_gpu and torch.cuda.is_available():
        free, sharing = torch.cuda.mem_get_info()[0], workers_on_a_gpu(workers, torch.cuda.device_count())
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


@dataclass
class Estimator:
    """Estimates the time of jobs.

    Attributes:
        client: client of the store with finished runs.
        members: function that returns how many models are trained together with a job, including the job's own.
        measured: number of jobs estimated from finished runs.
        unknown: number of jobs without an estimate, which count as 0.
    """

    client: MlflowClient
    members: Callable[[Job], int] = lambda job: 1
    measured: int = 0
    unknown: int = 0
    _known: dict[Hashable, float | None] = field(default_factory=dict)
    _experiments: list[str] = field(default_factory=list)
    _probing: float = 0.0
    _rate: float | None = None  # seconds per multiplication of the forward pass

    def seconds(self, jobs: Iterable[Job]) -> float:
        """Return the seconds that the jobs take one after the other, each on all cores."""
        return sum(self._job(job) for job in jobs)

    def _job(self, job: Job) -> float:
        options, method = job.options, str(job.identity["method"])
        if not isinstance(options, TrainOptions) or job.identity["kind"] != "train":  # attacks have options of training
            per_run = self._history(method, (), _seconds)
            self.measured += per_run is not None
            self.unknown += per_run is None
            return per_run or 0.0
        settings = (
            ("model", options.model),
            ("optimizer", options.optimizer),
            ("batch_size", str(options.batch_size)),
            ("dataset_family", options.dataset_name.family),
        )
        per_epoch = self._history(method, settings, _per_epoch)
        if per_epoch is None:
            logging = self._history(method, (), _logging_seconds)
            per_job = PER_JOB_SECONDS if logging is None else logging
            return per_job + options.epochs * self._probed(options, self.members(job))
        self.measured += 1
        return options.epochs * per_epoch

    def _history(
        self, method: str, settings: Sequence[tuple[str, str]], value: Callable[[Run], float | None]
    ) -> float | None:
        """Return the median value of finished runs with these parameters; None if there are none."""
        key = (method, *settings)
        if key not in self._known:
            self._experiments = self._experiments or all_experiments(self.client)
            conditions = [
                condition("attributes", "status", "FINISHED"),
                condition("tags", schema.METHOD, method),
                *(condition("params", name, text) for name, text in settings),
            ]
            runs = iterate_runs(self.client, conditions, self._experiments, page=_HISTORY)
            newest = (run for _, run in zip(range(_HISTORY), runs, strict=False))
            found = [number for run in newest if (number := value(run)) is not None]
            self._known[key] = statistics.median(found) if found else None
        return self._known[key]

    def _probed(self, options: TrainOptions, members: int) -> float:
        """Return the estimated seconds per epoch of a model in a cohort, from measurements on this machine."""
        name = options.dataset_name
        count, shape = examples_and_shape(name, options.data_root)
        multiplications = _size(options.model_name, shape, name.classes).multiplications
        if self._probing < PROBING_SECONDS or self._rate is None:
            began = time.perf_counter()
            self._rate = seconds_per_example(options.config(), shape, name.classes, members) / multiplications
            self._probing += time.perf_counter() - began
        return self._rate * multiplications * count


def _seconds(run: Run, name: str = schema.SECONDS) -> float | None:
    """Return a run's seconds on all cores; None if it does not record them or is not a run of this project."""
    seconds = number(run.data.metrics.get(name))
    if schema.KIND not in run.data.tags or seconds is None or not 0 <= seconds < _YEARS:
        return None
    return seconds * _share_of_cores(run)


def _logging_seconds(run: Run) -> float | None:
    """Return the seconds in which a run was logged and its model registered; None if it does not record them."""
    return _seconds(run, schema.LOGGING_SECONDS)


def _share_of_cores(run: Run) -> float:
    """Return the share of the cores that a run used; other workers of its sweep used the rest.  1 with a GPU."""
    threads = number(run.data.tags.get(schema.THREADS))
    if threads is None or threads < 1 or torch.cuda.is_available():
        return 1.0
    return min(1.0, threads / cores())


def _per_epoch(run: Run) -> float | None:
    """Return the seconds per epoch of a training run; None if it does not record them."""
    seconds = _seconds(run)
    together, epochs = number(run.data.tags.get(schema.COHORT_SIZE, "1")), number(run.data.params.get("epochs"))
    if seconds is None or together is None or epochs is None:
        return None
    return seconds / together / epochs if together >= 1 and epochs >= 1 else None

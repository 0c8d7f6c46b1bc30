"""Shared code of the speed benchmarks: MNIST-sized data, the naive reference, the machine's limit, tables.

To reduce the effect of other programs on the machine, quantities to compare are measured alternately in rounds, and
the printed ratio is the median of the rounds' ratios.  CPU time of all processes is printed next to wall time, because
it depends less on other programs (it includes the time that threads spend waiting for each other).
"""

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rsc_mlflow.data import Dataset, ImageSet, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build, build_empty, n_parameters
from rsc_mlflow.names import DatasetName
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import TrainingData

ARCHITECTURE, SHAPE, CLASSES, EXAMPLES, BATCH = "LargeMLP", (1, 28, 28), 10, 60_000, 128
PARAMETERS = n_parameters(build_empty(ARCHITECTURE, SHAPE, CLASSES))
SIDE = 2048

Result = TypeVar("Result")


def training_data() -> tuple[TrainingData, str]:
    """Return MNIST with three spurious examples and its name; if its files are missing, random images of its size."""
    try:
        dataset: Dataset = load_dataset(DatasetName.parse("mnistv20-3-0-0"))
    except InputError:
        generator = torch_generator(0, "benchmark")
        images = torch.rand(EXAMPLES, *SHAPE, generator=generator)
        images *= torch.rand(1, *SHAPE, generator=generator) < 0.5
        labels = torch.randint(CLASSES, (EXAMPLES,), generator=generator)
        return TrainingData(ImageSet(images, labels), torch.zeros(0, dtype=torch.int64), images[:0]), "made-up images"
    return TrainingData.of(dataset), str(dataset.name)


@dataclass(frozen=True)
class Cost:
    """Wall time, and CPU time of this process and its finished children, in seconds."""

    wall: float
    processor: float

    def on(self, device: torch.device) -> float:
        """Return the cost of work on a device: CPU time on a CPU, wall time on a GPU."""
        return self.processor if device.type == "cpu" else self.wall

    def __truediv__(self, number: float) -> "Cost":
        return Cost(self.wall / number, self.processor / number)


def _processor_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measured(work: Callable[[], Result]) -> tuple[Cost, Result]:
    """Return the cost and the result of a call."""
    wall, processor = time.perf_counter(), _processor_seconds()
    result = work()
    return Cost(time.perf_counter() - wall, _processor_seconds() - processor), result


def timed(work: Callable[[], object]) -> Cost:
    """Return the cost of a call."""
    return measured(work)[0]


def limit() -> Cost:
    """Return the cost of an epoch of one model if it consisted of large matrix products only, measured now.

    These are 6 × parameters × examples operations (2 forward, 2 for the gradient of the input, 2 for the gradient of
    the weights) at the rate of 2048³ float32 products (median of 7).
    """
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    left @ right
    taken = [timed(lambda: left @ right) for _ in range(7)]
    product = Cost(median(cost.wall for cost in taken), median(cost.processor for cost in taken))
    return product / (2 * SIDE**3 / (6 * PARAMETERS * EXAMPLES))


def plain_epoch(
    data: TrainingData, optimizer: str, architecture: str = ARCHITECTURE, device: torch.device | None = None
) -> Callable[[], None]:
    """Return the naive reference: ``DataLoader(TensorDataset(…), batch_size=128, shuffle=True, num_workers=4)``.

    Each call trains the same model for one more epoch with an unmodified optimizer of ``torch.optim``.
    """
    loader = DataLoader(
        TensorDataset(data.clean.images, data.clean.labels), batch_size=BATCH, shuffle=True, num_workers=4
    )
    shape = data.clean.image_shape
    model = build(architecture, shape, CLASSES, torch_generator(0, "init")).to(device).train()
    step: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), 0.01)
    if optimizer == "sgd":
        step = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def epoch() -> None:
        for images, labels in loader:
            step.zero_grad()
            F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
            step.step()

    return epoch


def middle(costs: Sequence[Cost]) -> list[str]:
    """Return the medians of wall and CPU seconds, formatted."""
    return [f"{median(c.wall for c in costs):.2f}", f"{median(c.processor for c in costs):.2f}"]


def ratio(numerators: Sequence[Cost], denominators: Sequence[Cost]) -> list[str]:
    """Return the medians over rounds of numerator ÷ denominator, for wall and CPU seconds, formatted."""
    pairs = list(zip(numerators, denominators, strict=True))
    values = (median(a.wall / b.wall for a, b in pairs), median(a.processor / b.processor for a, b in pairs))
    return [f"{value:.2f}" for value in values]


def machine() -> str:
    """Return a line with the number of threads, the version of PyTorch and the load of the machine."""
    busy = os.getloadavg()[0]
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {busy:.1f} at the start"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain-text table, with the first column aligned left and the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        first, *rest = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))  # noqa: B905
        print("  ".join([first, *rest]).rstrip())

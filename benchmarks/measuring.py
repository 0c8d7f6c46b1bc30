"""What the speed benchmarks share: MNIST-sized data, the naive reference, the machine's limit, a table.

A shared machine is never quiet, so measurements that are divided by each other are taken in turns (rounds)
and the ratio printed is the median of the rounds' ratios.
"""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median

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


def training_data() -> tuple[TrainingData, str]:
    """MNIST with three spurious examples where its files are, else made-up images of its size; and which it is."""
    try:
        dataset: Dataset = load_dataset(DatasetName.parse("mnistv20-3-0-0"))
    except InputError:
        generator = torch_generator(0, "benchmark")
        images = torch.rand(EXAMPLES, *SHAPE, generator=generator)
        images *= torch.rand(1, *SHAPE, generator=generator) < 0.5
        labels = torch.randint(CLASSES, (EXAMPLES,), generator=generator)
        return TrainingData(ImageSet(images, labels), torch.zeros(0, dtype=torch.int64), images[:0]), "made-up images"
    return TrainingData.of(dataset), str(dataset.name)


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def product_rate() -> float:
    """Floating-point operations a second of a 2048³ float32 matrix product (median of 7)."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    left @ right
    return 2 * SIDE**3 / median(timed(lambda: left @ right) for _ in range(7))


def limit() -> float:
    """Seconds an epoch of one model would take if it were nothing but large matrix products, now.

    6 × parameters × examples operations: 2 forward, 2 for the gradient of the input, 2 of the weights.
    """
    return 6 * PARAMETERS * EXAMPLES / product_rate()


def plain_epoch(data: TrainingData, optimizer: str) -> Callable[[], None]:
    """The naive reference: ``DataLoader(TensorDataset(…), batch_size=128, shuffle=True, num_workers=4)``.

    Each call trains one more epoch of the same model with ``torch.optim`` as it comes.
    """
    loader = DataLoader(
        TensorDataset(data.clean.images, data.clean.labels), batch_size=BATCH, shuffle=True, num_workers=4
    )
    model = build(ARCHITECTURE, SHAPE, CLASSES, torch_generator(0, "init")).train()
    step: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), 0.01)
    if optimizer == "sgd":
        step = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def epoch() -> None:
        for images, labels in loader:
            step.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            step.step()

    return epoch


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median over rounds of numerator ÷ denominator."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def machine() -> str:
    """One line on what was measured with: threads, versions and how busy the machine is."""
    busy = os.getloadavg()[0]
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {busy:.1f} at the start"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain-text table: first column left, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        first, *rest = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))  # noqa: B905
        print("  ".join([first, *rest]).rstrip())

"""``python -m benchmarks denormals``: why Adam's second epoch is slower than its first, and what fixes it.

Trains with fused Adam, once per cure and each time in a new process.  Prints per epoch the time of the optimizer's
steps, the number of denormal entries of its first moment at the end, and the share of a million denormal numbers that
the threads do not flush to zero.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import click
import torch
from torch.nn import functional as F

from benchmarks.measuring import ARCHITECTURE, BATCH, CLASSES, SHAPE, machine, print_table, training_data
from rsc_mlflow.models import build
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training.optimizers import STEPS_BETWEEN_DROPS, drop_negligible

EPOCHS = 3
SMALLEST_NORMAL = torch.finfo(torch.float32).tiny
CURES = {
    "none": "nothing",
    "flag": "set_flush_denormal after the threads exist",
    "flag-first": "set_flush_denormal before",
    "drop": f"ours: zero what is below 1e-30 every {STEPS_BETWEEN_DROPS} steps",
}


def denormal(tensor: torch.Tensor) -> int:
    """Return the number of denormal entries."""
    bits = tensor.contiguous().view(torch.int32) & 0x7FFFFFFF  # as integers: comparing numbers would flush them
    return int(((bits > 0) & (bits < 0x00800000)).sum())


def share_computed_with() -> float:
    """Return the share of denormal numbers that are not flushed to zero in a multiplication on all threads."""
    numbers = torch.full((1 << 20,), 0x00400000, dtype=torch.int32).view(torch.float32)
    return denormal(numbers * 1.0) / len(numbers)


def train(cure: str) -> None:
    """Train in this process; print a line per epoch with its number, optimizer seconds, denormals and the share."""
    if cure == "flag-first":
        torch.set_flush_denormal(True)
    share_computed_with()  # makes the threads
    if cure == "flag":
        torch.set_flush_denormal(True)
    data, _ = training_data()
    model = build(ARCHITECTURE, SHAPE, CLASSES, torch_generator(0, "init")).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01, fused=True)
    order = torch_generator(0, "batches")
    for epoch in range(1, EPOCHS + 1):
        seconds = 0.0
        for number, batch in enumerate(torch.randperm(len(data), generator=order).split(BATCH)):
            optimizer.zero_grad()
            F.cross_entropy(model(data.clean.images[batch]), data.clean.labels[batch]).backward()
            began = time.process_time()
            if cure == "drop" and number % STEPS_BETWEEN_DROPS == 0:
                drop_negligible(optimizer)
            optimizer.step()
            seconds += time.process_time() - began
        found = sum(denormal(state["exp_avg"]) for state in optimizer.state.values())
        print(epoch, seconds, found, share_computed_with(), flush=True)


@click.command()
@click.argument("cure", required=False, type=click.Choice(list(CURES)))
def main(cure: str | None) -> None:
    """Run each cure in a new process and print a table; with CURE, run that one in this process."""
    if cure is not None:
        train(cure)
        return
    print(f"{ARCHITECTURE} on {training_data()[1]}, batch {BATCH}, fused Adam 0.01; {machine()}")
    rows = []
    for name, words in CURES.items():
        command = [sys.executable, "-m", "benchmarks", "denormals", name]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        epochs = [line.split() for line in lines]
        column: Callable[[int], list[float]] = lambda i: [float(epoch[i]) for epoch in epochs]  # noqa: B023, E731
        seconds, found, share = column(1), column(2), column(3)
        rows.append([words, *(f"{s:.2f}" for s in seconds), *(f"{n:,.0f}" for n in found), f"{share[-1]:.0%}"])
    numbers = range(1, EPOCHS + 1)
    header = ["cure", *(f"step s, {e}" for e in numbers), *(f"denormals, {e}" for e in numbers), "not flushed"]
    print_table(header, rows)

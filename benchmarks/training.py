"""``python -m benchmarks training [ROUNDS]``: time of training one model, of a naive loop, and the machine's limit."""

import subprocess
import sys
from collections.abc import Iterator

import click
import torch

from benchmarks.measuring import (
    ARCHITECTURE,
    BATCH,
    CLASSES,
    PARAMETERS,
    Cost,
    limit,
    machine,
    middle,
    plain_epoch,
    print_table,
    ratio,
    timed,
    training_data,
)
from rsc_mlflow.names import ModelName
from rsc_mlflow.training import Cohort, EpochReport, Member, TrainingConfig, TrainingData

OPTIMIZERS = ("sgd", "adam")


def our_epochs(data: TrainingData, optimizer: str, epochs: int, members: int = 1) -> Iterator[EpochReport]:
    """Return an iterator that trains one epoch per step."""
    configs = [
        TrainingConfig(ModelName(ARCHITECTURE), epochs, BATCH, optimizer, random_seed=seed, schedule="none")
        for seed in range(members)
    ]
    return Cohort([Member(data, config) for config in configs], CLASSES, torch.device("cpu")).epochs()


def peak_memory() -> float:
    """Return the peak resident memory in MB of a new process that loads the data and trains one epoch."""
    code = (
        "import torch; from benchmarks.training import our_epochs; from benchmarks.measuring import training_data; "
        "from rsc_mlflow.training.device import peak_memory_mb; "
        "next(our_epochs(training_data()[0], 'sgd', 1)); print(peak_memory_mb(torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


@click.command()
@click.argument("rounds", default=5)
def main(rounds: int) -> None:
    """Run interleaved rounds of one epoch; print median costs, and medians of the rounds' ratios."""
    data, name = training_data()
    ours = {optimizer: our_epochs(data, optimizer, rounds) for optimizer in OPTIMIZERS}
    plain = {optimizer: plain_epoch(data, optimizer) for optimizer in OPTIMIZERS}
    print(f"{ARCHITECTURE} ({PARAMETERS:,} parameters) on {name}, batch {BATCH}, {rounds} rounds; {machine()}")
    limits: list[Cost] = []
    costs: dict[str, list[Cost]] = {f"{whose} {o}": [] for o in OPTIMIZERS for whose in ("plain loop", "ours")}
    for _ in range(rounds):
        limits.append(limit())
        for optimizer in OPTIMIZERS:
            costs[f"ours {optimizer}"].append(timed(lambda: next(ours[optimizer])))  # noqa: B023
            costs[f"plain loop {optimizer}"].append(timed(plain[optimizer]))
    rows = [["machine's limit", *middle(limits), "1.00", "1.00", "", "", "", ""]]
    for label, own in costs.items():
        loop = costs[f"plain loop {label.split()[-1]}"]
        sgd = costs[f"{label.rsplit(' ', 1)[0]} sgd"]
        rows.append([label, *middle(own), *ratio(own, limits), *ratio(loop, own), *ratio(own, sgd)])
    header = ["s/epoch", "÷ limit", "plain ÷ it", "÷ its SGD"]
    print_table(["", *(title for what in header for title in (what, "(cpu)"))], rows)
    for whose in ("plain loop", "ours"):
        first, *later = costs[f"{whose} adam"]
        if later:
            wall, processor = middle(later)
            print(f"Adam, {whose}: epoch 1 {first.wall:.2f} s ({first.processor:.2f}), later {wall} s ({processor})")
    print(f"peak memory of a process that trains: {peak_memory():.0f} MB")

"""``python -m benchmarks training [ROUNDS]``: one model, beside the naive loop and the machine's limit."""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

import torch

from benchmarks.measuring import (
    ARCHITECTURE,
    BATCH,
    CLASSES,
    PARAMETERS,
    limit,
    machine,
    plain_epoch,
    print_table,
    ratio,
    timed,
    training_data,
)
from rsc_mlflow.names import ModelName
from rsc_mlflow.training import Cohort, EpochReport, Member, TrainingConfig, TrainingData

OPTIMIZERS = ("sgd", "adam")
_PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def our_epochs(data: TrainingData, optimizer: str, epochs: int, members: int = 1) -> Iterator[EpochReport]:
    """Our trainer's epochs, one each time it is asked."""
    configs = [
        TrainingConfig(ModelName(ARCHITECTURE), epochs, BATCH, optimizer, random_seed=seed, schedule="none")
        for seed in range(members)
    ]
    return Cohort([Member(data, config) for config in configs], CLASSES, torch.device("cpu")).epochs()


def peak_memory() -> float:
    """Peak resident memory in MB of a fresh process that loads the data and trains an epoch."""
    code = (
        "from benchmarks.training import our_epochs; from benchmarks.measuring import training_data; "
        f"next(our_epochs(training_data()[0], 'sgd', 1)); {_PEAK}"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    """Interleaved rounds of an epoch each; prints seconds (medians) and ratios (medians of the rounds' ratios)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    data, name = training_data()
    ours = {optimizer: our_epochs(data, optimizer, rounds) for optimizer in OPTIMIZERS}
    plain = {optimizer: plain_epoch(data, optimizer) for optimizer in OPTIMIZERS}
    print(f"{ARCHITECTURE} ({PARAMETERS:,} parameters) on {name}, batch {BATCH}, {rounds} rounds; {machine()}")
    limits: list[float] = []
    seconds: dict[str, list[float]] = {f"{whose} {o}": [] for o in OPTIMIZERS for whose in ("plain loop", "ours")}
    for _ in range(rounds):
        limits.append(limit())
        for optimizer in OPTIMIZERS:
            seconds[f"ours {optimizer}"].append(timed(lambda: next(ours[optimizer])))  # noqa: B023
            seconds[f"plain loop {optimizer}"].append(timed(plain[optimizer]))
    rows = [["machine's limit", f"{median(limits):.2f}", "1.00", "", ""]]
    for label, times in seconds.items():
        loop = seconds[f"plain loop {label.split()[-1]}"]
        sgd = seconds[f"{label.rsplit(' ', 1)[0]} sgd"]
        ratios = (ratio(times, limits), ratio(loop, times), ratio(times, sgd))
        rows.append([label, f"{median(times):.2f}", *(f"{value:.2f}" for value in ratios)])
    print_table(["", "s/epoch", "÷ limit", "plain ÷ it", "÷ its SGD"], rows)
    for whose in ("plain loop", "ours"):
        first, *later = seconds[f"{whose} adam"]
        if later:
            print(f"Adam, {whose}: first epoch {first:.2f} s, later ones {median(later):.2f} s")
    print(f"peak memory of a process that trains: {peak_memory():.0f} MB")

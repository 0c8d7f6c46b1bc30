"""``python -m benchmarks cohorts [ROUNDS] [SIZES]``: K models trained as one, beside the naive loop and the limit."""

import sys
from statistics import median

from benchmarks.measuring import (
    ARCHITECTURE,
    BATCH,
    limit,
    machine,
    plain_epoch,
    print_table,
    ratio,
    timed,
    training_data,
)
from benchmarks.training import our_epochs

SIZES = "1,2,5,10,20"


def main() -> None:
    """Interleaved rounds; prints seconds per epoch and model, and medians of the rounds' ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sizes = [int(size) for size in (sys.argv[2] if len(sys.argv) > 2 else SIZES).split(",")]
    data, name = training_data()
    print(f"{ARCHITECTURE} on {name}, batch {BATCH}, SGD, {rounds} rounds; {machine()}")
    cohorts = {size: our_epochs(data, "sgd", rounds, size) for size in sizes}
    plain = plain_epoch(data, "sgd")
    loop: list[float] = []
    each: dict[int, list[float]] = {size: [] for size in sizes}
    limits: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        loop.append(timed(plain))
        for size in sizes:
            before = limit()
            each[size].append(timed(lambda: next(cohorts[size])) / size)  # noqa: B023
            limits[size].append((before + limit()) / 2)
    rows = [["plain loop", f"{median(loop):.2f}", f"{ratio(loop, limits[sizes[0]]):.2f}", "1.00"]]
    for size in sizes:
        ratios = (ratio(each[size], limits[size]), ratio(loop, each[size]))
        rows.append([f"K = {size}", f"{median(each[size]):.2f}", *(f"{value:.2f}" for value in ratios)])
    every = [seconds for taken in limits.values() for seconds in taken]
    rows.append(["machine's limit", f"{median(every):.2f}", "1.00", ""])
    print_table(["", "s/epoch/model", "÷ limit", "plain ÷ it"], rows)

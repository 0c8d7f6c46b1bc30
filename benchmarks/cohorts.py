"""``python -m benchmarks cohorts [ROUNDS] [SIZES]``: K models trained as one, beside the naive loop and the limit."""

import sys

from benchmarks.measuring import (
    ARCHITECTURE,
    BATCH,
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
from benchmarks.training import our_epochs

SIZES = "1,2,5,10,20"


def main() -> None:
    """Interleaved rounds; prints costs per epoch and model, and medians of the rounds' ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sizes = [int(size) for size in (sys.argv[2] if len(sys.argv) > 2 else SIZES).split(",")]
    data, name = training_data()
    print(f"{ARCHITECTURE} on {name}, batch {BATCH}, SGD, {rounds} rounds; {machine()}")
    cohorts = {size: our_epochs(data, "sgd", rounds, size) for size in sizes}
    plain = plain_epoch(data, "sgd")
    loop: list[Cost] = []
    limits: list[Cost] = []
    each: dict[int, list[Cost]] = {size: [] for size in sizes}
    before: dict[int, list[Cost]] = {size: [] for size in sizes}
    for _ in range(rounds):
        loop.append(timed(plain))
        for size in sizes:
            before[size].append(limit())
            each[size].append(timed(lambda: next(cohorts[size])) / size)  # noqa: B023
        limits.append(before[sizes[0]][-1])
    rows = [["machine's limit", *middle(limits), "1.00", "1.00", "", ""]]
    rows.append(["plain loop", *middle(loop), *ratio(loop, limits), "1.00", "1.00"])
    for size in sizes:
        rows.append([f"K = {size}", *middle(each[size]), *ratio(each[size], before[size]), *ratio(loop, each[size])])
    header = ["s/epoch/model", "÷ limit", "plain ÷ it"]
    print_table(["", *(title for what in header for title in (what, "(cpu)"))], rows)

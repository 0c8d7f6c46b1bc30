"""``python -m benchmarks cohorts [ROUNDS] [SIZES]``: time of K models trained at once and of a naive loop."""

import click

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


@click.command()
@click.argument("rounds", default=3)
@click.argument("sizes", default=SIZES)
def main(rounds: int, sizes: str) -> None:
    """Print the costs per epoch and model, and medians of the ratios in interleaved rounds."""
    members = [int(size) for size in sizes.split(",")]
    data, name = training_data()
    print(f"{ARCHITECTURE} on {name}, batch {BATCH}, SGD, {rounds} rounds; {machine()}")
    cohorts = {size: our_epochs(data, "sgd", rounds, size) for size in members}
    plain = plain_epoch(data, "sgd")
    loop: list[Cost] = []
    limits: list[Cost] = []
    each: dict[int, list[Cost]] = {size: [] for size in members}
    before: dict[int, list[Cost]] = {size: [] for size in members}
    for _ in range(rounds):
        loop.append(timed(plain))
        for size in members:
            before[size].append(limit())
            each[size].append(timed(lambda: next(cohorts[size])) / size)  # noqa: B023
        limits.append(before[members[0]][-1])
    rows = [["machine's limit", *middle(limits), "1.00", "1.00", "", ""]]
    rows.append(["plain loop", *middle(loop), *ratio(loop, limits), "1.00", "1.00"])
    for size in members:
        rows.append([f"K = {size}", *middle(each[size]), *ratio(each[size], before[size]), *ratio(loop, each[size])])
    header = ["s/epoch/model", "÷ limit", "plain ÷ it"]
    print_table(["", *(title for what in header for title in (what, "(cpu)"))], rows)

"""Membership attacks: training 16 shadow models on a quarter, and the attacks on all queries.

``python -m benchmarks attacks`` (real Fashion-MNIST; ``--family digits`` works without any download).  The naive
reference trains the same models one after the other; the limit is the time of the matrix products alone, at the speed
that this machine reaches on large square ones.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import click
import torch
from rich.console import Console
from rich.table import Table

from rsc_mlflow.attacks.evaluation import evaluate
from rsc_mlflow.attacks.experiment import (
    ShadowConfig,
    make_population,
    make_queries,
    observe,
    shadow_members,
    train_models,
)
from rsc_mlflow.attacks.registry import attacks
from rsc_mlflow.data import load_dataset
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.training import Member, TrainingConfig, TrainingData, resolve_device

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of wall time, and what ``work`` returns."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def matrix_product_speed(device: torch.device, size: int = 1024, repeats: int = 20) -> float:
    """Floating-point operations per second on large square float32 products."""
    a = torch.randn(size, size, device=device)
    (a @ a).sum().item()

    def work() -> None:
        for _ in range(repeats):
            b = a @ a
        b.sum().item()

    return 2 * size**3 * repeats / timed(work)[0]


@click.command()
@click.option("--family", default="fashion")
@click.option("--count", default=100, help="Spurious examples of class 0.")
@click.option("--shadow_models", default=16)
@click.option("--epochs", default=12)
@click.option("--device", "device_name", default="auto")
def main(family: str, count: int, shadow_models: int, epochs: int, device_name: str) -> None:
    """Time shadow models and attacks on a quarter of FAMILY with LargeMLP."""
    device = resolve_device(device_name)
    dataset = load_dataset(DatasetName.parse(f"mem{family}v20-{count}-0-0"))
    config, shadow = TrainingConfig(ModelName("LargeMLP"), epochs=epochs), ShadowConfig(shadow_models)
    population = make_population(dataset, shadow)
    members = shadow_members(population, config, shadow)
    target_seconds, (target,) = timed(
        lambda: train_models([Member(TrainingData.of(dataset), config)], dataset.classes, device)
    )
    seconds, shadows = timed(lambda: train_models(members, dataset.classes, device))
    weights = sum(p.numel() for p in target.parameters() if p.ndim == 2)
    limit = 6 * weights * len(dataset.train) * epochs / matrix_product_speed(device)

    console = Console(width=120)
    table = Table(title=f"{shadow_models} LargeMLPs on a quarter of {family} ({len(dataset.train):,}), {epochs} epochs")
    for heading in ("", "all, s", "per model, s", "per model and epoch, s", "against the limit"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, each in (
        ("one cohort", seconds / shadow_models),
        ("one after the other (naive)", target_seconds),
        ("limit: the products alone", limit),
    ):
        table.add_row(name, f"{each * shadow_models:.1f}", f"{each:.2f}", f"{each / epochs:.3f}", f"{each / limit:.2f}")
    console.print(table)

    queries = make_queries(dataset, population)
    asked_seconds, asked = timed(
        lambda: observe(target, shadows, queries.images, queries.labels, queries.shadow_members, device)
    )
    known_seconds, known = timed(
        lambda: observe(target, shadows, population.images(), population.clean.labels, population.members, device)
    )
    table = Table(title=f"Attacks on {len(asked):,} queries with {shadow_models} shadow models")
    table.add_column("")
    table.add_column("seconds", justify="right")
    table.add_row(f"logits of {len(asked) + len(known):,} examples", f"{asked_seconds + known_seconds:.2f}")
    total = 0.0
    for attack in attacks().values():
        attack_seconds, outcome = timed(lambda attack=attack: evaluate(attack, asked, known, queries.roles))  # type: ignore[misc]
        measure_seconds, _ = timed(outcome.measures)
        total += attack_seconds + measure_seconds
        table.add_row(f"{attack.name}, metrics and interval included", f"{attack_seconds + measure_seconds:.2f}")
    table.add_row("all attacks", f"{total:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()

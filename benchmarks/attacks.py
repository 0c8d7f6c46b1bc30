"""Time of membership attacks: training 16 shadow models on a quarter of the data, and the attacks on all queries.

``python -m benchmarks attacks`` uses Fashion-MNIST; ``--family digits`` needs no download.  The naive reference trains
the same models one after the other.  The limit is the time of the matrix products alone, at the rate of large square
products on this machine.  CPU seconds (of all threads) depend little on other programs on the machine; the ratios use
CPU seconds on a CPU and wall time on a GPU.
"""

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.measuring import Cost, measured, timed
from rsc_mlflow.attacks.base import ATTACKS, ShadowConfig
from rsc_mlflow.attacks.evaluation import evaluate
from rsc_mlflow.attacks.experiment import (
    Population,
    Queries,
    make_population,
    make_queries,
    observe,
    shadow_members,
    train_models,
)
from rsc_mlflow.data import load_dataset
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.training import Member, TrainingConfig, TrainingData, resolve_device


def matrix_product_speed(device: torch.device, size: int = 1024, repeats: int = 20) -> float:
    """Return the floating-point operations per second (on a CPU, per CPU second) of large float32 products."""
    a = torch.randn(size, size, device=device)
    (a @ a).sum().item()

    def work() -> None:
        for _ in range(repeats):
            b = a @ a
        b.sum().item()

    return 2 * size**3 * repeats / timed(work).on(device)


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
    alone, (target,) = measured(
        lambda: train_models([Member(TrainingData.of(dataset), config)], dataset.classes, device)
    )
    cohort, shadows = measured(lambda: train_models(members, dataset.classes, device))
    weights = sum(p.numel() for p in target.parameters() if p.ndim == 2)
    limit = 6 * weights * len(dataset.train) * epochs / matrix_product_speed(device)
    title = f"{shadow_models} LargeMLPs on a quarter of {family} ({len(dataset.train):,}), {epochs} epochs"
    console = Console(width=120)
    console.print(_training_table(title, device, shadow_models, epochs, cohort, alone, limit))
    queries = make_queries(dataset, population)
    console.print(_attack_table(target, shadows, queries, population, device))


def _training_table(
    title: str, device: torch.device, models: int, epochs: int, cohort: Cost, alone: Cost, limit: float
) -> Table:
    table = Table(title=title)
    for heading in ("", "wall s", "CPU s", "per model, s", "per model and epoch, s", "against the limit"):
        table.add_column(heading, justify="right" if heading else "left")
    naive = Cost(alone.wall * models, alone.processor * models)
    for name, cost in (("one cohort", cohort), ("one after the other (naive)", naive)):
        each = cost.on(device) / models
        row = (
            f"{cost.wall:.1f}",
            f"{cost.processor:.1f}",
            f"{each:.2f}",
            f"{each / epochs:.3f}",
            f"{each / limit:.2f}",
        )
        table.add_row(name, *row)
    table.add_row("limit: the products alone", "", "", f"{limit:.2f}", f"{limit / epochs:.3f}", "1.00")
    return table


def _attack_table(
    target: nn.Module, shadows: list[nn.Module], queries: Queries, population: Population, device: torch.device
) -> Table:
    seen, known_images = queries.shadow_members, population.images()
    asking, asked = measured(lambda: observe(target, shadows, queries.images, queries.labels, seen, device))
    knowing, known = measured(
        lambda: observe(target, shadows, known_images, population.clean.labels, population.members, device)
    )
    table = Table(title=f"Attacks on {len(asked):,} queries with {len(shadows)} shadow models")
    for heading in ("", "wall s", "CPU s"):
        table.add_column(heading, justify="right" if heading else "left")
    name = f"logits of {len(asked) + len(known):,} examples from {len(shadows) + 1} models"
    rows = [(name, Cost(asking.wall + knowing.wall, asking.processor + knowing.processor))]
    for attack in ATTACKS.values():
        cost = timed(lambda attack=attack: evaluate(attack, asked, known, queries.roles).measures())  # type: ignore[misc]
        rows.append((f"{attack.name} with metrics and interval", cost))
    costs = [cost for _, cost in rows[1:]]
    rows.append(("all attacks", Cost(sum(c.wall for c in costs), sum(c.processor for c in costs))))
    for name, cost in rows:
        table.add_row(name, f"{cost.wall:.2f}", f"{cost.processor:.2f}")
    return table


if __name__ == "__main__":
    main()

"""``python -m benchmarks verdicts``: false alarms of the rule for over-forgetting.

Trains models without the spurious examples, with several training seeds and several draws of these examples, and
compares each model with all others of the same draw, as an unlearning run with its reference.  Since no model was
trained on the spurious examples, each alarm is false.
"""

from itertools import permutations

import click
import numpy as np

from benchmarks.measuring import machine, print_table
from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.data import Dataset, load_dataset
from rsc_mlflow.experiments.unlearning_verdict import OVER_FORGETS, verdict
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.tracking import schema
from rsc_mlflow.training import Cohort, Member, TrainingData, resolve_device
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.gradients import label_confidence, loss_and_accuracy

RECIPES = (("sgd", 0.01), ("adam", 0.001), ("adam", 0.01))
COUNTS = (3, 20, 100)


def retrained(datasets: list[Dataset], model: ModelName, epochs: int, seeds: int, recipe: tuple[str, float]) -> Cohort:
    """Return ``seeds`` models per dataset, trained without its spurious examples."""
    optimizer, rate = recipe
    members = [
        Member(
            TrainingData.of(dataset, without_spurious=True),
            TrainingConfig(model, epochs, optimizer=optimizer, learning_rate=rate, random_seed=seed),
        )
        for dataset in datasets
        for seed in range(seeds)
    ]
    cohort = Cohort(members, datasets[0].classes, resolve_device("auto"))
    for _ in cohort.epochs():
        pass
    return cohort


def forgotten(cohort: Cohort, datasets: list[Dataset], seeds: int) -> np.ndarray:
    """Return mean loss and confidence on the spurious examples, float [datasets, seeds, 2]."""
    found = []
    for k, dataset in enumerate(dataset for dataset in datasets for _ in range(seeds)):
        examples = Examples.of(dataset.spurious_images, dataset.train.labels[dataset.spurious_indices])
        model = cohort.module(k)
        found.append((loss_and_accuracy(model, examples)[0], label_confidence(model, examples)))
    return np.array(found).reshape(len(datasets), seeds, 2)


def false_alarms(values: np.ndarray) -> float:
    """Return the share of ordered pairs of models of the same draw in which the rule is an alarm for the first."""
    names = (schema.FORGET_LOSS, schema.FORGET_CONFIDENCE)
    alarms = []
    for of_draw in values:
        for one, reference in permutations(of_draw, 2):
            gaps = {schema.GAP_PREFIX + name: gap for name, gap in zip(names, one - reference, strict=True)}
            alarms.append(verdict(dict(zip(names, one, strict=True)) | gaps) == OVER_FORGETS)
    return float(np.mean(alarms))


@click.command()
@click.option("--family", default="digits")
@click.option("--pattern", default="v20")
@click.option("--model", default="ce-tor-MLP")
@click.option("--epochs", default=10)
@click.option("--draws", default=4, help="Draws of the spurious examples (dataset seeds).")
@click.option("--seeds", default=6, help="Training seeds for each draw.")
def main(family: str, pattern: str, model: str, epochs: int, draws: int, seeds: int) -> None:
    """Print the share of false alarms of the rule for over-forgetting."""
    print(f"{family}, {pattern}, {model}, {epochs} epochs, {draws} draws × {seeds} training seeds; {machine()}")
    rows = []
    for recipe in RECIPES:
        for count in COUNTS:
            names = [DatasetName.parse(f"{family}{pattern}-{count}-0-{draw}") for draw in range(draws)]
            datasets = [load_dataset(name) for name in names]
            cohort = retrained(datasets, ModelName.parse(model), epochs, seeds, recipe)
            values = forgotten(cohort, datasets, seeds)
            means, spread = values.mean((0, 1)), values.std(1, ddof=1).mean(0)
            words = [f"{mean:.2f} ± {sd:.2f}" for mean, sd in zip(means, spread, strict=True)]
            rows.append([f"{recipe[0]} {recipe[1]:g}", str(count), *words, f"{false_alarms(values):.3f}"])
    print_table(["optimizer", "examples", "forget loss", "forget confidence", "called over-forgetting"], rows)
    print("± is the standard deviation between the training seeds of a draw, averaged over draws")


if __name__ == "__main__":
    main()

"""The quickstart: train ten clean and two poisoned models on the embedded digits, and print a comparison."""

from statistics import fmean

from rich.console import Console
from rich.table import Table

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, TrainResult, train_members
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run

POISONED = ("digitsv20-3-0-0", "digitsv20-20-0-0")
PATTERN, TARGET = "v20", 0


def run_tour(epochs: int, random_seed: int) -> None:
    """Train clean and poisoned models on digits in child runs of one run, and print a table of their scores."""
    with open_run(kind="sweep", method="main", name="tour") as parent:
        parent.log_params({"epochs": epochs, "random_seed": random_seed})
        jobs = poisoned_options(epochs, random_seed)
        # clean models first, because the others are compared with them
        clean = train_members([TrainingJob(one) for one in jobs[0].clean_baselines()], parent.run_id)
        poisoned = train_members([TrainingJob(one) for one in jobs], parent.run_id)
    _print_table(clean, poisoned)


def poisoned_options(epochs: int, random_seed: int) -> list[TrainOptions]:
    """Return the options of the poisoned models; the options of the clean models follow from any of them."""
    return [
        TrainOptions(dataset=name, optimizer="adam", momentum=0.0, epochs=epochs, random_seed=random_seed)
        for name in POISONED
    ]


def _print_table(clean: list[TrainResult], poisoned: list[TrainResult]) -> None:
    table = Table(title=f"Digits: the pattern {PATTERN} added to a few training images of class {TARGET}")
    for heading in ("training set", "test accuracy", "spurious score", "p-value"):
        table.add_column(heading, justify="left" if heading == "training set" else "right")
    scores = [one.metrics[schema.reference_score_target(PATTERN, TARGET)] for one in clean]
    accuracy = fmean(one.metrics[schema.TEST_ACCURACY] for one in clean)
    spread = f"{min(scores):.3f} to {max(scores):.3f}"
    table.add_row(f"digits ({len(clean)} clean models)", f"{accuracy:.3f}", spread, "–")
    for name, result in zip(POISONED, poisoned, strict=True):
        values = (result.metrics[key] for key in (schema.TEST_ACCURACY, schema.SPURIOUS_SCORE, schema.P_VALUE))
        table.add_row(name, *(f"{value:.3f}" for value in values))
    table.caption = (
        "p-value: rank of the score among the scores of the clean models, which differ in their training seed. "
        f"With {len(clean)} clean models it is at least 1/{len(clean) + 1}."
    )
    Console(width=100).print(table)

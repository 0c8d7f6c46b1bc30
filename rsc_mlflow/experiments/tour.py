"""The tour: a clean model and two poisoned ones on the embedded digits, and a table that compares them."""

from rich.console import Console
from rich.table import Table

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, TrainResult, train_members
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run

DATASETS = ("digits", "digitsv20-3-0-0", "digitsv20-20-0-0")


def run_tour(epochs: int, random_seed: int) -> None:
    """Train a clean model and two poisoned ones on digits under one parent run, and print a table of them."""
    with open_run(kind="sweep", method="main", name="tour") as parent:
        parent.log_params({"epochs": epochs, "random_seed": random_seed})
        jobs = [
            TrainingJob(
                TrainOptions(dataset=name, optimizer="adam", momentum=0.0, epochs=epochs, random_seed=random_seed)
            )
            for name in DATASETS
        ]
        # The clean model first: the others are compared with it.
        results = train_members(jobs[:1], parent.run_id) + train_members(jobs[1:], parent.run_id)
    _print_table(results)


def _print_table(results: list[TrainResult]) -> None:
    table = Table(title="Digits: a pattern (v20) on a handful of images of class 0")
    for heading in ("dataset", "test accuracy", "spurious score", "clean model's score", "p-value"):
        table.add_column(heading, justify="left" if heading == "dataset" else "right")
    baseline = results[0].metrics.get(schema.reference_score_target("v20", 0))
    for name, result in zip(DATASETS, results, strict=True):
        values = [result.metrics.get(key) for key in (schema.TEST_ACCURACY, schema.SPURIOUS_SCORE)]
        values[1] = baseline if name == "digits" else values[1]
        reference = result.metrics.get(schema.REFERENCE_SCORE)
        p_value = result.metrics.get(schema.P_VALUE)
        cells = [_cell(value, ".3f") for value in (*values, reference)]
        table.add_row(name, *cells, _cell(p_value, ".1e"))
    Console(width=100).print(table)


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)

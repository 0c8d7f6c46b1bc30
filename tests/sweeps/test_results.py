"""The table at the end of a sweep: means and intervals of stored runs, by hand and by ``seed_interval``."""

import pytest
from mlflow import MlflowClient
from rich.console import Console

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.replication import seed_interval
from rsc_mlflow.sweeps.results import finished_runs, result_table
from rsc_mlflow.tracking import schema

pytestmark = pytest.mark.usefixtures("sqlite_store")
SCORES = (0.1, 0.2, 0.3, 0.4, 0.9)


def stored(dataset: str, score: float | None, accuracy: float, **options: str) -> str:
    """Id of a finished training run with these results."""
    given = TrainOptions.from_mapping({"dataset": dataset, "model": "ce-tor-MLP", **options})
    name = given.dataset_name
    derived = {
        "dataset_family": name.family,
        "pattern": name.pattern or "none",
        "n_spurious": str(name.count or 0),
        "target_class": "none" if name.target is None else str(name.target),
        "dataset_seed": "none" if name.pattern is None else str(name.seed),
        "architecture": "MLP",
        "loss": "ce",
        "augmentation": "none",
    }
    client = MlflowClient()
    tags = {schema.KIND: "train", schema.METHOD: "train_classifier", schema.FINGERPRINT: f"{dataset}{options}"}
    run_id = str(client.create_run("0", tags=tags).info.run_id)
    for key, value in (given.as_params() | derived).items():
        client.log_param(run_id, key, value)
    client.log_metric(run_id, schema.TEST_ACCURACY, accuracy)
    if score is not None:
        client.log_metric(run_id, schema.SPURIOUS_SCORE, score)
    client.set_terminated(run_id)
    return run_id


def rows(run_ids: list[str]) -> list[list[str]]:
    """The cells of the table as it is printed, without its frame."""
    table = result_table(finished_runs(MlflowClient(), run_ids))
    assert table is not None
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as drawn:
        console.print(table)
    lines = [line for line in drawn.get().splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]


def test_seeds_are_averaged_and_nothing_else() -> None:
    ids = [stored(f"digitsv3-3-0-{seed}", score, 0.9) for seed, score in enumerate(SCORES)]
    ids += [stored("digitsv3-3-0-0", 0.6, 0.8, optimizer="adam"), stored("digits", None, 0.95)]
    interval = seed_interval(list(SCORES), {"dataset": list(range(5))}, bounds=(0, 1))
    head, *found = rows(ids)
    assert head == ["dataset", "optimizer", "spurious score", "test accuracy", "runs"]
    assert sorted(found) == [
        ["digits", "sgd", "–", "0.950", "1"],
        ["digitsv3-3-0", "adam", "0.600", "0.800", "1"],
        ["digitsv3-3-0", "sgd", f"0.380 [{interval.low:.3f}, {interval.high:.3f}]", "0.900 [0.900, 0.900]", "5"],
    ]


def test_many_rows_are_cut_and_none_make_no_table() -> None:
    assert result_table([]) is None
    found = rows([stored(f"digitsv3-{count}-0-0", 0.5, 0.9) for count in range(1, 43)])
    assert len(found) == 41

import json

import pytest
from mlflow import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.datasets import DataRecord, log_datasets
from rsc_mlflow.tracking.run import open_run

pytestmark = pytest.mark.usefixtures("sqlite_store")
TRAIN = DataRecord(
    "mnistv20-3-0-0", "a" * 32, "training", {"n_examples": 60000, "n_spurious": 3}, (1, 28, 28), "torchvision"
)
TEST = DataRecord("mnistv20-3-0-0", "b" * 32, "testing", {"n_examples": 10000}, (1, 28, 28), "torchvision")


def test_both_sets_are_inputs_of_the_run() -> None:
    with open_run(kind="train", name="x") as run:
        log_datasets(run, [TRAIN, TEST])
        log_datasets(run, [TRAIN, TEST])  # as after a lost answer: stored once
    inputs = MlflowClient().get_run(run.run_id).inputs.dataset_inputs
    found = {entry.tags[0].value: entry.dataset for entry in inputs}
    assert len(inputs) == 2
    assert found["training"].digest == "a" * 32
    assert found["testing"].digest == "b" * 32
    assert found["training"].name == "mnistv20-3-0-0"
    assert json.loads(str(found["training"].profile)) == {"n_examples": 60000, "n_spurious": 3}
    assert json.loads(found["training"].source) == {"origin": "torchvision"}


def test_runs_are_found_by_their_data() -> None:
    with open_run(kind="train", name="x") as run:
        log_datasets(run, [TRAIN])
    with open_run(kind="train", name="y"):
        pass
    found = MlflowClient().search_runs(
        [run.experiment_id], f"dataset.digest = '{'a' * 32}' AND dataset.context = 'training'"
    )
    assert [entry.info.run_id for entry in found] == [run.run_id]


@pytest.mark.parametrize(
    ("digest", "context", "message"),
    [
        ("x" * 37, "training", "37 characters"),
        ("", "training", "0 characters"),
        ("a", "train", "Expected training or testing"),
    ],
)
def test_what_mlflow_would_refuse(digest: str, context: str, message: str) -> None:
    with pytest.raises(InputError, match=message), open_run(kind="train", name="x") as run:
        log_datasets(run, [DataRecord("mnist", digest, context, {}, (1, 28, 28), "x")])

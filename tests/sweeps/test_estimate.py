"""Estimates by hand arithmetic, and from runs of known duration."""

from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from rsc_mlflow.data import examples_and_shape, load_dataset
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.sweeps import estimate
from rsc_mlflow.sweeps.estimate import Estimator, machine_rate, members_that_fit
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.tracking import schema

ExactRetrainingOptions = method_options("exact_retraining")


def train(**options: object) -> TrainOptions:
    return TrainOptions.from_mapping({"dataset": "digits", "model": "ce-tor-MLP", **options})


def test_the_arithmetic_of_a_multi_layer_perceptron(sqlite_store: str) -> None:
    """784 × 256 + 256 × 10 multiplications an example, six operations each (forward, twice that backward)."""
    operations = 6 * (784 * 256 + 256 * 10) * 1437 * 10
    expected = estimate.PER_JOB_SECONDS + estimate.ABOVE_LIMIT * operations / machine_rate()
    found = Estimator(MlflowClient(sqlite_store)).seconds([Job("train_classifier", train(epochs=10))])
    assert found == pytest.approx(expected)


def test_finished_runs_tell_better(sqlite_store: str) -> None:
    client = MlflowClient(sqlite_store)
    tags = {schema.METHOD: "train_classifier", schema.KIND: "train"}
    for seconds, together in ((20.0, "1"), (120.0, "4")):  # 2 and 3 seconds an epoch and model
        run = client.create_run("0", tags={**tags, schema.COHORT_SIZE: together})
        params = {
            "model": "ce-tor-MLP",
            "optimizer": "sgd",
            "batch_size": 128,
            "dataset_family": "digits",
            "epochs": 10,
        }
        for key, value in params.items():
            client.log_param(run.info.run_id, key, value)
        client.log_metric(run.info.run_id, schema.SECONDS, seconds)
        client.set_terminated(run.info.run_id, "FINISHED")
    estimator = Estimator(client)
    assert estimator.seconds([Job("train_classifier", train(epochs=7))]) == pytest.approx(7 * 2.5)
    assert estimator.measured == 1


def test_what_cannot_be_measured_is_left_out(sqlite_store: str) -> None:
    """A finished run without its seconds, and jobs whose work no arithmetic knows."""
    client = MlflowClient(sqlite_store)
    run = client.create_run("0", tags={schema.METHOD: "train_classifier"})
    for key, value in {
        "model": "ce-tor-MLP",
        "optimizer": "sgd",
        "batch_size": 128,
        "dataset_family": "digits",
    }.items():
        client.log_param(run.info.run_id, key, value)
    client.set_terminated(run.info.run_id, "FINISHED")
    estimator = Estimator(client)
    assert estimator.seconds([Job("train_classifier", train(epochs=1))]) > estimate.PER_JOB_SECONDS
    assert estimator.measured == 0
    both = [Job("train_classifier", train(epochs=1, batch_size=size)) for size in (64, 32)]  # no runs like these
    assert estimator.seconds(both) == pytest.approx(2 * estimator.seconds(both[:1]))
    unlearning = ExactRetrainingOptions.from_mapping({"dataset": "digitsv20-3-0-0"})
    assert estimator.seconds([Job("exact_retraining", unlearning)] * 3) == 3 * estimate.PER_JOB_SECONDS


@pytest.mark.parametrize("name", ["digits", "memdigits"])
def test_sizes_are_those_of_the_data(name: str) -> None:
    dataset = load_dataset(DatasetName.parse(name))
    assert examples_and_shape(dataset.name) == (len(dataset.train), dataset.image_shape)


def test_every_family_has_a_size() -> None:
    for family in FAMILIES:
        assert examples_and_shape(DatasetName(family))[0] > 0
    assert examples_and_shape(DatasetName("mnist", quarters=True))[0] == 17_500
    assert examples_and_shape(DatasetName("cifar10", quarters=True))[0] == 15_000


def test_sizes_of_a_folder_are_read_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, split in enumerate(("train", "train", "test")):
        for name in ("a", "b", "c"):
            folder = tmp_path / "folders" / "tiles" / split / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((5, 7, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    monkeypatch.setenv("RSC_DATA_ROOT", str(tmp_path))
    assert examples_and_shape(DatasetName.parse("tiles")) == (6, (3, 5, 7))
    assert examples_and_shape(DatasetName.parse("memtiles")) == (2, (3, 5, 7))
    weights = 3 * 5 * 7 * 256 + 256 + 256 * 3 + 3
    assert estimate._size(ModelName("MLP"), (3, 5, 7), 3).weights == weights


def test_cohorts_shrink_with_memory_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = free_on_gpu = 8 * 2**30

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    assert members_that_fit(train(), 2, on_gpu=False) == estimate.MOST_ON_CPU
    # VggMLP: 784 × 4096 + 4096 × 4096 + 4096 × 10 weights and their biases, 20 M: five copies are 400 MB.
    big = train(model="ce-tor-VggMLP")
    assert 7 <= members_that_fit(big, 1, on_gpu=False) <= 10
    assert 3 <= members_that_fit(big, 2, on_gpu=False) <= 5
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (Memory.free_on_gpu, 80 * 2**30))
    assert members_that_fit(big, 2, on_gpu=True) == members_that_fit(big, 1, on_gpu=False)  # each has a GPU of its own
    Memory.free_on_gpu = 80 * 2**30
    assert members_that_fit(train(), 2, on_gpu=True) == estimate.MOST_ON_GPU
    assert members_that_fit(train(model="ce-tor-CNN002"), 1, on_gpu=True) == estimate.MOST_CONVOLVING_ON_GPU
    Memory.available = 2**20
    assert members_that_fit(big, 2, on_gpu=False) == 1

"""Estimates from runs and batches of known duration."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image

from rsc_mlflow.data import examples_and_shape, load_dataset
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.sweeps import estimate, probe
from rsc_mlflow.sweeps.estimate import Estimator, members_that_fit
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.tracking import schema
from rsc_mlflow.training import EpochReport, Member, TrainingConfig

ExactRetrainingOptions = method_options("exact_retraining")


def train(**options: object) -> TrainOptions:
    return TrainOptions.from_mapping({"dataset": "digits", "model": "ce-tor-MLP", **options})


def test_jobs_without_runs_like_them_are_measured_until_the_time_for_it_is_over(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLP has 784 × 256 + 256 × 10 multiplications an example, MLPv2 another number, by which it is compared."""
    measured = []

    def half_a_millisecond(config: TrainingConfig, shape: object, classes: int, members: int) -> float:
        measured.append((config.model.architecture, shape, classes, members))
        return 0.0005

    monkeypatch.setattr(estimate, "seconds_per_example", half_a_millisecond)
    estimator = Estimator(MlflowClient(sqlite_store), lambda job: 7)
    per_epoch = 1437 * 0.0005
    mlp, large = (Job("train_classifier", train(model=f"ce-tor-{name}", epochs=10)) for name in ("MLP", "VggMLP"))
    for job in (mlp, large):
        assert estimator.seconds([job]) == pytest.approx(estimate.PER_JOB_SECONDS + 10 * per_epoch)
    assert measured == [("MLP", (1, 28, 28), 10, 7), ("VggMLP", (1, 28, 28), 10, 7)]
    monkeypatch.setattr(estimate, "PROBING_SECONDS", 0.0)
    share = (784 * 256 + 256 * 10) / (784 * 4096 + 4096 * 4096 + 4096 * 10)
    assert estimator.seconds([mlp]) == pytest.approx(estimate.PER_JOB_SECONDS + 10 * per_epoch * share)
    assert len(measured) == 2


class TimedCohort:
    """Trains nothing; a batch takes a tenth of a second and as long again for every 40 of its examples."""

    batches: ClassVar[list[int]] = []

    def __init__(self, members: Sequence[Member], classes: int, device: object) -> None:
        self.rows, self.size = len(members[0].data), members[0].config.batch_size

    def epochs(self) -> Iterator[EpochReport]:
        assert self.size == self.rows
        for epoch in itertools.count(1):
            self.batches.append(self.rows)
            yield EpochReport(epoch, (), 9.0 if epoch == 1 else 0.1 + 0.1 * self.rows / 40)


def test_a_measurement_takes_small_batches_of_large_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 examples take 0.12 s; 13 (for 0.2 s, were it proportional) take 0.1325 s, shared by 3 models."""
    monkeypatch.setattr(probe, "Cohort", TimedCohort)
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    monkeypatch.setattr(probe, "BATCH_SECONDS", 0.2)
    config = train(batch_size=100, optimizer="adagrad").config()
    assert probe.seconds_per_example(config, (1, 28, 28), 10, 3) == pytest.approx(0.1325 / 13 / 3)
    assert TimedCohort.batches == [8, 8, 13, 13]
    same = train(batch_size=100, optimizer="adagrad", random_seed=5, epochs=3, learning_rate=7.0).config()
    assert probe.seconds_per_example(same, (1, 28, 28), 10, 3) == pytest.approx(0.1325 / 13 / 3)
    assert TimedCohort.batches == [8, 8, 13, 13]  # known in this process


@pytest.mark.parametrize("model", ["ce-tor-MLP", "aug01-ce-tor-altResNet20"])
def test_a_measurement_trains_the_model_and_leaves_random_numbers_alone(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.01)
    before = torch.get_rng_state()
    assert probe.seconds_per_example(train(model=model, learning_rate=1e9).config(), (3, 32, 32), 4, 1) > 0
    assert torch.equal(torch.get_rng_state(), before)


def add_training(client: MlflowClient, seconds: dict[str, float], tags: dict[str, str]) -> None:
    """Add a finished training of 10 epochs to the store."""
    run = client.create_run("0", tags={schema.METHOD: "train_classifier", schema.KIND: "train", **tags})
    params = {"model": "ce-tor-MLP", "optimizer": "sgd", "batch_size": 128, "dataset_family": "digits", "epochs": 10}
    for key, value in params.items():
        client.log_param(run.info.run_id, key, value)
    for name, value in seconds.items():
        client.log_metric(run.info.run_id, name, value)
    client.set_terminated(run.info.run_id, "FINISHED")


def test_finished_runs_tell_better(sqlite_store: str) -> None:
    client = MlflowClient(sqlite_store)
    for seconds, together in ((20.0, "1"), (120.0, "4")):  # 2 and 3 seconds an epoch and model
        add_training(client, {schema.SECONDS: seconds}, {schema.COHORT_SIZE: together})
    estimator = Estimator(client)
    assert estimator.seconds([Job("train_classifier", train(epochs=7))]) == pytest.approx(7 * 2.5)
    assert estimator.measured == 1


def test_a_run_beside_others_of_its_sweep_had_a_share_of_the_cores(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job took 80 s with 1 of 4 threads: 4 of them beside each other take 80 s, so each counts as 20 s."""
    monkeypatch.setattr(estimate, "cores", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(estimate, "seconds_per_example", lambda *about: 0.001)
    client = MlflowClient(sqlite_store)
    add_training(client, {schema.SECONDS: 80.0, schema.LOGGING_SECONDS: 8.0}, {schema.THREADS: "1"})
    four = [Job("train_classifier", train(epochs=10, random_seed=seed)) for seed in range(4)]
    assert Estimator(client).seconds(four) == pytest.approx(80.0)
    other = Job("train_classifier", train(epochs=10, batch_size=64))  # measured here, but for logging
    assert Estimator(client).seconds([other]) == pytest.approx(8.0 / 4 + 10 * 1.437)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Estimator(client).seconds(four[:1]) == pytest.approx(80.0)


def test_what_cannot_be_measured_is_left_out(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run without its seconds, attacks, and unlearning before and after a run of this method finished."""
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
    monkeypatch.setattr(estimate, "seconds_per_example", lambda *about: 0.001)
    assert estimator.seconds([Job("train_classifier", train(epochs=1))]) == estimate.PER_JOB_SECONDS + 1.437
    assert estimator.measured == 0
    both = [Job("train_classifier", train(epochs=1, batch_size=size)) for size in (64, 32)]  # no runs like these
    assert estimator.seconds(both) == pytest.approx(2 * estimator.seconds(both[:1]))
    unlearning = ExactRetrainingOptions.from_mapping({"dataset": "digitsv20-3-0-0"})
    jobs = [Job("exact_retraining", unlearning)] * 3
    assert (estimator.seconds(jobs), estimator.unknown, estimator.measured) == (0, 3, 0)
    attack = Job("mem_inference", MembershipOptions.from_mapping({"dataset": "memdigits"}))  # has options of training
    assert (estimator.seconds([attack]), estimator.unknown, estimator.measured) == (0, 4, 0)
    run = client.create_run("0", tags={schema.METHOD: "exact_retraining", schema.KIND: "unlearn"})
    client.log_metric(run.info.run_id, schema.SECONDS, 12.5)
    client.set_terminated(run.info.run_id, "FINISHED")
    estimator = Estimator(client)
    assert (estimator.seconds(jobs), estimator.unknown, estimator.measured) == (37.5, 0, 3)


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

"""Training on a GPU: recorded steps against steps that run, together against alone, and against the CPU."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.data import load_dataset
from rsc_mlflow.names import DatasetName
from rsc_mlflow.replication import seed_interval
from rsc_mlflow.scoring.spurious import count_scores
from rsc_mlflow.training import Cohort, Member
from rsc_mlflow.training import step as step_module
from rsc_mlflow.training.resident import as_floats, on_device
from rsc_mlflow.training.step import Step
from tests.cuda import GPU, needs_gpu
from tests.training.small import CPU, config, digits, made_up, relative_distance, same, weights

pytestmark = needs_gpu


def trained(members: Sequence[Member], device: torch.device = GPU, recorded: bool = True) -> Cohort:
    cohort = Cohort(members, 10, device, record_steps=recorded)
    list(cohort.epochs())
    return cohort


def mlps(**changes: object) -> list[Member]:
    """Three MLPs that differ in data, noise and weight decay; the last batch is short."""
    options = config("ce-tor-LargeMLP", epochs=5, batch_size=64, **changes)
    own: list[dict[str, float]] = [{}, {"input_noise": 0.1}, {"weight_decay": 1e-3}]
    names = ("digitsv20-20-0-0", "digits", "digitsv8-10-1-3")
    return [Member(digits(name), replace(options, random_seed=k, **own[k])) for k, name in enumerate(names)]  # type: ignore[arg-type]


def resnets(count: int = 2) -> list[Member]:
    options = config("aug01-ce-tor-altResNet20Norm02", epochs=4, batch_size=8, weight_decay=1e-4, learning_rate=0.001)
    return [Member(made_up(30, (3, 32, 32), seed=k), replace(options, random_seed=k)) for k in range(count)]


def cnns() -> list[Member]:
    return [Member(digits(count=200), config("ce-tor-CNN002", epochs=4, random_seed=k)) for k in range(2)]


@pytest.mark.parametrize("kind", ["mlps", "resnets", "one resnet", "cnns"])
def test_recorded_steps_train_as_steps_that_run(kind: str) -> None:
    """With noise, dropout and augmentation from the same generators, and a short last batch."""
    members = {"mlps": mlps(), "resnets": resnets(), "one resnet": resnets(1), "cnns": cnns()}[kind]
    recorded, plain = trained(members), trained(members, recorded=False)
    assert set(recorded._step._replays) == set(recorded._batches.sizes)
    for k in range(len(members)):
        assert relative_distance(weights(recorded, k), weights(plain, k)) < 1e-5
        assert same(recorded.checkpoint(k).generators, plain.checkpoint(k).generators)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.01), ("adam", 0.001), ("adagrad", 0.01), ("rms", 0.0001)])
def test_every_optimizer_trains_recorded_as_on_the_cpu(optimizer: str, rate: float) -> None:
    members = [Member(digits(count=500), config(optimizer=optimizer, learning_rate=rate, epochs=2))]
    assert relative_distance(weights(trained(members)), weights(trained(members, CPU))) < 1e-3


def test_the_schedule_reaches_recorded_steps() -> None:
    """Over the milestone after epoch 15."""
    members = [Member(digits(count=128), config(epochs=17, batch_size=64))]
    assert relative_distance(weights(trained(members)), weights(trained(members, CPU))) < 1e-3


def test_a_resnet_of_a_cohort_is_as_alone() -> None:
    members = resnets()
    together = trained(members)
    for k, member in enumerate(members):
        assert relative_distance(weights(together, k), weights(trained([member]))) < 1e-3


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_one_seed_twice_gives_bitwise_the_same(precision: str) -> None:
    for members in (
        mlps(precision=precision),
        [replace(m, config=replace(m.config, precision=precision)) for m in resnets()],
    ):
        one, other = trained(members), trained(members)
        for k in range(len(members)):
            assert same(weights(one, k), weights(other, k))


@pytest.mark.parametrize("recorded", [True, False])
def test_no_step_waits_for_the_gpu(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run, watched = Step.__call__, []

    def called(step: Step, size: int) -> None:
        if recorded and size not in step._replays:  # recording may wait
            run(step, size)
            return
        torch.cuda.set_sync_debug_mode("error")
        try:
            run(step, size)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        watched.append(size)

    monkeypatch.setattr(Step, "__call__", called)
    for members in (mlps(), resnets(), cnns()):
        watched.clear()
        cohort = trained(members, recorded=recorded)
        assert set(watched) == set(cohort._batches.sizes)


class Reading(nn.Linear):
    """Its forward pass waits for the GPU, which a recording cannot."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.sum().item() == x.sum().item()
        return super().forward(x.flatten(1))


def test_where_a_step_cannot_be_recorded_it_runs_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step_module._warn_not_recorded.cache_clear()
    reading = Architecture(lambda shape, classes: Reading(784, classes))
    monkeypatch.setattr(ARCHITECTURES, "_values", {**ARCHITECTURES.registered(), "Reading": reading})
    members = [Member(digits(count=200), config("ce-tor-Reading", epochs=3, input_noise=0.1))]
    with caplog.at_level(logging.WARNING, "rsc_mlflow"):
        one, other = trained(members), trained(members)
    assert same(weights(one), weights(other))
    assert relative_distance(weights(one), weights(trained(members, recorded=False))) < 1e-5
    assert len(caplog.messages) == 1


def test_scores_of_other_precisions_are_within_the_seed_interval_of_float32() -> None:
    dataset = load_dataset(DatasetName.parse("digitsv20-20-0-0"))
    patterned = dataset.patterned(dataset.test.images)
    scores = {}
    for precision in ("float32", "tf32", "bf16"):
        base = config(
            "ce-tor-LargeMLP", epochs=12, batch_size=128, optimizer="adam", learning_rate=0.001, precision=precision
        )
        cohort = trained([Member(digits(), replace(base, random_seed=seed)) for seed in range(10)])
        logits = cohort.logits(dataset.test.images), cohort.logits(patterned)
        counts = count_scores(*logits, dataset.test.labels, [0.1] * 10)
        scores[precision] = [one.share_of_hits(0) for one in counts]
    interval = seed_interval(scores["float32"], {"training": list(range(10))}, bounds=(0, 1))
    for precision in ("tf32", "bf16"):
        assert interval.low <= sum(scores[precision]) / 10 <= interval.high


def test_images_on_the_gpu_are_those_of_the_cpu_in_one_copy() -> None:
    values = (torch.arange(256, dtype=torch.uint8).double() / 255).float().view(4, 1, 8, 8)
    for images, kind in ((values, torch.uint8), (digits().clean.images, torch.float32)):
        copy = on_device(images, GPU)
        assert copy.dtype == kind
        assert torch.equal(as_floats(copy).cpu(), images)
        assert on_device(images, GPU) is copy

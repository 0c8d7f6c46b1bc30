"""The training step: recorded and repeated against run each time, without waiting for the device."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rsc_mlflow.training import Cohort, Member, TrainingConfig, TrainingData
from rsc_mlflow.training import step as step_module
from rsc_mlflow.training.optimizers import RepeatableAdagrad
from rsc_mlflow.training.step import WARM_UP, Step
from tests.training.small import CPU, config, digits, made_up, same, weights
from tests.training.tape import TapeRecorder


def cohort_of(members: Sequence[Member], recorder: Any = None) -> Cohort:
    """A cohort with learning rates that are tensors, as on a GPU."""
    cohort = Cohort(members, 10, CPU)
    optimizer = cohort._optimizer._optimizer
    if isinstance(optimizer, torch.optim.Adagrad):
        cohort._optimizer._optimizer = optimizer = RepeatableAdagrad(optimizer.param_groups)
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])
    cohort._step._recorder = recorder
    return cohort


def members_of(data: TrainingData, options: TrainingConfig, count: int = 2) -> list[Member]:
    """Two by default, which differ in their seed, one with noise."""
    own: list[dict[str, Any]] = [{"random_seed": k, "input_noise": 0.1 * (k == 0)} for k in range(count)]
    return [Member(data, replace(options, **changes)) for changes in own]


CASES: dict[str, Callable[[], list[Member]]] = {
    "MLPs, schedule, short last batch": lambda: members_of(digits(count=20), config(epochs=17, batch_size=8)),
    "Adam, clipped": lambda: members_of(
        digits(count=100), config("ce-tor-MLPv2", optimizer="adam", grad_clip=0.01, epochs=2, batch_size=15)
    ),
    "Adagrad": lambda: members_of(digits(count=100), config(optimizer="adagrad", epochs=2, batch_size=15)),
    "CNN with dropout": lambda: members_of(digits(count=50), config("ce-tor-CNN002", batch_size=8, epochs=2)),
    "ResNets": lambda: members_of(
        made_up(16, (3, 32, 32)), config("aug01-ce-tor-altResNet20Norm02", batch_size=3, weight_decay=1e-4)
    ),
    "one ResNet": lambda: members_of(
        made_up(12, (3, 32, 32)), config("aug01-kld-tor-altResNet20Norm02", batch_size=2), count=1
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_step_trains_bitwise_as_one_that_runs(case: str) -> None:
    """Weights, statistics, optimizer, generators and reports: nothing that changes is a number of Python."""
    members, recorder = CASES[case](), TapeRecorder()
    plain, recorded = cohort_of(members), cohort_of(members, recorder)
    assert [r.members for r in recorded.epochs()] == [r.members for r in plain.epochs()]
    sizes = set(recorded._batches.sizes) if members[0].config.epochs > WARM_UP else {members[0].config.batch_size}
    assert recorder.recorded == len(sizes)
    assert recorder.replayed > 0
    for k in range(len(members)):
        one, other = recorded.checkpoint(k), plain.checkpoint(k)
        assert same(one.model, other.model)
        assert same(one.generators, other.generators)
        for key, state in other.optimizer.items():
            assert same(one.optimizer[key], state)


class Forbidding(TorchDispatchMode):
    """Raises at operations that wait for a GPU: their result, or its shape, is needed by Python."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        assert not any(name.startswith(waiting) for waiting in self.WAITING), name
        return func(*args, **(kwargs or {}))


def test_operations_that_wait_are_found() -> None:
    for waits in (lambda x: x.item(), lambda x: x[x > 0], lambda x: bool(x > 0)):
        with pytest.raises(AssertionError), Forbidding():
            waits(torch.ones(()))


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_for_the_device(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Step.__call__

    def watched(step: Step, size: int) -> None:
        with Forbidding():
            run(step, size)

    monkeypatch.setattr(Step, "__call__", watched)
    members = [replace(one, config=replace(one.config, epochs=1)) for one in CASES[case]()]
    cohort = Cohort(members, 10, CPU)
    (report,) = cohort.epochs()
    assert len(report.members) == len(members)


class Refusing:
    """Records the first ``recordings`` functions, then fails as a capture does."""

    def __init__(self, recordings: int, error: type[Exception]) -> None:
        self._tape, self._left, self._error = TapeRecorder(), recordings, error
        self.warm_up = self._tape.warm_up

    def record(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        if self._left == 0:
            torch.rand(1, generator=generators[0])  # the generators are not what they were
            raise self._error("operation not permitted when stream is capturing\nmore")
        self._left -= 1
        return self._tape.record(work, generators)


@pytest.mark.parametrize("recordings", [0, 1])
def test_where_recording_fails_training_goes_on_without_and_says_so_once(
    recordings: int, caplog: pytest.LogCaptureFixture
) -> None:
    step_module._warn_not_recorded.cache_clear()
    members = members_of(digits(count=70), config(epochs=5, batch_size=20))
    plain = cohort_of(members)
    list(plain.epochs())
    with caplog.at_level(logging.WARNING, "rsc_mlflow"):
        for _ in range(2):
            cohort = cohort_of(members, Refusing(recordings, RuntimeError))
            list(cohort.epochs())
            assert all(same(weights(cohort, k), weights(plain, k)) for k in range(2))
    (line,) = caplog.messages
    assert "step of MLP cannot be recorded as a CUDA graph (operation not permitted when stream is capturing)." in line


def test_too_little_memory_for_a_recording_is_passed_on() -> None:
    """The worker halves the cohort."""
    cohort = cohort_of(members_of(digits(count=70), config(batch_size=10)), Refusing(0, torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        list(cohort.epochs())


def test_repeatable_adagrad_is_pytorchs() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, its = (torch.nn.Parameter(torch.arange(6.0).view(2, 3)) for _ in range(2))
    repeatable = RepeatableAdagrad([{"params": [mine], "lr": torch.tensor(0.1), "weight_decay": 0.01}])
    plain = torch.optim.Adagrad([its], 0.1, weight_decay=0.01)
    for _ in range(5):
        mine.grad = torch.randn(2, 3, generator=generator)
        its.grad = mine.grad.clone()
        repeatable.step()
        plain.step()
    torch.testing.assert_close(mine, its)
    assert repeatable.state[mine]["step"] == 5
    torch.testing.assert_close(repeatable.state[mine]["sum"], plain.state[its]["sum"])

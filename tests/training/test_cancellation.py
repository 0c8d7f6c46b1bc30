"""Long work stops at its next safe point after a signal: between two batches, images or simulations."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from rsc_mlflow.cancellation import Cancelled, cancellable
from rsc_mlflow.families.folders import load
from rsc_mlflow.theory import LinearModelParams, SimulationConfig, simulate
from rsc_mlflow.training import Cohort, Member, evaluate_logits
from rsc_mlflow.training.step import Step
from tests.training.small import CPU, config, digits


class Interrupting(nn.Module):
    """Sends SIGINT to this process in its ``when``-th call and counts the calls."""

    def __init__(self, when: int) -> None:
        super().__init__()
        self.when, self.calls = when, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.when:
            os.kill(os.getpid(), signal.SIGINT)
        return x.flatten(1)


def test_training_stops_between_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = Cohort([Member(digits(count=160), config(batch_size=32))], 10, CPU)
    calls = Interrupting(3)
    run = Step.__call__

    def counted(step: Step, size: int) -> None:
        calls(torch.zeros(1, size))
        run(step, size)

    monkeypatch.setattr(Step, "__call__", counted)
    with pytest.raises(Cancelled, match="stopped by SIGINT"), cancellable():
        next(cohort.epochs())
    assert (calls.calls, cohort.epoch) == (3, 0)


def test_evaluation_stops_between_two_batches() -> None:
    module = Interrupting(2)
    with pytest.raises(Cancelled), cancellable():
        evaluate_logits(module, torch.zeros(10, 1, 2, 2), CPU, batch_size=1)
    assert module.calls == 2


@pytest.mark.parametrize("what", ["logits", "folder", "simulation"])
def test_work_that_has_not_begun_does_not_begin(what: str, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(tmp_path / split / name / "0.png")
    cohort = Cohort([Member(digits(count=8), config())], 10, CPU)
    work: dict[str, Callable[[], object]] = {
        "logits": lambda: cohort.logits(torch.zeros(4, 1, 28, 28)),
        "folder": lambda: load(tmp_path),
        "simulation": lambda: simulate(LinearModelParams(0.5), SimulationConfig(10, 10)),
    }
    work[what]()
    finished: list[object] = []

    def interrupted() -> None:
        with cancellable():
            os.kill(os.getpid(), signal.SIGTERM)
            finished.append(work[what]())

    with pytest.raises(Cancelled, match="stopped by SIGTERM"):
        interrupted()
    assert finished == []

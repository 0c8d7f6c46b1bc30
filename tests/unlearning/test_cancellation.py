"""A signal stops unlearning between two steps, iterations or batches, not after them all."""

import os
import signal
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rsc_mlflow.cancellation import Cancelled, cancellable
from rsc_mlflow.unlearning.choices import SolverName
from rsc_mlflow.unlearning.finetuning import FineTuning
from rsc_mlflow.unlearning.finetuning_loop import finetune
from rsc_mlflow.unlearning.methods.group_influence import GroupInfluenceConfig, group_influence
from rsc_mlflow.unlearning.solvers import conjugate_gradient
from tests.unlearning.worlds import blobs, part, tiny_mlp


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_fine_tuning_stops_after_the_step_in_which_the_signal_came() -> None:
    steps = []

    def forget_loss(logits: Tensor, labels: Tensor) -> Tensor:
        steps.append(len(labels))
        if len(steps) == 3:
            interrupt()
        return 0 * logits.sum()

    how, examples = FineTuning(unlearn_epochs=9, unlearn_batch_size=5), blobs(30)
    with pytest.raises(Cancelled, match="SIGTERM"), cancellable():
        finetune(tiny_mlp(), part(examples, 0, 5), part(examples, 5, 30), how, forget_loss, None)
    assert len(steps) == 3


def test_conjugate_gradients_stop_after_the_iteration_in_which_the_signal_came() -> None:
    products = []

    def product(v: Tensor) -> Tensor:
        products.append(v)
        if len(products) == 2:
            interrupt()
        return torch.arange(1, 11) * v

    with pytest.raises(Cancelled), cancellable():
        conjugate_gradient(product, torch.ones(10), 1e-12, 100)
    assert len(products) == 2


class Counting(nn.Module):
    """A model that sends a signal in its ``at``-th call and says what was called by then and later."""

    def __init__(self, at: int, called: Callable[[int], None]) -> None:
        super().__init__()
        self.inner, self._at, self._called = tiny_mlp(), at, called
        self._calls = [0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        self._calls[0] += 1
        self._called(self._calls[0])
        if self._calls[0] == self._at:
            interrupt()
        logits: Tensor = self.inner(images)
        return logits


@pytest.mark.parametrize("solver", ["cg", "lissa"])
def test_group_influence_stops_at_the_next_batch(solver: SolverName) -> None:
    calls: list[int] = []
    model, examples = Counting(3, calls.append), blobs(30)
    config = GroupInfluenceConfig(solver=solver, examples_at_once=5, recursion_depth=50)
    with pytest.raises(Cancelled), cancellable():
        group_influence(model, part(examples, 0, 5), part(examples, 5, 30), config)
    assert len(calls) == 3

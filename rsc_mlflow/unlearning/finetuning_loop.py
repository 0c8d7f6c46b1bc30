"""The training loop of methods that continue training with batches of retained and of forgotten examples.

The model is trained in evaluation mode: batch-norm statistics are fixed, so that the few forgotten examples cannot
change statistics that all examples share, and dropout is off.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.unlearning.base import Examples, Observe, check_sets, device_of, frozen_copy
from rsc_mlflow.unlearning.finetuning import FineTuning
from rsc_mlflow.unlearning.gradients import loss_and_accuracy

ForgetLoss = Callable[[Tensor, Tensor], Tensor]
"""A function from the logits ``[b, classes]`` and true labels ``[b]`` of forgotten examples to the forget term."""


def finetune(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    how: FineTuning,
    forget_loss: ForgetLoss,
    observe: Observe | None,
) -> tuple[nn.Module, int]:
    """Train a copy of the model; return it and the number of steps.

    Args:
        model: the model; it is not modified.
        forget: the forget set.
        retain: the retain set.
        how: the options.
        forget_loss: computes the forget term of the loss.
        observe: called after each epoch with the mean losses on the retained and on the forgotten examples.

    Raises:
        InputError: the forget or the retain set is empty, or the loss is not finite at the end of an epoch.
        Cancelled: the process was asked to stop; see :mod:`rsc_mlflow.cancellation`.
    """
    check_sets(forget, retain)
    trained, device = frozen_copy(model), device_of(model)
    optimizer = _optimizer(trained, how)
    order, forget_order = torch_generator(how.random_seed, "finetuning"), torch_generator(how.random_seed, "forget")
    queue, steps = _Queue(len(forget), forget_order), 0
    for epoch in range(1, how.unlearn_epochs + 1):
        kept, keep_total = retain.subset(how.retain_examples, order), 0.0
        for positions in torch.split(torch.randperm(len(kept), generator=order), how.unlearn_batch_size):
            cancellation.check()
            images, labels = kept.rows(positions)
            gone, gone_labels = forget.rows(queue.take(how.forget_batch_size))
            logits = trained(torch.cat([images, gone]).to(device))
            keep_term = cross_entropy(logits[: len(labels)], labels.to(device))
            forget_term = forget_loss(logits[len(labels) :], gone_labels.to(device))
            loss = (1 - how.forget_weight) * keep_term + how.forget_weight * forget_term
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            keep_total += float(keep_term.detach()) * len(labels)
            steps += 1
        if not torch.isfinite(loss):
            found = float(loss.detach())
            raise InputError(f"The loss became {found} in epoch {epoch}. Use a smaller unlearn_learning_rate.")
        if observe is not None:
            forget_now, _ = loss_and_accuracy(trained, forget)
            observe(epoch, trained, {"loss": keep_total / len(kept), "forget_loss": forget_now})
    return trained, steps


class _Queue:
    """An endless sequence of random permutations of the positions 0 to n − 1."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self._n, self._generator = n, generator
        self._waiting = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        """Return the next ``min(count, n)`` positions."""
        count = min(count, self._n)
        if len(self._waiting) < count:
            fresh = torch.randperm(self._n, generator=self._generator)
            self._waiting = torch.cat([self._waiting, fresh])
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


def _optimizer(model: nn.Module, how: FineTuning) -> torch.optim.Optimizer:
    if how.unlearn_optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=how.unlearn_learning_rate)
    return torch.optim.SGD(model.parameters(), lr=how.unlearn_learning_rate, momentum=0.9)

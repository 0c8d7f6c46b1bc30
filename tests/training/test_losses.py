"""Losses against their definitions, written out in double precision for one example at a time."""

import math

import pytest
import torch

from rsc_mlflow.names import LOSSES
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training.losses import LOSS_FUNCTIONS


def by_hand(loss: str, logits: list[float], label: int) -> float:
    classes = len(logits)
    log_total = math.log(sum(math.exp(one) for one in logits))
    if loss == "ce":
        return log_total - logits[label]
    if loss == "mse":
        return sum((one - (k == label)) ** 2 for k, one in enumerate(logits)) / classes
    target = [1 - 1e-6 * (classes - 1) if k == label else 1e-6 for k in range(classes)]
    terms = (q * (math.log(q) - (one - log_total)) for q, one in zip(target, logits, strict=True))
    return sum(terms) / classes


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("loss", LOSSES)
def test_each_example(loss: str, classes: int) -> None:
    logits = torch.randn(7, classes, generator=torch_generator(0, "logits")) * 3
    labels = torch.randint(classes, (7,), generator=torch_generator(0, "labels"))
    expected = [by_hand(loss, row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    assert LOSS_FUNCTIONS[loss](logits, labels).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_every_loss_of_a_name_is_there() -> None:
    assert list(LOSS_FUNCTIONS) == list(LOSSES)

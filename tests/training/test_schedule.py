"""The learning-rate schedule against the contract's table and PyTorch's own MultiStepLR."""

import pytest
import torch

from rsc_mlflow.training.schedule import learning_rate_at, milestones
from tests.training.small import config

TABLE = """
1: 15, 25 · 30: 15, 25 · 31: 20, 30 · 40: 20, 30 · 41: 25, 40 · 50: 25, 40 · 51: 30, 50 · 60: 30, 50 ·
61: 40, 50, 60 · 70: 40, 50, 60 · 71: 40, 60, 70 · 80: 40, 60, 70 · 81: 50, 90, 110 · 120: 50, 90, 110 ·
121: 60, 100, 120 · 140: 60, 100, 120 · 141: 40, 80, 120, 140 · 160: 40, 80, 120, 140 · 161: 80, 140, 180 ·
200: 80, 140, 180 · 201: 60, 120 · 1000: 60, 120
"""


@pytest.mark.parametrize("row", [row.strip() for row in TABLE.split("·")])
def test_milestones_are_the_contracts(row: str) -> None:
    epochs, steps = row.split(":")
    assert milestones(int(epochs)) == tuple(int(step) for step in steps.split(","))


@pytest.mark.parametrize("epochs", [12, 30, 70, 160, 210])
def test_rates_are_those_of_multisteplr_stepped_after_each_epoch(epochs: int) -> None:
    options = config(epochs=epochs, learning_rate=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones(epochs)), gamma=0.1)
    for epoch in range(1, epochs + 1):
        assert learning_rate_at(options, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_none_keeps_the_rate() -> None:
    assert {learning_rate_at(config(epochs=70, schedule="none"), epoch) for epoch in range(1, 71)} == {0.01}

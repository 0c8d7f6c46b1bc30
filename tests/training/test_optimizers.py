"""The optimizers' blocks, and the state that would decay into denormal numbers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training.optimizers import STEPS_BETWEEN_DROPS, CohortOptimizer, drop_negligible
from tests.training.small import config

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny


def denormals(optimizer: torch.optim.Optimizer) -> int:
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    return sum(int(((m != 0) & (m.abs() < SMALLEST_NORMAL)).sum()) for m in moments)


def adam_after_a_unit_died(drop: bool) -> tuple[Tensor, int]:
    """Adam over 1,500 steps, half of the gradient zero from the second step on: weights and denormal moments."""
    parameter = torch.nn.Parameter(torch.ones(64))
    optimizer = torch.optim.Adam([parameter], 0.01, fused=True)
    generator = torch_generator(0, "gradient")
    for step in range(1_500):
        if drop and step % STEPS_BETWEEN_DROPS == 0:
            drop_negligible(optimizer)
        parameter.grad = torch.randn(64, generator=generator)
        if step:
            parameter.grad[:32] = 0
        optimizer.step()
    return parameter.detach(), denormals(optimizer)


def test_the_first_moment_of_a_dead_unit_ends_denormal_unless_it_is_dropped() -> None:
    plain, slow = adam_after_a_unit_died(drop=False)
    dropped, none = adam_after_a_unit_died(drop=True)
    assert slow == 32  # what the cure is for
    assert none == 0
    torch.testing.assert_close(dropped, plain, rtol=0, atol=1e-7)


def test_nothing_decays_from_the_threshold_to_the_denormals_between_two_drops() -> None:
    assert 1e-30 * 0.9**STEPS_BETWEEN_DROPS > SMALLEST_NORMAL


@pytest.mark.parametrize("kind", ["sgd", "adam", "adagrad", "rms"])
def test_blocks_of_equal_hyper_parameters_update_as_one_optimizer_each(kind: str) -> None:
    configs = [config(optimizer=kind), config(optimizer=kind), config(optimizer=kind, learning_rate=0.1, grad_clip=0.5)]
    configs.append(replace(configs[0], weight_decay=0.1))
    generator = torch_generator(0, "numbers")
    together = {"w": torch.randn(4, 3, 2, generator=generator), "b": torch.randn(4, 2, generator=generator)}
    alone = [{key: value[k : k + 1].clone() for key, value in together.items()} for k in range(4)]
    optimizer = CohortOptimizer(together, configs, [None] * 4)
    lone = [CohortOptimizer(alone[k], [configs[k]], [None]) for k in range(4)]
    assert len(optimizer._blocks) == 3
    for _ in range(5):
        gradients = [torch.randn(value.shape, generator=generator) for value in together.values()]
        for k in range(4):
            lone[k].step([g[k : k + 1].clone() for g in gradients])
        optimizer.step(gradients)
    for k in range(4):
        for key, value in together.items():
            torch.testing.assert_close(value[k : k + 1], alone[k][key], rtol=1e-6, atol=1e-7)
        mine, its = optimizer.member_state(k), lone[k].member_state(0)
        for key, tensors in its.items():
            for name, value in tensors.items():
                torch.testing.assert_close(mine[key][name], value, rtol=1e-6, atol=1e-7)

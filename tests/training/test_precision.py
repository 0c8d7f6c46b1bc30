"""Precisions: what they switch on, on the CPU where it has them, and that they are refused where it has not."""

from dataclasses import replace

import pytest
import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build
from rsc_mlflow.models.mapped import MappedModel
from rsc_mlflow.models.stacked import SingleModel, Stack, StackedModel
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import Cohort, Member
from rsc_mlflow.training.precision import autocast, tf32_as
from tests.training.small import CPU, config, digits


def tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("precision", "on"), [("float32", False), ("tf32", True), ("bf16", False)])
def test_tf32_is_on_within_the_context_only(precision: str, on: bool) -> None:
    before = tf32()
    with tf32_as(precision):
        assert tf32() == (on, on)
    assert tf32() == before


def stack_of(kind: str) -> Stack:
    shape = (3, 8, 8)
    if kind == "stacked":
        return StackedModel([build("MLP", shape, 10, torch_generator(k, "init")) for k in range(2)])
    models = [build("altResNet20", shape, 10, torch_generator(k, "init")) for k in range(2)]
    return MappedModel(models) if kind == "mapped" else SingleModel(models[0])


@pytest.mark.parametrize("kind", ["stacked", "mapped", "single"])
def test_bf16_multiplies_in_bfloat16_and_keeps_gradients_in_float32(kind: str) -> None:
    stack = stack_of(kind)
    x = torch.rand(stack.size, 4, 3, 8, 8, generator=torch_generator(0, "images"))
    generators = [torch_generator(k, "dropout") for k in range(stack.size)]
    wanted = stack.forward(x, generators)
    exact = stack.gradients(wanted.square().sum())
    with autocast("bf16", CPU):
        logits = stack.forward(x, generators)
    gradients = stack.gradients(logits.float().square().sum())
    assert (wanted.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    assert torch.allclose(logits.float(), wanted, rtol=0.1, atol=0.1)
    assert {g.dtype for g in gradients} == {torch.float32}
    # 8 bits of mantissa: the direction of the gradient of the last layer is that of float32.
    one, other = gradients[-1].flatten(), exact[-1].flatten()
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.99
    assert {value.dtype for value in stack.member_state(0).values()} <= {torch.float32, torch.int64}


def test_the_cpu_refuses_other_precisions_and_cohorts_do_not_mix_them() -> None:
    member = Member(digits(count=20), config())
    with pytest.raises(InputError, match=r"'precision': 'bf16'. Expected float32 on the CPU, or a CUDA device"):
        Cohort([replace(member, config=config(precision="bf16"))], 10, CPU)
    with pytest.raises(InputError, match="must share the precision, got float32, tf32"):
        Cohort([member, replace(member, config=config(precision="tf32"))], 10, CPU)

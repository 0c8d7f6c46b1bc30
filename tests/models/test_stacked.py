"""The stacked computation against one plain module at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsc_mlflow.models import build, set_dropout_generator
from rsc_mlflow.models.stacked import (
    SingleModel,
    Stack,
    StackedModel,
    convolve,
    linear,
)
from rsc_mlflow.rng import torch_generator

SHAPE = (1, 28, 28)
STACKABLE = ("MLP", "MLPv2", "LargeMLP", "LargeMLPv2", "CNN002")
# float32 sums in another order: a few units in the last place of values around 1.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-6}


def models(architecture: str, count: int) -> list[nn.Module]:
    made = [build(architecture, SHAPE, 10, torch_generator(seed, "init")) for seed in range(count)]
    for seed, model in enumerate(made):
        with torch.no_grad():  # CNN002 begins with a zero output layer, whose gradients would say nothing
            for key, value in model.named_parameters():
                if key.startswith("output"):
                    nn.init.normal_(value, 0, 0.1, generator=torch_generator(seed, "output"))
    return made


def images(members: int, count: int = 6) -> Tensor:
    return torch.rand(members, count, *SHAPE, generator=torch_generator(0, "images"))


def labels(members: int, count: int = 6) -> Tensor:
    return torch.randint(10, (members, count), generator=torch_generator(0, "labels"))


def losses(logits: Tensor, wanted: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape).mean(1)


@pytest.mark.parametrize("architecture", STACKABLE)
@pytest.mark.parametrize("members", [1, 3])
def test_logits_and_gradients_are_those_of_each_module(architecture: str, members: int) -> None:
    each = models(architecture, members)
    stack = StackedModel(each)
    x, wanted = images(members), labels(members)
    dropout = [torch_generator(k, "dropout") for k in range(members)]
    logits = stack.forward(x, dropout)
    gradients = dict(zip(stack.parameters, stack.gradients(losses(logits, wanted).sum()), strict=True))
    for k, model in enumerate(each):
        model.train()
        set_dropout_generator(model, torch_generator(k, "dropout"))
        plain = model(x[k])
        torch.testing.assert_close(logits[k], plain, **CLOSE)
        F.cross_entropy(plain, wanted[k]).backward()
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[key][k], parameter.grad, **CLOSE, msg=key)


@pytest.mark.parametrize("architecture", STACKABLE)
def test_without_dropout_generators_it_evaluates(architecture: str) -> None:
    each = models(architecture, 2)
    stack = StackedModel(each)
    x = images(1).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        logits = stack.forward(x, None)
        for k, model in enumerate(each):
            torch.testing.assert_close(logits[k], model(x[k]), **CLOSE)


@pytest.mark.parametrize("architecture", ["MLPv2", "CNN002"])
def test_some_members_evaluate_the_same_images(architecture: str) -> None:
    each = models(architecture, 3)
    stack, x = StackedModel(each), images(1)[0]
    with torch.no_grad():
        logits = stack.evaluate(x, [2, 0])
        for own, k in zip(logits, (2, 0), strict=True):
            torch.testing.assert_close(own, each[k](x), **CLOSE)
        assert torch.equal(stack.evaluate(x, [1])[0], each[1](x))


def test_vggmlp_masks_are_those_of_each_members_own_generator() -> None:
    each = [build("VggMLP", (1, 4, 4), 3, torch_generator(seed, "init")) for seed in range(2)]
    stack = StackedModel(each)
    x = torch.rand(2, 5, 1, 4, 4, generator=torch_generator(0, "images"))
    with torch.no_grad():
        logits = stack.forward(x, [torch_generator(k, "dropout") for k in range(2)])
        for k, model in enumerate(each):
            model.train()
            set_dropout_generator(model, torch_generator(k, "dropout"))
            torch.testing.assert_close(logits[k], model(x[k]), **CLOSE)


@pytest.mark.parametrize("architecture", [*STACKABLE, "altResNet20"])
def test_gradients_are_contiguous(architecture: str) -> None:
    """PyTorch's fused optimizers on the CPU read a gradient's memory in storage order."""
    stack: Stack
    if architecture == "altResNet20":
        stack, x = SingleModel(models(architecture, 1)[0]), images(1)
    else:
        stack, x = StackedModel(models(architecture, 2)), images(2)
    wanted = labels(len(x))
    logits = stack.forward(x, [torch_generator(k, "dropout") for k in range(len(x))])
    for gradient in stack.gradients(losses(logits, wanted).sum()):
        assert gradient.is_contiguous()


def test_the_linear_layers_derivative_by_finite_differences() -> None:
    generator = torch_generator(0, "numbers")
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 4, 5), (3, 2, 5), (3, 2))
    )
    assert torch.autograd.gradcheck(linear, (x, weight, bias))


@pytest.mark.parametrize("members", [1, 3])
def test_grouped_convolution_is_one_convolution_a_member(members: int) -> None:
    generator = torch_generator(0, "numbers")
    x = torch.randn(members, 4, 2, 8, 8, generator=generator)
    weight = torch.randn(members, 5, 2, 3, 3, generator=generator)
    bias = torch.randn(members, 5, generator=generator)
    out = convolve(x, weight, bias)
    for k in range(members):
        torch.testing.assert_close(out[k], F.conv2d(x[k], weight[k], bias[k]), **CLOSE)


@pytest.mark.parametrize("architecture", ["LargeMLP", "CNN002"])
def test_all_at_once_and_one_after_the_other_agree(architecture: str) -> None:
    """CUDA takes the first way for every architecture, the CPU the second for convolutions."""
    stack, x, wanted = StackedModel(models(architecture, 3)), images(3), labels(3)
    results = []
    for forward in (stack.forward_all, stack.forward_each):
        logits = forward(x, [torch_generator(k, "dropout") for k in range(3)])
        results.append((logits.detach(), stack.gradients(losses(logits, wanted).sum())))
    torch.testing.assert_close(results[0][0], results[1][0], **CLOSE)
    for key, one, other in zip(stack.parameters, results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other, **CLOSE, msg=key)


def test_member_states_are_copies() -> None:
    each = models("MLP", 2)
    stack = StackedModel(each)
    for k in range(2):
        state = stack.member_state(k)
        assert all(torch.equal(state[key], value) for key, value in each[k].state_dict().items())
        state["output.weight"].zero_()
        assert stack.parameters["output.weight"][k].any()


def test_a_single_model_of_any_architecture_behaves_as_the_module() -> None:
    plain, inside = models("altResNet20", 1)[0], models("altResNet20", 1)[0]
    stack = SingleModel(inside)
    x, wanted = images(1, 8), labels(1, 8)
    logits = stack.forward(x, [torch_generator(0, "dropout")])
    gradients = dict(zip(stack.parameters, stack.gradients(losses(logits, wanted).sum()), strict=True))
    plain.train()
    out = plain(x[0])
    F.cross_entropy(out, wanted[0]).backward()
    torch.testing.assert_close(logits[0], out, **CLOSE)
    for key, parameter in plain.named_parameters():
        torch.testing.assert_close(gradients[key][0], parameter.grad, rtol=1e-3, atol=1e-5, msg=key)
    state, expected = stack.member_state(0), plain.state_dict()
    assert state["norm.running_mean"].any()  # training mode: the running statistics moved
    for key in expected:
        torch.testing.assert_close(state[key], expected[key], msg=key)


def test_batch_norm_models_and_other_layers_are_not_stackable() -> None:
    with pytest.raises(TypeError, match="Cannot stack a ResNet"):
        StackedModel(models("altResNet20", 2))
    with pytest.raises(TypeError, match="Cannot stack a layer of type Tanh"):
        StackedModel([nn.Sequential(nn.Linear(2, 2), nn.Tanh())]).forward(torch.ones(1, 3, 2), None)

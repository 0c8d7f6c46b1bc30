"""K models mapped by ``torch.func.vmap`` against one plain module at a time, in float64 to keep tolerances tight."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import make_layers

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.models import Dropout, build, mappable, set_dropout_generator
from rsc_mlflow.models.initialize import with_global_seed
from rsc_mlflow.models.mapped import MappedModel, MemberBatchNorm, with_member_layers
from rsc_mlflow.rng import torch_generator

SHAPE = (3, 8, 8)
CLASSES = 10
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}


class Branches(nn.Module):
    """Code in ``forward`` that a mapping of layers alone would miss: channels that mix, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2)
        self.second = nn.Conv2d(3, 2, 5, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.register_buffer("scale", torch.tensor(0.7), persistent=False)
        self.output = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        both = self.norm(torch.cat([self.first(x), self.second(x)], 1))
        logits: Tensor = self.output((both.softmax(1) * self.scale).flatten(2).amax(2))
        return logits


class Drawing(nn.Linear):
    """A model whose randomness no seed of a member decides."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1) + torch.rand(()))


class Deciding(nn.Linear):
    """A model whose code depends on the values that it computes."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x.flatten(1))
        return out if out.sum() > 0 else 2 * out


def named(architecture: str) -> Callable[[int], nn.Module]:
    return lambda seed: build(architecture, SHAPE, CLASSES, torch_generator(seed, "init"))


def small_vgg(seed: int) -> nn.Module:
    """torchvision's VGG with two convolutions instead of 13, its classifier 64 wide instead of 4,096."""
    return with_global_seed(_small_vgg, seed)


def _small_vgg() -> nn.Module:
    classifier = [nn.Linear(6 * 7 * 7, 64), nn.ReLU(), Dropout(), nn.Linear(64, CLASSES)]
    return nn.Sequential(make_layers([4, "M", 6, "M"]), nn.AdaptiveAvgPool2d((7, 7)), nn.Flatten(), *classifier)


def branches(seed: int) -> nn.Module:
    return with_global_seed(Branches, seed)


MODELS = {name: named(name) for name in ("altResNet20Norm02", "altResNet32")} | {
    "VGG": small_vgg,
    "Branches": branches,
}


def images(members: int, count: int = 4) -> Tensor:
    return torch.rand(members, count, *SHAPE, generator=torch_generator(0, "images"), dtype=torch.float64)


def models(architecture: str, count: int) -> list[nn.Module]:
    return [MODELS[architecture](seed).double() for seed in range(count)]


@pytest.mark.parametrize("architecture", MODELS)
def test_a_step_is_that_of_each_module_alone(architecture: str) -> None:
    """Logits, gradients, dropout masks and running statistics."""
    each = models(architecture, 2)
    stack, x = MappedModel(each), images(2)
    labels = torch.randint(CLASSES, (2, 4), generator=torch_generator(0, "labels"))
    logits = stack.forward(x, [torch_generator(k, "dropout") for k in range(2)])
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(2, 4).mean(1)
    gradients = dict(zip(stack.parameters, stack.gradients(losses.sum()), strict=True))
    for k, model in enumerate(each):
        model.train()
        set_dropout_generator(model, torch_generator(k, "dropout"))
        plain = model(x[k])
        torch.testing.assert_close(logits[k], plain, **CLOSE)
        F.cross_entropy(plain, labels[k]).backward()
        for key, parameter in model.named_parameters():
            assert gradients[key].is_contiguous()
            torch.testing.assert_close(gradients[key][k], parameter.grad, **CLOSE, msg=key)
        state, expected = stack.member_state(k), model.state_dict()
        assert state.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(state[key], value, **CLOSE, msg=key)


@pytest.mark.parametrize("architecture", MODELS)
def test_evaluation_of_some_members_on_the_same_images(architecture: str) -> None:
    each = models(architecture, 3)
    stack = MappedModel(each)
    x = images(1)[0]
    before = stack.member_state(0)
    with torch.no_grad():
        logits = stack.evaluate(x, [2, 0])
        assert torch.equal(stack.forward(x.expand(3, *x.shape), None)[2].argmax(1), logits[0].argmax(1))
        for own, k in zip(logits, (2, 0), strict=True):
            torch.testing.assert_close(own, each[k].eval()(x), **CLOSE)
    assert all(torch.equal(value, before[key]) for key, value in stack.member_state(0).items())


def test_batch_norm_has_a_rule_of_its_own_where_it_keeps_statistics() -> None:
    layers = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False), nn.Sequential(nn.BatchNorm2d(2)))
    kinds = [type(layer) for layer in with_member_layers(layers).modules()]
    assert kinds == [nn.Sequential, MemberBatchNorm, nn.BatchNorm2d, nn.Sequential, MemberBatchNorm]
    assert type(layers[0]) is nn.BatchNorm2d  # the model that was given is as it was


def test_built_in_architectures_can_be_mapped() -> None:
    for architecture in ("altResNet20Norm02", "Vgg16Norm02"):
        assert mappable(architecture, (3, 32, 32))
    assert mappable("altResNet20", (3, 32, 32), "aug03")


@pytest.mark.parametrize("kind", ["draws", "averages", "decides"])
def test_a_model_that_cannot_be_mapped_is_found_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def construct(shape: tuple[int, int, int], classes: int) -> nn.Module:
        if kind == "averages":  # its statistics are means over all batches, whose number is read from a tensor
            return nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Flatten(), nn.Linear(192, classes))
        return (Drawing if kind == "draws" else Deciding)(192, classes)

    trials = {**ARCHITECTURES.registered(), f"Trial{kind}": Architecture(construct)}
    monkeypatch.setattr(ARCHITECTURES, "_values", trials)
    assert not mappable(f"Trial{kind}", SHAPE)

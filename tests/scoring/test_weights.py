"""Weight maps of layers written by hand."""

import math

import pytest
import torch
from torch import nn

from rsc_mlflow.data.patterns import apply_pattern
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.scoring.weights import WeightMaps, as_picture, pattern_correlation, weight_map


def test_map_is_the_largest_weight_of_each_input() -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -5, 0, 2], [0, -3, 4, 2], [-9, -4, 1, 3]]))
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(3, 2))
    assert weight_map(model, (1, 2, 2)).tolist() == [[[1, -3], [4, 3]]]
    # Two channels of 1 × 2: the picture takes the larger of inputs 0 and 2, and of 1 and 3.
    assert as_picture(weight_map(model, (2, 1, 2))).tolist() == [[4, 3]]


def test_map_does_not_depend_on_the_order_of_hidden_units() -> None:
    model = build("MLP", (1, 28, 28), 10, torch_generator(0, "test"))
    before = weight_map(model, (1, 28, 28))
    with torch.no_grad():
        weight = model.get_parameter("hidden1.weight")
        weight.copy_(weight.flip(0))
    assert torch.equal(weight_map(model, (1, 28, 28)), before)


@pytest.mark.parametrize("architecture", ["CNN002", "altResNet20"])
def test_other_models_are_refused(architecture: str) -> None:
    model = build(architecture, (1, 28, 28), 10, torch_generator(0, "test"))
    with pytest.raises(InputError, match="Expected a linear layer over all 784"):
        weight_map(model, (1, 28, 28))


def test_a_model_for_other_images_is_refused() -> None:
    with pytest.raises(InputError, match="all 3072"):
        weight_map(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (3, 32, 32))
    with pytest.raises(InputError, match="first layer of the model is none"):
        weight_map(nn.Flatten(), (3, 32, 32))


def test_two_maps_share_one_scale_and_have_a_difference() -> None:
    maps = WeightMaps({"clean": torch.tensor([[[0.0, 2.0]]]), "poisoned": torch.tensor([[[-1.0, 5.0]]])})
    assert maps.color_range == (-1.0, 5.0)
    assert maps.difference is not None
    assert maps.difference.tolist() == [[[1.0, 3.0]]]
    assert WeightMaps({"clean": torch.zeros(1, 2, 2)}).difference is None


def test_maps_of_different_shapes_are_refused() -> None:
    for maps in ({}, {"a": torch.zeros(1, 2, 2), "b": torch.zeros(1, 3, 3)}):
        with pytest.raises(InputError, match="Expected at least one map"):
            WeightMaps(maps)


def test_correlation_finds_the_pattern_planted_in_the_map() -> None:
    noise = torch.randn(1, 28, 28, generator=torch_generator(0, "test"))
    for pattern in ("v8", "v20", "v30"):
        planted = apply_pattern(pattern, torch.zeros(1, 1, 28, 28), 3)[0]
        assert pattern_correlation(2 * planted - 1, pattern, 3) == pytest.approx(1)
        assert abs(pattern_correlation(noise, pattern, 3)) < 4 / math.sqrt(784)
    assert math.isnan(pattern_correlation(torch.ones(1, 28, 28), "v8", 0))

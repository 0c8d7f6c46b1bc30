"""Gradients and curvature products against plain loops and matrices that are written out."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.choices import Kind
from rsc_mlflow.unlearning.curvature import Curvature, largest_sampled_curvature
from rsc_mlflow.unlearning.ekfac import EigenKroneckerFactors
from rsc_mlflow.unlearning.gradients import (
    directional_derivatives,
    label_confidence,
    loss_and_accuracy,
    summed_gradient,
)
from rsc_mlflow.unlearning.parameters import FlatModel, parameter_distance
from tests.unlearning.worlds import (
    blobs,
    exact_gauss_newton,
    exact_hessian,
    flat_parameters,
    loop_gradients,
    tiny_conv,
    tiny_mlp,
)

MODELS = pytest.mark.parametrize("make", [tiny_mlp, tiny_conv])


@MODELS
@pytest.mark.parametrize("batch_size", [7, 100])
def test_summed_gradient_is_the_sum_of_a_loop(make: Callable[[], nn.Module], batch_size: int) -> None:
    model, examples = make(), blobs(20)
    theta = flat_parameters(model)
    expected = loop_gradients(model, examples).sum(0) + 20 * 0.3 * theta
    found = summed_gradient(FlatModel(model), examples, 0.3, batch_size)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@MODELS
def test_directional_derivatives_are_inner_products_with_each_gradient(make: Callable[[], nn.Module]) -> None:
    model, examples = make(), blobs(20)
    theta = flat_parameters(model)
    direction = torch.randn(len(theta), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = (loop_gradients(model, examples) + 0.3 * theta) @ direction
    found = directional_derivatives(FlatModel(model), examples, direction, 0.3, 7)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@MODELS
@pytest.mark.parametrize("kind", ["ggn", "hessian"])
def test_products_equal_the_matrix_that_is_written_out(make: Callable[[], nn.Module], kind: Kind) -> None:
    model, examples = make(), blobs(12)
    matrix = exact_gauss_newton(model, examples) if kind == "ggn" else exact_hessian(model, examples)
    vectors = torch.randn(3, len(matrix), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    curvature = Curvature(FlatModel(model), examples, kind, damping=0.1, weight_decay=0.2, batch_size=5)
    for vector in vectors:
        expected = matrix @ vector + 0.3 * vector
        torch.testing.assert_close(curvature.product(vector), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["ggn", "hessian"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_sampled_products_are_products_over_each_mini_batch(kind: Kind, repeats: int) -> None:
    model, examples = tiny_conv(), blobs(12)
    flat = FlatModel(model)
    positions = torch.randint(12, (repeats, 4), generator=torch.Generator().manual_seed(1))
    vectors = torch.randn(repeats, flat.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = Curvature(flat, examples, kind, 0.1).sampled_product(vectors, positions)
    for r in range(repeats):
        batch = Examples(examples.images, examples.labels, positions[r])
        expected = Curvature(flat, batch, kind, 0.1).product(vectors[r])
        torch.testing.assert_close(found[r], expected, rtol=1e-9, atol=1e-11)


def test_power_iteration_finds_the_largest_eigenvalue() -> None:
    model, examples = tiny_mlp(), blobs(6)
    curvature = Curvature(FlatModel(model), examples, "ggn", damping=0.5)
    one_by_one = [Examples(examples.images, examples.labels, torch.tensor([i])) for i in range(6)]
    largest = max(float(torch.linalg.eigvalsh(exact_gauss_newton(model, one))[-1]) for one in one_by_one)
    found = largest_sampled_curvature(curvature, 1, torch.Generator().manual_seed(0), batches=40, iterations=40)
    assert found == pytest.approx(largest + 0.5, rel=1e-3)
    before = torch.get_rng_state()
    one, other, third = (
        largest_sampled_curvature(curvature, 2, torch.Generator().manual_seed(seed), batches=2, iterations=3)
        for seed in (0, 1, 0)
    )
    assert one == third != other
    assert torch.equal(torch.get_rng_state(), before)  # all is drawn from the generator that was given


def test_ekfac_keeps_the_trace_of_every_layer() -> None:
    """Rotating a per-example gradient keeps its norm, so the corrected eigenvalues sum to the block's trace."""
    model, examples = tiny_conv(), blobs(12)
    factors = EigenKroneckerFactors.fit(FlatModel(model), examples, batch_size=5)
    diagonal = exact_gauss_newton(model, examples).diagonal()
    at, traces = 0, {}
    for name, parameter in model.named_parameters():
        traces[name] = diagonal[at : at + parameter.numel()]
        at += parameter.numel()
    for layer, block in factors.blocks.items():
        expected = sum(float(trace.sum()) for name, trace in traces.items() if name.rsplit(".", 1)[0] == layer)
        assert float(block.values.sum()) == pytest.approx(expected, rel=1e-9)
    for name, values in factors.diagonal.items():
        torch.testing.assert_close(values, traces[name], rtol=1e-9, atol=1e-12)


def test_ekfac_names_a_layer_it_has_no_block_for() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 3)).double()
    with pytest.raises(InputError, match="ekfac does not support the layer '1' \\(LayerNorm\\)"):
        EigenKroneckerFactors.fit(FlatModel(model), blobs(4))


def test_loss_accuracy_and_confidence_are_means_over_the_examples() -> None:
    """Logits (0, ln 3) and (ln 4, 0), both of label 1: probabilities 3/4 and 1/5."""
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]], dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        model.get_parameter("1.weight").copy_(torch.eye(2))
    examples = Examples.of(logits.view(2, 1, 1, 2), torch.tensor([1, 1]))
    for batch_size in (1, 2):
        assert label_confidence(model, examples, batch_size) == pytest.approx((3 / 4 + 1 / 5) / 2, abs=1e-12)
        loss, accuracy = loss_and_accuracy(model, examples, batch_size)
        assert loss == pytest.approx((math.log(4 / 3) + math.log(5)) / 2, abs=1e-12)
        assert accuracy == 1 / 2


def test_nothing_changes_the_model_that_was_given() -> None:
    model, examples = tiny_conv().train(), blobs(12)
    before = copy.deepcopy(model.state_dict())
    flat = FlatModel(model)
    curvature = Curvature(flat, examples, "ggn", 0.1)
    curvature.product(summed_gradient(flat, examples))
    EigenKroneckerFactors.fit(flat, examples)
    moved = flat.moved(torch.ones(flat.size, dtype=torch.float64))
    loss_and_accuracy(model, examples)
    label_confidence(model, examples)
    assert model.training
    assert not moved.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert parameter_distance(model, moved) == pytest.approx(flat.size**0.5)


def test_models_of_different_architectures_have_no_distance() -> None:
    with pytest.raises(ValueError, match="shorter than argument 1"):
        parameter_distance(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), nn.Sequential(nn.Linear(3, 3)))


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("CNN002", (1, 28, 28)), ("altResNet20Norm02", (3, 32, 32)), ("ResNet18", (3, 32, 32))],
)
def test_products_work_for_every_kind_of_architecture(architecture: str, shape: tuple[int, int, int]) -> None:
    """Symmetry, ⟨a, Gb⟩ = ⟨b, Ga⟩, and positive curvature, on the real architectures."""
    generator = torch.Generator().manual_seed(0)
    model = build(architecture, shape, 10, generator)
    with torch.no_grad():  # last layers that start at zero would hide the rest
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    images = torch.rand(4, *shape, generator=generator)
    examples = Examples.of(images, torch.tensor([1, 2, 3, 4]))
    flat = FlatModel(model)
    a, b = torch.randn(2, flat.size, generator=generator)
    curvature = Curvature(flat, examples, "ggn", batch_size=3)
    ga, gb = curvature.product(a), curvature.product(b)
    assert float(a @ gb) == pytest.approx(float(b @ ga), rel=2e-3, abs=1e-3 * float(a.norm() * gb.norm()))
    assert float(a @ ga) > 0
    if architecture != "ResNet18":  # its factors take a minute of eigendecompositions
        assert torch.isfinite(EigenKroneckerFactors.fit(flat, examples).solve(ga, 0.1)).all()

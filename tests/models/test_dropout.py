"""Dropout with a generator of its own."""

import pytest
import torch

from rsc_mlflow.models import build, set_dropout_generator
from rsc_mlflow.models.dropout import Dropout
from rsc_mlflow.rng import torch_generator


def trained(p: float, seed: int = 0) -> Dropout:
    layer = Dropout(p).train()
    layer.generator = torch_generator(seed, "dropout")
    return layer


def test_zeroes_a_share_p_and_keeps_the_mean() -> None:
    out = trained(0.3)(torch.ones(400, 500))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert out[out != 0].unique().tolist() == pytest.approx([1 / 0.7])
    assert out.mean().item() == pytest.approx(1, abs=0.01)


def test_gradient_passes_through_the_same_mask() -> None:
    x = torch.ones(50, 50, requires_grad=True)
    out = trained(0.5)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_draws_from_its_generator_alone() -> None:
    x = torch.ones(20, 20)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained(0.5)(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, trained(0.5)(x))
    assert not torch.equal(first, trained(0.5, seed=1)(x))


def test_does_nothing_in_evaluation_mode_or_with_p_zero() -> None:
    x = torch.rand(5, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert repr(Dropout(0.3)) == "Dropout(p=0.3)"


def test_training_without_a_generator_is_refused() -> None:
    with pytest.raises(RuntimeError, match="set_dropout_generator"):
        Dropout(0.5).train()(torch.ones(3))


def test_every_layer_of_a_model_shares_the_generator_in_order_of_use() -> None:
    model = build("VggMLP", (1, 2, 2), 3, torch_generator(0, "init")).train()
    set_dropout_generator(model, torch_generator(5, "dropout"))
    x = torch.rand(4, 1, 2, 2, generator=torch_generator(0, "x"))
    with torch.no_grad():
        out = model(x)
        generator, by_hand = torch_generator(5, "dropout"), x
        for layer in model.children():
            if isinstance(layer, Dropout):
                mask = torch.empty_like(by_hand).bernoulli_(0.5, generator=generator)
                by_hand = by_hand * mask / 0.5
            else:
                by_hand = layer(by_hand)
    assert torch.equal(out, by_hand)

"""Relabel fine-tuning and gradient difference: against hand-made steps and on a planted pattern."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rsc_mlflow.errors import InputError
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.finetuning import FineTuning
from rsc_mlflow.unlearning.finetuning_loop import finetune
from rsc_mlflow.unlearning.gradients import loss_and_accuracy
from rsc_mlflow.unlearning.methods.gradient_difference import GradientDifferenceConfig, gradient_difference
from rsc_mlflow.unlearning.methods.relabel_finetuning import relabel_finetuning, wrong_labels
from tests.unlearning.worlds import blobs, flat_parameters, part, tiny_conv, tiny_mlp

ONE_STEP: dict[str, Any] = {
    "unlearn_batch_size": 100,
    "forget_batch_size": 100,
    "unlearn_optimizer": "sgd",
    "unlearn_learning_rate": 0.1,
    "forget_weight": 0.25,
}


def test_wrong_labels_are_every_other_class_equally_often_and_never_the_right_one() -> None:
    labels = torch.arange(4).repeat(3000)
    drawn = wrong_labels(labels, 4, torch.Generator().manual_seed(0))
    assert not (drawn == labels).any()
    for k in range(4):
        counts = torch.bincount(drawn[labels == k], minlength=4)
        others = counts[torch.arange(4) != k].double()
        assert others.sum() == 3000
        assert (others - 1000).abs().max() < 5 * math.sqrt(3000 * (1 / 3) * (2 / 3))


def test_steps_follow_the_weighted_sum_of_both_gradients_with_momentum() -> None:
    """Three full-batch SGD steps, written by hand."""
    model, examples = tiny_mlp(), blobs(30)
    forget, retain = part(examples, 0, 5), part(examples, 5, 30)
    by_hand = copy.deepcopy(model)
    (images, labels), (gone, gone_labels) = (s.rows(torch.arange(len(s))) for s in (retain, forget))
    velocity = [torch.zeros_like(parameter) for parameter in by_hand.parameters()]
    for _ in range(3):
        loss = 0.75 * cross_entropy(by_hand(images), labels) - 0.25 * cross_entropy(by_hand(gone), gone_labels)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for v, parameter, gradient in zip(velocity, by_hand.parameters(), gradients, strict=True):
                v.mul_(0.9).add_(gradient)
                parameter.sub_(0.1 * v)
    config = GradientDifferenceConfig(**ONE_STEP, ceiling=0.0, unlearn_epochs=3)
    found = gradient_difference(model, forget, retain, config)
    torch.testing.assert_close(flat_parameters(found.model), flat_parameters(by_hand), rtol=1e-10, atol=1e-12)
    assert found.record == {"steps": 3}


def test_examples_beyond_the_ceiling_no_longer_count() -> None:
    """All losses of this model are above 1e-6: the ascent term is constant and only the retain set pulls."""
    model, examples = tiny_mlp(), blobs(30)
    forget, retain = part(examples, 0, 5), part(examples, 5, 30)
    capped = gradient_difference(model, forget, retain, GradientDifferenceConfig(**ONE_STEP, ceiling=1e-6))
    kept, _ = finetune(model, forget, retain, FineTuning(**ONE_STEP), lambda logits, labels: 0 * logits.sum(), None)
    torch.testing.assert_close(flat_parameters(capped.model), flat_parameters(kept))


def test_forget_examples_are_drawn_in_passes_over_all_of_them() -> None:
    examples, drawn = blobs(30), []
    forget = Examples.of(examples.images[:5], torch.arange(5))  # told apart by their labels

    def note(logits: Tensor, labels: Tensor) -> Tensor:
        drawn.extend(labels.tolist())
        return 0 * logits.sum()

    finetune(
        tiny_mlp(),
        forget,
        part(examples, 5, 30),
        FineTuning(unlearn_epochs=2, unlearn_batch_size=5, forget_batch_size=2),
        note,
        None,
    )
    assert len(drawn) == 2 * 5 * 2  # epochs × steps × examples a step
    for start in range(0, 20, 5):
        assert sorted(drawn[start : start + 5]) == [0, 1, 2, 3, 4]


def planted(steps: int) -> tuple[nn.Module, Examples, Examples, Examples]:
    """A model trained until it follows a pixel that four examples of class 0 carry; forget, retain, test with pixel."""
    examples = blobs(200, side=4, dtype=torch.float32)
    examples.images[:, 0, 0, 0] = 0
    four = torch.arange(0, 12, 3)  # of class 0
    examples.images[four, 0, 0, 0] = 40.0
    test = blobs(100, side=4, seed=0, dtype=torch.float32)
    test.images[:, 0, 0, 0] = 40.0
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(examples.images), examples.labels).backward()
        optimizer.step()
    rest = torch.ones(200, dtype=torch.bool)
    rest[four] = False
    forget = Examples(examples.images, examples.labels, four)
    return model, forget, Examples(examples.images, examples.labels, rest.nonzero()[:, 0]), test


def follows_pixel(model: nn.Module, test: Examples) -> float:
    with torch.no_grad():
        return float((model(test.images).argmax(1) == 0).float().mean())


def test_relabel_finetuning_makes_a_saturated_model_forget_the_planted_pixel() -> None:
    model, forget, retain, test = planted(steps=300)
    assert loss_and_accuracy(model, forget)[0] < 1e-4  # influence has nothing to work with
    assert follows_pixel(model, test) > 0.9
    how = FineTuning(unlearn_epochs=20, unlearn_learning_rate=0.003, unlearn_batch_size=49, forget_batch_size=4)
    done = relabel_finetuning(model, forget, retain, how)
    assert follows_pixel(done.model, test) < 0.6
    assert loss_and_accuracy(done.model, retain)[1] > loss_and_accuracy(model, retain)[1] - 0.02


def test_gradient_difference_forgets_where_there_is_a_gradient_left() -> None:
    model, forget, retain, test = planted(steps=15)
    assert loss_and_accuracy(model, forget)[0] > 1e-6
    assert follows_pixel(model, test) > 0.9
    how = GradientDifferenceConfig(
        unlearn_epochs=20, unlearn_learning_rate=0.003, unlearn_batch_size=49, forget_batch_size=4
    )
    done = gradient_difference(model, forget, retain, how)
    assert follows_pixel(done.model, test) < 0.6
    assert loss_and_accuracy(done.model, retain)[1] > loss_and_accuracy(model, retain)[1] - 0.02


def test_gradient_difference_says_that_it_cannot_act_where_the_loss_is_zero_in_float32() -> None:
    model, forget, retain, test = planted(steps=60)
    assert loss_and_accuracy(model, forget)[0] == 0
    how = GradientDifferenceConfig(
        unlearn_epochs=5, unlearn_learning_rate=0.003, unlearn_batch_size=49, forget_batch_size=4
    )
    done = gradient_difference(model, forget, retain, how)
    assert follows_pixel(done.model, test) > 0.9
    assert "Gradient ascent had no effect" in done.notes[0]


def test_same_seed_same_model_and_the_source_is_left_alone() -> None:
    model, examples = tiny_conv().train(), blobs(30)
    before = copy.deepcopy(model.state_dict())
    forget, retain = part(examples, 0, 5), part(examples, 5, 30)
    how = FineTuning(unlearn_epochs=2, unlearn_batch_size=8, forget_batch_size=2, unlearn_learning_rate=0.01)
    torch.manual_seed(1)
    first = relabel_finetuning(model, forget, retain, how).model
    torch.manual_seed(2)
    second = relabel_finetuning(model, forget, retain, how).model
    other = relabel_finetuning(model, forget, retain, replace(how, random_seed=1)).model
    assert torch.equal(flat_parameters(first), flat_parameters(second))
    assert not torch.equal(flat_parameters(first), flat_parameters(other))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, buffer in model.named_buffers():  # batch-norm statistics stay
        assert torch.equal(buffer, first.get_buffer(name))


def test_each_epoch_is_observed() -> None:
    seen = []
    examples = blobs(30)
    how = FineTuning(unlearn_epochs=3, unlearn_batch_size=8, retain_examples=10)
    done = relabel_finetuning(
        tiny_mlp(),
        part(examples, 0, 5),
        part(examples, 5, 30),
        how,
        lambda epoch, _, r: seen.append((epoch, sorted(r))),
    )
    assert seen == [(epoch, ["forget_loss", "loss"]) for epoch in (1, 2, 3)]
    assert done.record["steps"] == 3 * 2  # ten of the retain set an epoch, eight at a time


def test_the_retain_loss_of_an_epoch_is_the_mean_over_its_examples() -> None:
    """With steps that move nothing it is the model's own loss on the retain set, uneven last batch included."""
    seen, model, retain = [], tiny_mlp(), part(blobs(30), 5, 30)
    how = FineTuning(unlearn_epochs=2, unlearn_batch_size=8, retain_examples=0, unlearn_learning_rate=1e-14)
    relabel_finetuning(model, part(blobs(30), 0, 5), retain, how, lambda *given: seen.append(given[2]["loss"]))
    assert seen == pytest.approx([loss_and_accuracy(model, retain)[0]] * 2, abs=1e-9)


def test_a_loss_that_explodes_is_said() -> None:
    examples = blobs(30)
    how = GradientDifferenceConfig(unlearn_epochs=30, unlearn_learning_rate=1e12, unlearn_optimizer="sgd", ceiling=0.0)
    forget, retain = part(_single(examples), 0, 5), part(_single(examples), 5, 30)
    with pytest.raises(InputError, match="smaller unlearn_learning_rate"):
        gradient_difference(tiny_mlp(torch.float32), forget, retain, how)


def _single(examples: Examples) -> Examples:
    return Examples(examples.images.float(), examples.labels, examples.indices)


@pytest.mark.parametrize(
    "wrong",
    [
        {"unlearn_optimizer": "lbfgs"},
        {"unlearn_epochs": 0},
        {"unlearn_learning_rate": 0.0},
        {"forget_weight": 1.5},
        {"unlearn_batch_size": 0},
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"Invalid value for .* Expected"):
        FineTuning(**wrong)

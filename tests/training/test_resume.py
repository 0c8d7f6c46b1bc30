"""Going on from a checkpoint ends with bitwise the weights of an uninterrupted training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.training import Checkpoint, Cohort, Member, TrainingConfig, TrainingData
from tests.training.small import CPU, config, digits, furthest, made_up, same, trained, weights


def cases() -> list[tuple[TrainingData, TrainingConfig]]:
    optimizers = [config(optimizer=name, momentum=0.5, epochs=3, learning_rate=1e-3) for name in ("sgd", "rms")]
    optimizers += [config(optimizer=name, epochs=3, learning_rate=1e-3) for name in ("adam", "adagrad")]
    small = digits(count=150)
    return [
        *[(small, options) for options in optimizers],
        (small, config("ce-tor-MLPv2", epochs=3, input_noise=0.2, grad_clip=0.01, weight_decay=1e-3)),
        (small, config("ce-tor-MLP", epochs=17, batch_size=128)),  # the schedule falls after epoch 15
        (digits(count=64), config("ce-tor-CNN002", epochs=2, optimizer="adam", input_noise=0.1)),
        (made_up(24, (3, 32, 32)), config("aug01-ce-tor-altResNet20", epochs=2, batch_size=8, input_noise=0.1)),
    ]


def case_id(case: tuple[TrainingData, TrainingConfig]) -> str:
    options = case[1]
    return f"{options.model}-{options.optimizer}-{options.epochs}"


@pytest.mark.parametrize("case", cases(), ids=case_id)
def test_resumed_is_bitwise_uninterrupted(case: tuple[TrainingData, TrainingConfig], tmp_path: Path) -> None:
    data, options = case
    uninterrupted = trained(Member(data, options)).checkpoint(0)
    stopped = trained(Member(data, options), epochs=options.epochs - 1)
    path = stopped.checkpoint(0).save(tmp_path / "checkpoints" / "epoch_0001.pt")
    start = Checkpoint.load(path)
    assert start.epoch == options.epochs - 1
    start.require(options)
    resumed = trained(Member(data, options, start)).checkpoint(0)
    assert same(resumed.model, uninterrupted.model)
    assert not same(resumed.model, start.model)
    assert resumed.optimizer.keys() == uninterrupted.optimizer.keys()
    for key, tensors in uninterrupted.optimizer.items():
        assert same(resumed.optimizer[key], tensors)
    assert same(resumed.generators, uninterrupted.generators)


def test_from_weights_alone_the_batches_are_those_of_the_training_seed() -> None:
    data, options = digits(count=96), config(epochs=2)
    start = Checkpoint(1, options, trained(Member(data, options), epochs=1).checkpoint(0).model)
    first, again, other = (
        weights(trained(Member(data, replace(options, random_seed=seed), start))) for seed in (0, 0, 1)
    )
    assert same(first, again)
    assert not same(first, other)


def test_dropout_goes_on_where_it_stopped() -> None:
    """``VggMLP`` on 2×2 images keeps the masks and drops the size."""
    data, options = made_up(12, (1, 2, 2)), config("ce-tor-VggMLP", epochs=2, batch_size=8)
    start = trained(Member(data, options), epochs=1).checkpoint(0)
    assert same(weights(trained(Member(data, options, start))), weights(trained(Member(data, options))))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad", "rms"])
def test_a_member_of_a_cohort_can_go_on_alone_and_a_lone_one_in_a_cohort(optimizer: str) -> None:
    """The first has a block of the optimizer to itself, the other two share one."""
    base = config(optimizer=optimizer, epochs=2, learning_rate=1e-3)
    decays = (0.0, 1e-3, 1e-3)
    members = [
        Member(digits(count=96), replace(base, random_seed=seed, weight_decay=decay))
        for seed, decay in enumerate(decays)
    ]
    whole = trained(*members)
    half = trained(*members, epochs=1)
    starts = [half.checkpoint(k) for k in range(3)]
    alone = trained(replace(members[1], start=starts[1]))
    together = trained(*[replace(member, start=start) for member, start in zip(members, starts, strict=True)])
    for k in range(3):
        assert same(weights(together, k), weights(whole, k))
    assert furthest(weights(alone), weights(whole, 1)) < (1e-6 if optimizer == "sgd" else 1e-4)
    for key, tensors in whole.checkpoint(1).optimizer.items():
        mine = alone.checkpoint(0).optimizer[key]
        assert {name: value.shape for name, value in mine.items()} == {n: v.shape for n, v in tensors.items()}


def test_members_that_start_anew_may_join_members_that_go_on_with_a_fresh_optimizer() -> None:
    options = config(epochs=2, optimizer="adam", learning_rate=1e-3)
    member = Member(digits(count=96), options)
    start = trained(member, epochs=1).checkpoint(0)
    fresh = Checkpoint.of_weights(start.model, options, start.epoch)
    pair = trained(replace(member, start=start), replace(member, start=fresh))
    assert furthest(weights(pair, 0), weights(trained(member))) < 1e-4
    lone = trained(replace(member, start=fresh))
    assert furthest(weights(pair, 1), weights(lone)) < 1e-4


def test_weights_alone_are_a_start_with_streams_of_its_own() -> None:
    options = config(epochs=2)
    member = Member(digits(count=96), options)
    first = trained(member, epochs=1).checkpoint(0)
    start = Checkpoint.of_weights(first.model, options, epoch=1)
    assert start.optimizer == {}
    resumed = weights(trained(replace(member, start=start)))
    assert same(resumed, weights(trained(replace(member, start=start))))
    assert not same(resumed, weights(trained(member)))


def test_going_on_with_another_rate_and_without_what_was_forgotten() -> None:
    data, options = digits(count=96), config(epochs=1)
    start = trained(Member(data, options)).checkpoint(0)
    later = TrainingData(data.clean, data.replaced_indices, data.replaced_images, torch.arange(10, 96))
    changed = replace(options, epochs=3, learning_rate=0.05, schedule="none")
    cohort = Cohort([Member(later, changed, start)], 10, CPU)
    reports = list(cohort.epochs())
    assert [report.epoch for report in reports] == [2, 3]
    assert {report.members[0].learning_rate for report in reports} == {0.05}


def test_another_kind_of_device_keeps_the_order_of_batches_and_draws_the_rest_anew() -> None:
    """A generator of a GPU means nothing to a processor; the batches' one is always on the processor."""
    data = digits(count=96)
    for noise in (0.0, 0.1):
        options = config(epochs=2, input_noise=noise)
        start = replace(trained(Member(data, options), epochs=1).checkpoint(0), device="cuda")
        resumed, again = (weights(trained(Member(data, options, start))) for _ in range(2))
        assert same(resumed, again)
        assert same(resumed, weights(trained(Member(data, options)))) == (noise == 0)


@pytest.mark.parametrize("optimizer", ["sgd", "rms"])
def test_momentum_may_be_switched_on_and_off(optimizer: str) -> None:
    """A first step from a state without momentum is one without: momentum 0.9 tells from the second step on."""
    still = config(optimizer=optimizer, momentum=0.0, epochs=2, learning_rate=1e-3, batch_size=96)
    moving = replace(still, momentum=0.9)
    data = digits(count=96)  # one step an epoch
    of_still, of_moving = (trained(Member(data, options), epochs=1).checkpoint(0) for options in (still, moving))
    alone = weights(trained(Member(data, still, of_still)))
    assert furthest(weights(trained(Member(data, moving, of_still))), alone) < 1e-6
    longer = replace(moving, epochs=3)
    assert furthest(weights(trained(Member(data, longer, of_still))), weights(trained(Member(data, longer)))) > 1e-6
    trained(Member(data, still, of_moving))
    pair = trained(Member(data, moving, of_still), Member(data, moving, of_moving))
    assert furthest(weights(pair, 0), alone) < 1e-6
    assert furthest(weights(pair, 1), weights(trained(Member(data, moving)))) < 1e-6


def test_a_training_that_is_done_has_no_more_epochs() -> None:
    options = config()
    member = Member(digits(count=64), options)
    done = trained(member).checkpoint(0)
    cohort = Cohort([replace(member, start=done)], 10, CPU)
    assert list(cohort.epochs()) == []
    assert same(weights(cohort), done.model)


def test_starts_that_do_not_fit_are_refused() -> None:
    data = digits(count=64)
    start = trained(Member(data, config())).checkpoint(0)
    with pytest.raises(InputError, match="is of MLP, but the model is MLPv2"):
        Cohort([Member(data, config("ce-tor-MLPv2"), start)], 10, CPU)
    with pytest.raises(InputError, match="state of sgd, but the optimizer is adam"):
        Cohort([Member(data, config(optimizer="adam"), start)], 10, CPU)
    Cohort([Member(data, config(optimizer="adam"), Checkpoint.of_weights(start.model, start.config, 0))], 10, CPU)
    with pytest.raises(InputError, match="do not fit MLP for images of shape"):
        Cohort([Member(made_up(8, (1, 4, 4)), config(), start)], 10, CPU)
    with pytest.raises(InputError, match="epoch to start from"):
        Cohort([Member(data, config(), start), Member(data, config())], 10, CPU)

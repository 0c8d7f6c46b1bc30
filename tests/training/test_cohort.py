"""The trainer against a loop written by hand, and members together against the same members alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.data import ImageSet, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import Dropout
from rsc_mlflow.names import DatasetName
from rsc_mlflow.training import Cohort, Diverged, Member, TrainingConfig, TrainingData, evaluate_logits
from tests.training.small import (
    CPU,
    config,
    dense,
    digits,
    furthest,
    made_up,
    plain_loop,
    relative_distance,
    same,
    trained,
    weights,
)

RATES = {"sgd": 0.01, "adam": 0.001, "adagrad": 0.01, "rms": 0.0001}


@pytest.mark.parametrize("optimizer", RATES)
def test_an_epoch_is_that_of_the_loop_written_by_hand(optimizer: str) -> None:
    options = config(optimizer=optimizer, learning_rate=RATES[optimizer], weight_decay=1e-3)
    data = digits(count=500)  # 15 batches of 32 and one of 20
    reference = plain_loop(data, options)
    assert furthest(weights(trained(Member(data, options))), reference.state_dict()) < 1e-6


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("ce-tor-LargeMLP", {"input_noise": 0.3}),
        ("ce-tor-LargeMLP", {"grad_clip": 0.001}),
        ("ce-tor-MLPv2", {"epochs": 16, "batch_size": 64}),  # over the milestone at 15
        ("ce-tor-CNN002", {}),
        ("mse-tor-MLP", {}),
        ("kld-tor-MLP", {"learning_rate": 0.1}),
    ],
)
def test_every_option_is_that_of_the_loop_written_by_hand(model: str, changes: dict[str, object]) -> None:
    options = config(model, **changes)
    data = digits(count=160)
    reference = plain_loop(data, options)
    assert furthest(weights(trained(Member(data, options))), reference.state_dict()) < 1e-5


def test_aug01_then_noise_and_batch_norm_as_in_the_loop_written_by_hand() -> None:
    # Another memory layout sums in another order, and batch norm over 16 images magnifies that with each step.
    changes = {"batch_size": 16, "weight_decay": 1e-4, "learning_rate": 0.001, "input_noise": 0.1}
    options = config("aug01-ce-tor-altResNet20Norm02", **changes)
    data = made_up(40, (3, 32, 32))
    reference = plain_loop(data, options)
    assert relative_distance(weights(trained(Member(data, options))), reference.state_dict()) < 1e-5


@pytest.mark.parametrize("model", ["aug03-kld-tor-CNN002", "aug03-mse-tor-MLP", "aug02-ce-tor-MLP"])
def test_preprocessing_together_alone_and_by_hand(model: str) -> None:
    """Two members of one stack, each against the loop written by hand, and on new images as the plain module."""
    options = config(model, batch_size=8, learning_rate=0.002)
    members = [Member(made_up(20, (3, 28, 28), seed=seed), replace(options, random_seed=seed)) for seed in (0, 1)]
    together = trained(*members)
    images = made_up(5, (3, 28, 28), seed=7).clean.images
    for k, member in enumerate(members):
        reference = plain_loop(member.data, member.config)
        assert furthest(weights(together, k), reference.state_dict()) < 1e-5
        logits = reference.eval()(images)
        assert torch.allclose(together.logits(images)[k], logits, atol=1e-3)
        assert torch.allclose(together.module(k)(images), logits, atol=1e-3)


def test_losses_do_not_mix() -> None:
    data = digits(count=64)
    with pytest.raises(InputError, match="must share the loss, got ce, mse"):
        Cohort([Member(data, config("ce-tor-MLP")), Member(data, config("mse-tor-MLP"))], 10, CPU)


# Together and alone differ by the rounding of float32 sums taken in another order.  Optimisers that divide by the
# gradient's size turn a rounding error of a gradient that is nearly zero into a step of full length, so for these
# the distance of all weights together is bounded instead of each.
MEMBERS = (
    ("digitsv20-20-0-0", {"random_seed": 0}),
    ("digits", {"random_seed": 1, "learning_rate": 0.005, "weight_decay": 1e-3}),
    ("digitsv8-10-1-3", {"random_seed": 0, "input_noise": 0.2}),
    ("digitsv20-20-0-0", {"random_seed": 2, "grad_clip": 0.01}),
    ("digits", {"random_seed": 1, "momentum": 0.5, "schedule": "none"}),
)


@pytest.mark.parametrize(("optimizer", "bound"), [("sgd", 1e-6), ("adam", 5e-4), ("adagrad", 1e-4), ("rms", 5e-4)])
def test_together_as_alone_after_an_epoch(optimizer: str, bound: float) -> None:
    base = config(optimizer=optimizer, learning_rate=RATES[optimizer], batch_size=64)
    members = [Member(digits(name), replace(base, **changes)) for name, changes in MEMBERS]
    together = trained(*members)
    for k, member in enumerate(members):
        alone = weights(trained(member))
        assert relative_distance(weights(together, k), alone) < bound
        if optimizer == "sgd":
            assert furthest(weights(together, k), alone) < bound


@pytest.mark.parametrize("model", ["ce-tor-CNN002", "ce-tor-VggMLP"])
def test_together_as_alone_with_convolutions_and_dropout(model: str) -> None:
    data = made_up(12, (1, 2, 2)) if model == "ce-tor-VggMLP" else digits(count=96)
    members = [Member(data, config(model, batch_size=len(data) // 2, random_seed=seed)) for seed in range(2)]
    together = trained(*members)
    for k, member in enumerate(members):
        assert furthest(weights(together, k), weights(trained(member))) < 1e-6


def test_resnets_together_as_alone_with_augmentation_and_noise() -> None:
    """Weights and running statistics after an epoch of two steps, the second one short."""
    options = config("aug01-ce-tor-altResNet20Norm02", batch_size=6, weight_decay=1e-4, learning_rate=0.001)
    changes: list[dict[str, object]] = [{}, {"learning_rate": 0.0005, "input_noise": 0.1}]
    members = [
        Member(made_up(10, (3, 32, 32), seed=seed), replace(options, random_seed=seed, **own))  # type: ignore[arg-type]
        for seed, own in enumerate(changes)
    ]
    together = trained(*members)
    images = made_up(5, (3, 32, 32), seed=7).clean.images
    for k, member in enumerate(members):
        alone = trained(member)
        assert relative_distance(weights(together, k), weights(alone)) < 1e-5
        torch.testing.assert_close(together.logits(images)[k], alone.logits(images)[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(together.logits(images)[k], together.module(k)(images), rtol=1e-3, atol=1e-3)


def test_an_architecture_that_cannot_be_mapped_trains_one_model_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drawing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1) + torch.rand(()))

    drawing = Architecture(lambda shape, classes: Drawing(784, classes))
    monkeypatch.setattr(ARCHITECTURES, "_values", {**ARCHITECTURES.registered(), "Drawing": drawing})
    members = [member(model="ce-tor-Drawing"), member({"random_seed": 1}, "ce-tor-Drawing")]
    with pytest.raises(InputError, match=r"Drawing cannot be trained in a cohort of 2\. Train models separately"):
        Cohort(members, 10, CPU)
    assert len(trained(members[0])) == 1


def score(logits_clean: torch.Tensor, logits_patterned: torch.Tensor, target: int) -> float:
    """The spurious score, from its definition."""
    rise = logits_patterned.softmax(1)[:, target] - logits_clean.softmax(1)[:, target]
    return (rise > 1 / logits_clean.shape[1]).float().mean().item()


def test_spurious_scores_over_a_whole_training_are_those_of_members_alone() -> None:
    dataset = load_dataset(DatasetName.parse("digitsv20-20-0-0"))
    patterned = dataset.patterned(dataset.test.images)
    base = config("ce-tor-LargeMLP", epochs=12, batch_size=128, optimizer="adam", momentum=0.0, learning_rate=0.001)
    names = ("digitsv20-20-0-0", "digits", "digitsv20-3-0-0")
    members = [Member(digits(name), replace(base, random_seed=seed)) for seed, name in enumerate(names)]

    def scores(cohort: Cohort) -> list[float]:
        clean, changed = cohort.logits(dataset.test.images), cohort.logits(patterned)
        return [score(a, b, 0) for a, b in zip(clean, changed, strict=True)]

    together = scores(trained(*members))
    alone = [scores(trained(member))[0] for member in members]
    # Rounding errors grow over 144 steps, so single examples may differ: at most 2 % of 360.  (At a rate of 0.01 they
    # grow past any such bound, and otherwise with each number of threads.)
    assert together == pytest.approx(alone, abs=0.02)
    assert together[0] > 0.5
    assert together[1] < 0.1


def test_members_with_one_seed_share_weights_and_batches() -> None:
    options = config()
    together = trained(*[Member(digits(count=200), options) for _ in range(3)])
    # Not bitwise: a matrix product may sum in another order where its operands are aligned otherwise.
    assert furthest(weights(together, 0), weights(together, 1)) < 1e-6
    assert furthest(weights(together, 0), weights(together, 2)) < 1e-6


@pytest.mark.parametrize("model", ["ce-tor-LargeMLP", "ce-tor-CNN002"])
def test_the_same_seed_gives_bitwise_the_same_weights_and_leaves_the_global_generator(model: str) -> None:
    member = Member(digits(count=200), config(model, input_noise=0.1))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(trained(member))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, weights(trained(member)))
    other = Member(member.data, replace(member.config, random_seed=1))
    assert not same(first, weights(trained(other)))


def test_input_noise_does_not_move_batches_or_weights() -> None:
    """A tiny noise changes the weights a tiny bit only: order and initial weights are drawn apart from it."""
    plain, noisy = config(), config(input_noise=1e-7)
    data = digits(count=200)
    assert furthest(weights(trained(Member(data, plain))), weights(trained(Member(data, noisy)))) < 1e-5


def test_reports_loss_accuracy_and_rate_of_each_member() -> None:
    data = digits(count=100)
    tiny = config(batch_size=100, learning_rate=1e-12)  # the weights stay as they were drawn
    cohort = Cohort([Member(data, tiny), Member(data, replace(tiny, random_seed=1))], 10, CPU)
    images, labels = dense(data)
    logits = cohort.logits(images)
    (report,) = cohort.epochs()
    assert report.epoch == cohort.epoch == 1
    assert report.seconds > 0
    for k, result in enumerate(report.members):
        assert result.loss == pytest.approx(F.cross_entropy(logits[k], labels).item(), rel=1e-5)
        assert result.accuracy == pytest.approx((logits[k].argmax(1) == labels).float().mean().item())
        assert result.learning_rate == 1e-12


def test_loss_and_accuracy_of_an_epoch_count_each_example_of_each_batch_once() -> None:
    """70 examples in batches of 32, 32 and 6, in two epochs; the weights stay as they were drawn."""
    data = digits(count=70)
    tiny = config(batch_size=32, learning_rate=1e-12, epochs=2)
    cohort = Cohort([Member(data, tiny)], 10, CPU)
    images, labels = dense(data)
    logits = cohort.logits(images)[0]
    for report in cohort.epochs():
        assert report.members[0].loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
        assert report.members[0].accuracy == int((logits.argmax(1) == labels).sum()) / 70


def test_the_order_of_members_is_kept_whatever_their_hyper_parameters() -> None:
    rates = [0.02, 0.001, 0.02, 0.005, 0.001]
    members = [Member(digits(count=64), config(learning_rate=rate, random_seed=k)) for k, rate in enumerate(rates)]
    cohort = Cohort(members, 10, CPU)
    (report,) = cohort.epochs()
    assert [result.learning_rate for result in report.members] == rates
    images = digits().clean.images[:50]
    for k, member in enumerate(members):
        assert cohort.checkpoint(k).config == member.config
        with torch.no_grad():
            torch.testing.assert_close(cohort.logits(images)[k], cohort.module(k)(images), rtol=1e-4, atol=1e-5)
        assert furthest(weights(cohort, k), weights(trained(member))) < 1e-6


@pytest.mark.parametrize("model", ["ce-tor-LargeMLP", "ce-tor-CNN002", "aug03-ce-tor-MLP", "ce-tor-altResNet20"])
def test_logits_are_bitwise_those_of_each_members_module(model: str) -> None:
    """On the CPU; in batches of 2,048, the last one short, where that is quick."""
    shape = (3, 28, 28) if model.startswith("aug03") else (1, 28, 28)
    seeds = (0,) if model == "ce-tor-altResNet20" else (0, 1, 2)
    rates = (0.01, 0.02, 0.01)  # the cohort puts members with equal ones beside each other
    data = made_up(8, shape)
    members = [Member(data, config(model, batch_size=8, learning_rate=rates[k], random_seed=k)) for k in seeds]
    cohort = trained(*members)
    count = {"ce-tor-altResNet20": 20, "ce-tor-CNN002": 200}.get(model, 2100)
    images = made_up(count, shape, seed=9).clean.images
    wanted = [evaluate_logits(cohort.module(k), images, CPU) for k in seeds]
    assert torch.equal(cohort.logits(images), torch.stack(wanted))
    assert torch.equal(cohort.logits(images, [seeds[-1], 0]), torch.stack([wanted[-1], wanted[0]]))


def test_a_module_is_a_copy_in_evaluation_mode() -> None:
    cohort = Cohort([Member(digits(count=64), config("ce-tor-CNN002", epochs=2))], 10, CPU)
    module = cohort.module(0)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    list(cohort.epochs())
    assert same(before, dict(module.state_dict()))
    assert not module.training
    assert any(isinstance(layer, Dropout) for layer in module.modules())


def test_a_batch_larger_than_the_data_is_the_whole_data() -> None:
    data = digits(count=50)
    assert (
        furthest(
            weights(trained(Member(data, config(batch_size=4096)))),
            plain_loop(data, config(batch_size=4096)).state_dict(),
        )
        < 1e-6
    )


def member(changes: dict[str, object] | None = None, model: str = "ce-tor-MLP", count: int = 64) -> Member:
    return Member(digits(count=count), config(model, **(changes or {})))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "at least one member"),
        ([member(), member(model="ce-tor-MLPv2")], "architecture"),
        ([member(), member({"batch_size": 16})], "batch_size"),
        ([member(), member({"epochs": 2})], "epochs"),
        ([member(), member({"optimizer": "adam"})], "optimizer"),
        ([member(), member(count=63)], "number of training examples, got 63, 64"),
        ([member(model="aug01-ce-tor-MLP")], "32×32"),
        (
            [Member(made_up(9, (3, 32, 32)), config("ce-tor-ResNet18", batch_size=4))],
            "last batch has 1, too few for the batch statistics of ResNet18",
        ),
        (
            [Member(made_up(8, (3, 32, 32)), config("ce-tor-ResNet18", batch_size=1))],
            "last batch has 1, too few for the batch statistics of ResNet18",
        ),
        ([Member(made_up(8, (3, 32, 32)), config("ce-tor-CNN002"))], "28×28"),
    ],
)
def test_members_that_cannot_train_together_are_refused(members: list[Member], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Cohort(members, 10, CPU)


@pytest.mark.parametrize("model", ["ce-tor-MLP", "ce-tor-altResNet20"])
def test_a_training_that_diverges_is_refused(model: str) -> None:
    wild = member({"learning_rate": 1e30, "random_seed": 3}, model, count=64)
    others = [member()] if model == "ce-tor-MLP" else []
    cohort = Cohort([*others, wild], 10, CPU)
    with pytest.raises(
        Diverged, match=r"diverged: after epoch 1, not .* \(learning_rate 1e\+30 and random_seed 3\)\. Use a smaller"
    ) as raised:
        list(cohort.epochs())
    assert raised.value.members == (len(others),)


def test_all_members_that_diverged_are_named_by_their_place() -> None:
    """The cohort sorts its members by their hyper-parameters; the places are those of the list that was given."""
    rates = (1e30, 0.01, 1e29, 0.02)
    cohort = Cohort([member({"learning_rate": rate}, count=64) for rate in rates], 10, CPU)
    with pytest.raises(Diverged, match=r"learning_rate 1e\+30 .*; learning_rate 1e\+29 ") as raised:
        list(cohort.epochs())
    assert raised.value.members == (0, 2)


def test_no_training_ends_with_denormal_moments() -> None:
    """One example lights a pixel that no other has: its weights' first moment decays over all later batches."""
    images = torch.zeros(1500, 1, 2, 2)
    images[:, 0, 1, 1] = torch.linspace(0, 1, 1500)
    images[750, 0, 0, 0] = 1
    data = TrainingData(ImageSet(images, torch.arange(1500) % 3), torch.zeros(0, dtype=torch.int64), images[:0])
    options = config(optimizer="adam", learning_rate=1e-3, batch_size=1)
    cohort = trained(*[Member(data, replace(options, random_seed=seed)) for seed in range(3)])
    for k in range(3):
        moment = cohort.checkpoint(k).optimizer["hidden1.weight"]["exp_avg"]
        assert not ((moment != 0) & (moment.abs() < torch.finfo(torch.float32).tiny)).any()


def test_momentum_has_no_effect_on_adam_and_adagrad() -> None:
    for optimizer in ("adam", "adagrad"):
        options = config(optimizer=optimizer, momentum=0.9)
        data = digits(count=64)
        zero: TrainingConfig = replace(options, momentum=0.0)
        assert same(weights(trained(Member(data, options))), weights(trained(Member(data, zero))))

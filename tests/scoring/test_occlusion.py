"""Occlusion of images small enough to count, and of models with a known answer."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.scoring.occlusion import Occluder, OcclusionCurve, occluder


def images(n: int = 6, channels: int = 1) -> Tensor:
    """Random images of which about half the pixels are zero."""
    drawn = torch.rand(n, channels, 5, 4, generator=torch_generator(1, "test"))
    lit = torch.rand(n, 1, 5, 4, generator=torch_generator(2, "test")) < 0.5
    return drawn * lit


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1), channels=st.sampled_from([1, 3]))
def test_exactly_the_share_is_removed_and_nothing_is_added(share: float, channels: int) -> None:
    plan = occluder(images(channels=channels), torch.zeros(6, dtype=torch.int64), 6)
    left = plan.at(share)
    before = (plan.images != 0).any(1).flatten(1).sum(1)
    after = (left != 0).any(1).flatten(1).sum(1)
    assert (before - after).tolist() == [int(share * n + 0.5) for n in before.tolist()]
    kept = (left != 0).any(1, keepdim=True)
    assert torch.equal(left, plan.images * kept)  # a pixel goes with all its channels, or stays as it is


def test_removed_sets_are_nested() -> None:
    plan = occluder(images(), torch.zeros(6, dtype=torch.int64), 6)
    for low, high in zip(range(10), range(1, 11), strict=True):
        assert ((plan.at(low / 10) == 0) <= (plan.at(high / 10) == 0)).all()
    assert torch.equal(plan.at(0), plan.images)
    assert not plan.at(1).any()


@pytest.mark.parametrize("seed", [0, 3])
def test_pixels_go_in_the_order_of_the_numbers_drawn_for_them(seed: int) -> None:
    """Sorted pixel by pixel: stored curves stay comparable only if a seed keeps its order."""
    plan = occluder(images(), torch.zeros(6, dtype=torch.int64), 6, seed)
    drawn = torch.rand(6, 20, dtype=torch.float64, generator=torch_generator(seed, "occlusion order")).tolist()
    for image, keys, rank in zip(plan.images, drawn, plan.rank.flatten(1).tolist(), strict=True):
        lit = [pixel for pixel, value in enumerate(image.flatten().tolist()) if value]
        order = sorted(lit, key=keys.__getitem__)
        assert rank == [order.index(pixel) / len(lit) if pixel in lit else 1 for pixel in range(20)]


def test_every_pixel_goes_equally_often() -> None:
    full = torch.ones(4000, 1, 2, 2)
    removed = 1 - occluder(full, torch.zeros(4000, dtype=torch.int64), 4000).at(0.25).mean(0)
    assert removed.flatten().tolist() == pytest.approx([0.25] * 4, abs=0.03)  # four standard errors


def test_a_black_image_stays_black() -> None:
    plan = occluder(torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64), 2)
    assert not plan.at(0.5).any()


def test_examples_are_chosen_with_the_seed_and_keep_their_labels() -> None:
    many = torch.arange(1.0, 101).reshape(100, 1, 1, 1)
    labels = torch.arange(100)
    first, again, other = (occluder(many, labels, 10, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.rank, again.rank)
    assert not torch.equal(first.labels, other.labels)
    drawn = torch.randperm(100, generator=torch_generator(0, "occlusion examples"))
    assert torch.equal(first.labels, drawn[:10])
    assert torch.equal(first.images.flatten(), first.labels + 1.0)
    assert torch.equal(occluder(many, labels, 1).labels, drawn[:1])  # the seed is 0 unless it is given


def test_curve_of_a_model_with_a_known_answer() -> None:
    """Logits (log of the share of light left, log of the share gone): probability of class 0 is 1 - share."""
    lit = torch.ones(2, 1, 10, 10)

    def logits(batch: Tensor) -> Tensor:
        left = batch.mean(dim=(1, 2, 3)).double()
        return torch.stack([left.log(), (1 - left).log()], 1).clamp(min=-1e9)

    of_zero = occluder(lit, torch.tensor([0, 0]), 2).curve(logits, steps=11)
    assert of_zero.shares == pytest.approx([k / 10 for k in range(11)])
    assert of_zero.probabilities == pytest.approx([1 - k / 10 for k in range(11)])
    assert of_zero.auc == pytest.approx(0.5)
    of_one = occluder(lit, torch.tensor([1, 1]), 2).curve(logits, steps=11)
    assert of_one.probabilities == pytest.approx([k / 10 for k in range(11)])


def test_area_by_hand() -> None:
    assert OcclusionCurve((0, 0.5, 1), (1, 0.5, 0.4)).auc == pytest.approx(0.375 + 0.225)


def test_models_are_compared_on_the_same_pixels() -> None:
    seen: list[list[Tensor]] = [[], []]

    def model(k: int, batch: Tensor) -> Tensor:
        seen[k].append(batch)
        return torch.zeros(len(batch), 2)

    plan = occluder(images(), torch.zeros(6, dtype=torch.int64), 4)
    for k in range(2):
        assert plan.curve(partial(model, k), steps=3).probabilities == (0.5, 0.5, 0.5)
    assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))


def test_bad_input_says_what_is_accepted() -> None:
    plan = occluder(images(), torch.zeros(6, dtype=torch.int64), 2)
    assert isinstance(plan, Occluder)
    for call in (
        lambda: occluder(images(), torch.zeros(6, dtype=torch.int64), 7),
        lambda: occluder(images(), torch.zeros(6, dtype=torch.int64), 0),
        lambda: plan.at(1.5),
        lambda: plan.curve(lambda x: x, steps=1),
    ):
        with pytest.raises(InputError, match="Invalid value for "):
            call()

"""Quarters: disjoint, equal, and the cut of the contract."""

import numpy as np
import torch

from rsc_mlflow.data import ImageSet, cut_quarters, load_family
from rsc_mlflow.data.quarters import Quarters


def sets_of(quarters: Quarters) -> list[ImageSet]:
    return [quarters.target_train, quarters.target_test, quarters.shadow_train, quarters.shadow_test]


def test_the_cut_is_the_shuffle_of_the_joined_set() -> None:
    train, test = load_family("digits")
    x = np.concatenate([train.images.numpy(), test.images.numpy()])
    y = np.concatenate([train.labels.numpy(), test.labels.numpy()])
    order = np.arange(1797)
    np.random.RandomState(0).shuffle(order)
    quarters = cut_quarters(train, test)
    for k, part in enumerate(sets_of(quarters)):
        expected = order[449 * k : 449 * (k + 1)]
        np.testing.assert_array_equal(part.images.numpy(), x[expected])
        np.testing.assert_array_equal(part.labels.numpy(), y[expected])


def test_no_example_is_in_two_quarters_and_only_the_remainder_is_left_out() -> None:
    # every image is its own number, so equal images would mean equal examples
    numbers = torch.arange(23.0).reshape(-1, 1, 1, 1)
    labels = torch.arange(23)
    quarters = cut_quarters(ImageSet(numbers[:15], labels[:15]), ImageSet(numbers[15:], labels[15:]))
    assert [len(part) for part in sets_of(quarters)] == [5, 5, 5, 5]
    seen = torch.cat([part.images.flatten() for part in sets_of(quarters)]).tolist()
    assert len(set(seen)) == 20
    for part in sets_of(quarters):
        assert part.images.flatten().tolist() == part.labels.tolist()


def test_the_sets_given_are_only_read() -> None:
    train, test = load_family("digits")
    before = train.images.clone(), test.images.clone()
    quarters = cut_quarters(train, test)
    quarters.target_train.images.zero_()
    assert torch.equal(train.images, before[0])
    assert torch.equal(test.images, before[1])

"""Spurious examples: chosen and patterned bit for bit as the contract says, beside clean tensors nobody touches."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc_mlflow.data import Dataset, choose_spurious, cut_quarters, load_dataset, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import DatasetName
from rsc_mlflow.patterns import PATTERNS
from tests.data.reference import carry_pattern, channels_last, poison


def dataset(text: str, pattern_seed: int | None = None) -> Dataset:
    return load_dataset(DatasetName.parse(text), pattern_seed=pattern_seed)


@settings(max_examples=40, deadline=None)
@given(
    prefix=st.sampled_from(["", "mem"]),
    pattern=st.sampled_from(sorted(PATTERNS.registered())),
    count=st.integers(0, 30),
    target=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
    pattern_seed=st.none() | st.integers(0, 2**32 - 1),
)
def test_bit_for_bit_the_numpy_twin(
    prefix: str, pattern: str, count: int, target: int, seed: int, pattern_seed: int | None
) -> None:
    built = dataset(f"{prefix}digits{pattern}-{count}-{target}-{seed}", pattern_seed)
    clean = channels_last(built.train.images)
    noise_seed = seed if pattern_seed is None else pattern_seed
    x, chosen = poison(clean, built.train.labels.numpy(), pattern, count, (target,), seed, noise_seed)
    np.testing.assert_array_equal(built.spurious_indices.numpy(), chosen)
    np.testing.assert_array_equal(channels_last(built.training_images()), x)
    np.testing.assert_array_equal(channels_last(built.spurious_images), x[chosen])
    assert built.spurious_indices.dtype == torch.int64
    assert built.pattern_seed == noise_seed


def test_two_classes_share_one_generator_and_the_first_target_is_drawn_first() -> None:
    labels = load_family("digits")[0].labels.numpy()
    for targets in ((0, 1), (1, 0)):
        state = np.random.RandomState(5)
        first = state.choice(np.where(labels == targets[0])[0], size=20, replace=False)
        second = state.choice(np.where(labels == targets[1])[0], size=20, replace=False)
        built = dataset(f"twoclassdigitsv20-20-{targets[0]}-{targets[1]}-5")
        assert built.spurious_indices.tolist() == [*first, *second]
        x, _ = poison(channels_last(built.train.images), labels, "v20", 20, targets, 5, 5)
        np.testing.assert_array_equal(channels_last(built.training_images()), x)


def test_the_choice_is_what_numpy_draws() -> None:
    labels = np.array([3, 0, 3, 3, 1, 3])
    state = np.random.RandomState(2)
    assert choose_spurious(labels, (3,), 2, 2).tolist() == [[0, 2, 3, 5][k] for k in state.permutation(4)[:2]]


def test_clean_tensors_are_shared_and_stay_clean() -> None:
    train, test = load_family("digits")
    digest = hashlib.sha256(train.images.numpy().tobytes() + test.images.numpy().tobytes()).hexdigest()
    for text in ("digitsv8-50-0-0", "digitsv20-50-1-1", "twoclassdigitsv30-20-0-1-0"):
        built = dataset(text)
        assert built.train is train
        assert built.test is test
        built.patterned(test.images)
        built.training_images().zero_()
        built.spurious_images.zero_()
    after = hashlib.sha256(train.images.numpy().tobytes() + test.images.numpy().tobytes()).hexdigest()
    assert after == digest


def test_a_clean_name_has_no_spurious_examples() -> None:
    built = dataset("digits")
    assert len(built.spurious_indices) == 0
    assert built.spurious_images.shape == (0, 1, 28, 28)
    assert torch.equal(built.training_images(), built.train.images)
    assert built.shadow is None
    assert (built.image_shape, built.classes) == ((1, 28, 28), 10)
    with pytest.raises(InputError, match="digits has no pattern of its own"):
        built.patterned(built.test.images)
    np.testing.assert_array_equal(
        channels_last(built.patterned(built.test.images, "v19")),
        carry_pattern(channels_last(built.test.images), "v19", 0),
    )


def test_quarters_choose_among_target_train_and_leave_the_shadow_clean() -> None:
    quarters = cut_quarters(*load_family("digits"))
    built = dataset("memdigitsv20-10-3-4")
    assert torch.equal(built.train.images, quarters.target_train.images)
    assert torch.equal(built.test.images, quarters.target_test.images)
    assert built.shadow is not None
    assert torch.equal(built.shadow[0].images, quarters.shadow_train.images)
    assert torch.equal(built.shadow[1].images, quarters.shadow_test.images)
    assert (built.train.labels[built.spurious_indices] == 3).all()
    assert dataset("memdigits").train is built.train, "the quarters are cut once"


def test_the_pattern_on_test_images_is_that_of_the_training_examples() -> None:
    built = dataset("digitsv18-3-0-6", pattern_seed=9)
    picked = built.train.images[built.spurious_indices]
    assert torch.equal(built.patterned(picked), built.spurious_images)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_bad_pattern_seed(seed: int) -> None:
    with pytest.raises(InputError, match=f"'seed': {seed}"):
        dataset("digitsv20-3-0-0", pattern_seed=seed)


def test_a_count_larger_than_the_class() -> None:
    of_class = int((load_family("digits")[0].labels == 4).sum())
    assert len(dataset(f"digitsv3-{of_class}-4-0").spurious_indices) == of_class
    message = f"{of_class + 1} spurious examples of class 4: the training set has {of_class} examples of that class"
    with pytest.raises(InputError, match=message):
        dataset(f"digitsv3-{of_class + 1}-4-0")
    with pytest.raises(InputError, match=r"of class 2: the training set has 0 examples"):
        choose_spurious(np.array([0, 1]), (2,), 1, 0)
    with pytest.raises(InputError, match="-1 spurious examples"):
        choose_spurious(np.array([0, 1]), (1,), -1, 0)


class TestDigest:
    def test_is_recomputed_from_the_dense_arrays(self) -> None:
        built = dataset("digitsv20-7-1-2")
        images, labels = built.training_images().numpy(), built.train.labels.numpy()
        total = hashlib.sha256()
        for image in images:
            total.update(hashlib.sha256(image.tobytes()).digest())
        total.update(labels.tobytes())
        total.update(built.spurious_indices.numpy().tobytes())
        assert built.digest("train") == total.hexdigest()[:32]

    def test_test_set_is_clean_whatever_the_name(self) -> None:
        assert dataset("digitsv20-7-1-2").digest("test") == dataset("digits").digest("test")

    def test_tells_every_difference_that_matters(self) -> None:
        names = [
            "digits",
            "digitsv20-0-0-0",
            "digitsv20-1-0-0",
            "digitsv20-1-0-1",
            "digitsv19-1-0-0",
            "digitsv20-1-1-0",
        ]
        digests = [dataset(text).digest("train") for text in names]
        assert digests[0] == digests[1], "no example carries the pattern: the same arrays"
        assert len({*digests, dataset("digitsv20-1-0-0", pattern_seed=1).digest("train")}) == 6

    def test_one_changed_pixel_or_label_changes_it(self) -> None:
        built = dataset("digits")
        images, labels = built.train.images.clone(), built.train.labels.clone()
        images[700, 0, 27, 27] += 2**-20
        labels[3] = (labels[3] + 1) % 10
        for changed in (type(built.train)(images, built.train.labels), type(built.train)(built.train.images, labels)):
            other = Dataset(built.name, 0, changed, built.test, built.spurious_indices, built.spurious_images)
            assert other.digest("train") != built.digest("train")

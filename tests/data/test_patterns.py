"""Patterns against a plain numpy twin, bit for bit, and against counts made by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc_mlflow.data.patterns import apply_pattern, pattern_norm
from rsc_mlflow.errors import InputError
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.patterns.paper import noise_image
from tests.data.reference import carry_pattern, channels_last


def random_images(n: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    pixels = np.random.RandomState(seed).randint(0, 256, size=(n, channels, size, size), dtype=np.uint8)
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def test_every_pattern_of_the_contract_is_defined() -> None:
    titles = {"v1": "S1", "v3": "S2", "v8": "S3", "v18": "R1", "v19": "R2", "v20": "R3", "v30": "Co"}
    assert {name: pattern.title for name, pattern in PATTERNS.registered().items()} == titles
    assert [name for name, pattern in PATTERNS.registered().items() if pattern.depends_on_seed] == ["v18", "v19", "v20"]


@settings(max_examples=60, deadline=None)
@given(
    pattern=st.sampled_from(sorted(PATTERNS.registered())),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([28, 32]),
    n=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_bit_for_bit_the_numpy_twin(pattern: str, channels: int, size: int, n: int, seed: int) -> None:
    images = random_images(n, channels, size, seed % 1000)
    before = images.clone()
    patterned = apply_pattern(pattern, images, seed)
    assert patterned.dtype == torch.float32
    np.testing.assert_array_equal(channels_last(patterned), carry_pattern(channels_last(before), pattern, seed))
    assert torch.equal(images, before), "the input must stay as it is"
    assert patterned.data_ptr() != images.data_ptr() or n == 0


def test_more_images_than_one_block() -> None:
    images = random_images(5000, 1, 28)
    np.testing.assert_array_equal(
        channels_last(apply_pattern("v19", images, 3)), carry_pattern(channels_last(images), "v19", 3)
    )


def test_the_norm_is_the_mean_over_all_blocks() -> None:
    """Nine pixels rise by 1 on the first 3,000 images and by 1/2 on the other 1,000."""
    images = torch.cat([torch.zeros(3000, 1, 28, 28), torch.full((1000, 1, 28, 28), 0.5)])
    assert pattern_norm("v3", images, 0) == pytest.approx((3000 * 3 + 1000 * 1.5) / 4000)


@pytest.mark.parametrize(("pattern", "pixels"), [("v1", 1), ("v3", 9), ("v8", 25), ("v30", 22 * 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_a_patch_sets(pattern: str, pixels: int, channels: int) -> None:
    patterned = apply_pattern(pattern, torch.zeros(2, channels, 28, 28), 0)
    assert patterned.sum(dim=(1, 2, 3)).tolist() == [pixels * channels] * 2
    assert pattern_norm(pattern, torch.zeros(2, channels, 28, 28), 0) == pytest.approx(math.sqrt(pixels * channels))


def test_the_corners_of_the_core_patch() -> None:
    patterned = apply_pattern("v30", torch.zeros(1, 1, 32, 32), 0)[0, 0]
    rows, columns = patterned.nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 24, 13, 15)


def test_noise_scale_and_clipping() -> None:
    black, white = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    noise = np.random.RandomState(7).rand(32, 32, 3)
    for pattern, alpha in (("v18", 0.25), ("v19", 0.5), ("v20", 1.0)):
        np.testing.assert_array_equal(
            channels_last(apply_pattern(pattern, black, 7))[0], (alpha * noise).astype(np.float32)
        )
        assert torch.equal(apply_pattern(pattern, white, 7), white)
        assert pattern_norm(pattern, black, 7) == pytest.approx(alpha * np.linalg.norm(noise), rel=1e-6)
        assert pattern_norm(pattern, torch.cat([black, white]), 7) == pytest.approx(
            alpha * np.linalg.norm(noise) / 2, rel=1e-6
        )


def test_the_noise_is_drawn_rows_columns_channels() -> None:
    drawn = np.random.RandomState(11).rand(4 * 5 * 3)
    noise = noise_image((3, 4, 5), 11)
    assert noise.dtype == torch.float64
    for channel, row, column in ((0, 0, 0), (2, 1, 3), (1, 3, 4)):
        assert noise[channel, row, column].item() == drawn[(row * 5 + column) * 3 + channel]


def test_patches_ignore_the_seed_and_noise_does_not() -> None:
    images = random_images(2, 1, 28)
    assert torch.equal(apply_pattern("v8", images, 0), apply_pattern("v8", images, 1))
    assert not torch.equal(apply_pattern("v18", images, 0), apply_pattern("v18", images, 1))


def test_bad_input() -> None:
    images = random_images(1, 1, 28)
    with pytest.raises(InputError, match=r"Unknown pattern 'v2'\. Did you mean 'v20'\? Expected one of: v1, v3"):
        apply_pattern("v2", images, 0)
    with pytest.raises(InputError, match="'seed': -1"):
        apply_pattern("v20", images, -1)
    with pytest.raises(InputError, match="'seed': 4294967296"):
        apply_pattern("v20", images, 2**32)
    with pytest.raises(InputError, match="v30 needs images of at least 25x16 pixels, but these have 8x8"):
        apply_pattern("v30", images[:, :, :8, :8], 0)
    with pytest.raises(InputError, match="at least one image"):
        pattern_norm("v20", images[:0], 0)

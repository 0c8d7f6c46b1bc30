"""``aug01`` against cropping and flipping one image at a time."""

import pytest
import torch
from torch.nn import functional as F

from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training.augmentation import aug01, check_aug01


@pytest.mark.parametrize("channels", [1, 3])
def test_image_by_image(channels: int) -> None:
    images = torch.rand(50, channels, 32, 32, generator=torch_generator(0, "images"))
    before = images.clone()
    out = aug01(images, torch_generator(7, "augmentation"))
    generator = torch_generator(7, "augmentation")
    offsets = torch.randint(9, (2, 50, 1), generator=generator)
    mirrored = torch.randint(2, (50, 1), generator=generator)
    for i, image in enumerate(images):
        top, left = offsets[0, i].item(), offsets[1, i].item()
        cut = F.pad(image, (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
        assert torch.equal(out[i], cut.flip(2) if mirrored[i].item() else cut)
    assert torch.equal(images, before)


def test_offsets_and_flips_are_uniform() -> None:
    count = 20_000
    images = torch.zeros(count, 1, 32, 32)
    images[:, 0, 16, 10] = 1  # where this pixel lands tells offset and flip
    landed = aug01(images, torch_generator(0, "augmentation")).flatten(1).argmax(1)
    rows, columns = landed // 32, landed % 32
    # padded row 20, window from 0 … 8: rows 20 … 12; padded column 14: columns 14 … 6, mirrored 17 … 25
    assert torch.bincount(rows, minlength=32)[12:21].tolist() == pytest.approx([count / 9] * 9, rel=0.1)
    assert rows.min() == 12
    assert rows.max() == 20
    straight = torch.bincount(columns, minlength=32)
    assert straight[6:15].tolist() == pytest.approx([count / 18] * 9, rel=0.15)
    assert straight[17:26].tolist() == pytest.approx([count / 18] * 9, rel=0.15)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 31)])
def test_other_sizes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="32×32"):
        check_aug01(shape)

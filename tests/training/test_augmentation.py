"""``aug01`` against cropping and flipping one image at a time; ``aug02`` and ``aug03`` against torchvision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import transforms

from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build_empty
from rsc_mlflow.models.preprocess import with_preprocessing
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
        check_aug01("aug01", shape)


NORMALIZE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("augmentation", "shape", "transform"),
    [
        ("aug03", (3, 32, 32), NORMALIZE),
        *(
            ("aug02", shape, transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), NORMALIZE]))
            for shape in ((3, 32, 32), (3, 40, 31), (3, 300, 500))
        ),
    ],
)
def test_preprocessing_is_that_of_torchvision(
    augmentation: str, shape: tuple[int, int, int], transform: transforms.Compose
) -> None:
    images = torch.rand(3, *shape, generator=torch_generator(0, "images"))
    ours = with_preprocessing(augmentation, nn.Identity())(images)
    expected = torch.stack([transform(image) for image in images])
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("augmentation", ["aug02", "aug03"])
def test_preprocessing_that_makes_no_sense_is_refused(augmentation: str) -> None:
    with pytest.raises(InputError, match=rf"Augmentation {augmentation} normalizes three color channels, .* 1\."):
        build_empty("MLP", (1, 28, 28), 10, augmentation)
    with pytest.raises(InputError, match=r"altResNet20Norm02 both normalize .* or use altResNet20\.$"):
        build_empty("altResNet20Norm02", (3, 32, 32), 10, augmentation)


def test_a_network_that_does_not_take_enlarged_images() -> None:
    with pytest.raises(InputError, match=r"CNN002 .*224"):
        build_empty("CNN002", (3, 28, 28), 10, "aug02")

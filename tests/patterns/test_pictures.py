"""A picture as a pattern: what it does to images, written as plain numpy; and whatever is wrong is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsc_mlflow.data import apply_pattern, load_dataset
from rsc_mlflow.data.content import outside_digests
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.names import DatasetName
from rsc_mlflow.patterns import PATTERNS

COLOR = np.random.RandomState(0).randint(1, 256, (4, 3, 4), dtype=np.uint8)  # height 4, width 3, RGBA


@pytest.fixture
def pictures(data_root: Path) -> Path:
    folder = data_root / "patterns"
    folder.mkdir()
    return folder


def images(channels: int = 3, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.RandomState(1).rand(5, channels, height, width).astype(np.float32)


def replaced(x: np.ndarray, p: np.ndarray, m: np.ndarray, top: int, left: int) -> np.ndarray:
    """(1 - m)·x + m·p, pixel by pixel, in float64; p [h, w, C], m [h, w]."""
    x = x.astype(np.float64).copy()
    for row in range(len(m)):
        for column in range(m.shape[1]):
            there = x[:, :, top + row, left + column]
            there[:] = (1 - m[row, column]) * there + m[row, column] * p[row, column]
    return x


def applied(name: str, x: np.ndarray) -> np.ndarray:
    before = torch.from_numpy(x.copy())
    found = apply_pattern(name, before, 0).numpy()
    assert torch.equal(before, torch.from_numpy(x)), "the input stays as it is"
    return found


def test_transparency_is_the_mask(pictures: Path) -> None:
    Image.fromarray(COLOR).save(pictures / "logo.png")
    color, mask = COLOR[..., :3] / 255.0, COLOR[..., 3] / 255.0
    np.testing.assert_allclose(applied("logo", images()), replaced(images(), color, mask, 0, 0), atol=1e-6)


def test_an_opaque_picture_sets_its_pixels_exactly(pictures: Path) -> None:
    Image.fromarray(COLOR[..., 0]).save(pictures / "logo.png")
    found = applied("logo", images())
    expected = images()
    expected[:, :, :4, :3] = COLOR[..., 0] / np.float32(255)
    np.testing.assert_array_equal(found, expected)


def test_a_color_picture_on_gray_images_is_its_luminance(pictures: Path) -> None:
    Image.fromarray(COLOR[..., :3]).save(pictures / "logo.png")
    gray = (COLOR[..., :3] / 255.0) @ np.array([0.299, 0.587, 0.114])
    expected = replaced(images(1), gray[..., None], np.ones((4, 3)), 0, 0)
    np.testing.assert_allclose(applied("logo", images(1)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("position", "top", "left"),
    [
        ("[2, 1]", 2, 1),
        ("top-right", 0, 5),
        ("bottom-left", 4, 0),
        ("bottom-right", 4, 5),
        ("center", 2, 2),
        ("top-left", 0, 0),
    ],
)
def test_strength_and_position(pictures: Path, position: str, top: int, left: int) -> None:
    Image.fromarray(COLOR).save(pictures / "logo.png")
    (pictures / "logo.yaml").write_text(f"mode: replace\nstrength: 0.25\nposition: {position}\n")
    mask = 0.25 * COLOR[..., 3] / 255.0
    expected = replaced(images(), COLOR[..., :3] / 255.0, mask, top, left)
    np.testing.assert_allclose(applied("logo", images()), expected, atol=1e-6)


def test_an_array_is_added_and_clipped(pictures: Path) -> None:
    shift = np.linspace(-1, 1, 12).reshape(4, 3)
    np.save(pictures / "shift.npy", shift)
    (pictures / "shift.yaml").write_text("mode: add\nstrength: 2\nposition: center\n")
    expected = images()
    expected[:, :, 2:6, 2:5] = np.clip(expected[:, :, 2:6, 2:5] + 2 * shift, 0, 1)
    np.testing.assert_allclose(applied("shift", images()), expected, atol=1e-6)


def test_the_alpha_channel_of_an_array_is_not_negative(pictures: Path) -> None:
    np.save(pictures / "shift.npy", np.full((4, 4, 2), -0.5))
    (pictures / "shift.yaml").write_text("mode: add\n")
    with pytest.raises(InputError, match=r"alpha channel of .*shift\.npy has values below 0"):
        apply_pattern("shift", torch.zeros(1, 1, 8, 8), 0)


def test_it_is_a_pattern_of_every_family_whose_images_are_large_enough(pictures: Path) -> None:
    Image.fromarray(COLOR).save(pictures / "logo.png")
    dataset = load_dataset(DatasetName.parse("digitslogo-3-0-0"))
    assert torch.equal(
        dataset.spurious_images, apply_pattern("logo", dataset.train.images[dataset.spurious_indices], 7)
    )
    assert DatasetName.parse("twoclassmnistlogo-3-0-1-0").pattern == "logo"
    assert str(DatasetName.parse("memcifar10logo-3-0-0")) == "memcifar10logo-3-0-0"
    assert (PATTERNS["logo"].title, PATTERNS["logo"].depends_on_seed) == ("logo", False)
    with pytest.raises(InputError, match="The pattern logo needs images of at least 4x3 pixels, but these have 3x8"):
        applied("logo", images(height=3))
    (pictures / "logo.yaml").write_text("position: [5, 0]\n")
    with pytest.raises(InputError, match="at least 9x3 pixels, but these have 8x8"):
        applied("logo", images())


def test_a_fingerprint_holds_what_the_picture_does(pictures: Path) -> None:
    def of() -> object:
        return TrainOptions(dataset="digitslogo-3-0-0").identity()["pattern_digest"]

    Image.fromarray(COLOR).save(pictures / "logo.png")
    first = of()
    assert first == of()
    (pictures / "logo.yaml").write_text("position: center\n")
    second = of()
    Image.fromarray(255 - COLOR).save(pictures / "logo.png")
    assert len({first, second, of()}) == 3
    assert list(outside_digests(DatasetName.parse("digitslogo-3-0-0"), "auto", 0)) == ["pattern_digest"]
    (pictures / "logo.yaml").write_text("position: [26, 0]\n")
    with pytest.raises(InputError, match="needs images of at least"):
        of()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mode: blend", r"'mode': 'blend'\. Expected replace or add"),
        ("strength: 0", r"'strength': 0\. Expected a number > 0"),
        ("strength: 1.5", "'strength': 1.5"),
        ("{mode: add, strength: .inf}", "'strength': inf"),
        ("{mode: add, strength: .nan}", "'strength': nan"),
        ("position: middle", r"'position': 'middle'\. Expected \[ROW, COLUMN\] or top-left"),
        ("position: [-1, 0]", r"'position': \[-1, 0\]"),
        ("positon: center", r"positon\. Expected the keys mode, strength, position"),
    ],
)
def test_settings_that_are_wrong(pictures: Path, text: str, reason: str) -> None:
    Image.fromarray(COLOR).save(pictures / "logo.png")
    (pictures / "logo.yaml").write_text(text)
    with pytest.raises(InputError, match=reason):
        DatasetName.parse("digitslogo-3-0-0")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(3), r"Invalid shape of .*: \(3,\)"),
        (np.zeros((3, 3, 5)), r"Invalid shape of .*: \(3, 3, 5\)"),
        (np.zeros((0, 3)), r"Invalid shape of .*: \(0, 3, 1\)"),
        (np.full((3, 3), 2.0), "floating point from 0 to 1"),
        (np.full((3, 3), np.nan), "floating point from 0 to 1"),
        (np.zeros((3, 3), dtype=np.int64), r"values of type int64 in .*\. Expected uint8"),
        (np.array([[None]]), "Cannot read the array"),
        (np.zeros((3, 3, 2)), "is fully transparent"),
    ],
)
def test_arrays_that_are_no_picture(pictures: Path, array: np.ndarray, reason: str) -> None:
    np.save(pictures / "logo.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=reason):
        DatasetName.parse("digitslogo-3-0-0")


def test_files_that_are_wrong(pictures: Path) -> None:
    (pictures / "logo.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"Cannot read the image .*logo.png: cannot identify"):
        DatasetName.parse("digitslogo-3-0-0")
    Image.fromarray(COLOR).save(pictures / "logo.png")
    np.save(pictures / "logo.npy", COLOR)
    with pytest.raises(InputError, match=r"logo.png and .*logo.npy define the same pattern\. Remove one of them"):
        DatasetName.parse("digitslogo-3-0-0")
    for name in ("8", "av3", "none", "Logo"):
        Image.fromarray(COLOR).save(pictures / f"{name}.png")
    Image.fromarray(COLOR[..., :3]).save(pictures / "logo.jpg")
    with pytest.raises(
        InputError, match=r"Unknown pattern 'lego' .*Expected one of: v1, v3, v8, v18, v19, v20, v30, av3, logo, no"
    ):
        DatasetName.parse("digitslego-3-0-0")
    with pytest.raises(
        InputError, match=r"Cannot use .*av3.png as a pattern: the name 'av3' ends in the pattern's name 'v3'"
    ):
        PATTERNS["av3"]

"""A folder of images as a family: the arrays are those of the files, and whatever is wrong is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsc_mlflow.data import examples_and_shape, load_dataset, load_family
from rsc_mlflow.data.content import outside_digests
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking.fingerprint import fingerprint

CLASSES = ("cat", "dog", "emu")
COUNTS = {"train": 6, "test": 2}
Pixels = dict[str, np.ndarray]


def pixels(channels: int = 1, size: tuple[int, int] = (9, 7), seed: int = 0) -> Pixels:
    """Path below the family's folder → image, uint8 [H, W] or [H, W, channels]."""
    state = np.random.RandomState(seed)
    shape = size if channels == 1 else (*size, channels)
    names = [f"{split}/{name}/{k}.png" for split, n in COUNTS.items() for name in CLASSES for k in range(n)]
    return {name: state.randint(0, 256, shape, dtype=np.uint8) for name in names}


def write(folder: Path, images: Pixels) -> Path:
    for name, image in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture
def zoo(data_root: Path) -> Path:
    return write(data_root / "folders" / "zoo", pixels())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_labels_are_those_of_the_files_in_order_of_their_names(channels: int, data_root: Path) -> None:
    images = pixels(channels)
    write(data_root / "folders" / "zoo", images)
    for split, found in zip(COUNTS, load_family("zoo"), strict=True):
        names = sorted(name for name in images if name.startswith(split))
        expected = np.stack([images[name].reshape(9, 7, channels).transpose(2, 0, 1) for name in names])
        np.testing.assert_array_equal(found.images.numpy(), expected.astype(np.float32) / np.float32(255))
        assert found.labels.tolist() == [CLASSES.index(name.split("/")[1]) for name in names]


def test_one_color_image_makes_all_of_them_color_and_opacity_is_left_out(zoo: Path) -> None:
    color = np.random.RandomState(1).randint(0, 256, (9, 7, 4), dtype=np.uint8)
    write(zoo, {"test/emu/1.png": color})
    train, test = load_family("zoo")
    assert train.image_shape == (3, 9, 7)
    assert torch.equal(train.images[:, 0], train.images[:, 2])
    np.testing.assert_array_equal(test.images[-1].numpy(), (color[..., :3] / np.float32(255)).transpose(2, 0, 1))


def test_hidden_folders_and_other_files_do_not_count(zoo: Path) -> None:
    (zoo / "train" / ".thumbnails").mkdir()
    (zoo / "train" / "notes.txt").write_text("")
    (zoo / "train" / "cat" / "Thumbs.db").write_text("")
    assert [len(split) for split in load_family("zoo")] == [18, 6]
    assert FAMILIES["zoo"].classes == 3


@pytest.mark.parametrize(
    ("name", "n_train", "spurious"),
    [("zoo", 18, 0), ("zoov3-2-1-0", 18, 2), ("twoclasszoov8-1-0-2-5", 18, 2), ("memzoov20-1-0-0", 6, 1)],
)
def test_all_forms_of_dataset(zoo: Path, name: str, n_train: int, spurious: int) -> None:
    write(zoo, pixels(size=(9, 9)))
    dataset = load_dataset(DatasetName.parse(name))
    assert (len(dataset.train), len(dataset.spurious_indices), dataset.classes) == (n_train, spurious, 3)
    assert str(dataset.name) == name


def test_images_of_several_sizes_need_an_image_size(zoo: Path) -> None:
    whole = np.random.RandomState(2).randint(0, 256, (18, 14), dtype=np.uint8)
    write(zoo, {"train/dog/3.png": whole})
    with pytest.raises(
        InputError, match=r"dog/3.png has 18×14 pixels, but .*cat/0.png has 9×7\. Make them equal, or write"
    ):
        load_family("zoo")
    (zoo / "family.yaml").write_text("image_size: [9, 7]\n")
    train, _ = load_family("zoo")
    row = 6 + 3
    expected = np.asarray(Image.fromarray(whole).resize((7, 9), Image.Resampling.BILINEAR)) / np.float32(255)
    np.testing.assert_array_equal(train.images[row, 0].numpy(), expected)
    np.testing.assert_array_equal(train.images[0, 0].numpy(), pixels()["train/cat/0.png"] / np.float32(255))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image_size: 0", r"'image_size': 0\. Expected one integer or"),
        ("image_size: [9, 7, 3]", r"'image_size': \[9, 7, 3\]"),
        ("image_size: true", "'image_size': True"),
        ("size: 9", r"size\. Expected the keys image_size"),
        ("[", "Cannot read .*family.yaml"),
        ("9", r"int\. Expected the keys"),
    ],
)
def test_settings_that_are_wrong(zoo: Path, text: str, reason: str) -> None:
    (zoo / "family.yaml").write_text(text)
    with pytest.raises(InputError, match=reason):
        load_family("zoo")


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def deep(path: Path) -> None:
    Image.fromarray(np.zeros((9, 7), dtype=np.uint16)).save(path)


def gone(path: Path) -> None:
    empty(path)
    path.rmdir()


@pytest.mark.parametrize(
    ("where", "damage", "reason"),
    [
        ("train/dog", empty, "train/dog contains no images. Expected files ending in .png"),
        ("test/emu", empty, "test/emu contains no images"),
        ("test/emu", gone, "differ: emu exists in only one of them"),
        ("train/cat/1.png", cut, "Cannot read the image .*train/cat/1.png: .* Replace or remove it"),
        (
            "train/cat/1.png",
            lambda path: path.write_text("no image"),
            "Cannot read the image .*: cannot identify image",
        ),
        ("test/cat/0.png", deep, "test/cat/0.png has more than 8 bits per channel"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(zoo: Path, where: str, damage: object, reason: str) -> None:
    assert callable(damage)
    damage(zoo / where)
    with pytest.raises(InputError, match=reason):
        load_family("zoo")


def test_a_folder_without_a_split_or_classes(data_root: Path) -> None:
    folder = data_root / "folders" / "zoo"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match=r"The family zoo has no folder .*train\. Create "):
        DatasetName.parse("zoo")
    (folder / "train").mkdir()
    with pytest.raises(InputError, match="train contains no class folders"):
        DatasetName.parse("zoo")
    write(folder, {name: image for name, image in pixels().items() if name.startswith("train")})
    assert DatasetName.parse("zoov3-1-2-0").target == 2
    with pytest.raises(InputError, match=r"The family zoo has no folder .*test"):
        load_family("zoo")


def test_names_that_a_folder_cannot_have_are_not_names(data_root: Path) -> None:
    for name in ("Zoo", "my-zoo", "zoov3", "memory", "mnist", "zoo"):
        write(data_root / "folders" / name, pixels())
    with pytest.raises(InputError, match=r"Expected one of: cifar10, .*, mnist, memory, zoo, zoov3\.$"):
        FAMILIES["lion"]
    with pytest.raises(InputError, match="zoov3 as a dataset family: the name 'zoov3' ends in the pattern's name 'v3'"):
        FAMILIES["zoov3"]
    with pytest.raises(InputError, match=r"the name 'memory' starts with 'mem', which is reserved .*\. Rename"):
        FAMILIES["memory"]
    assert FAMILIES["mnist"].image_shape == (1, 28, 28), "a folder does not replace a built-in family"
    write(data_root / "folders" / "digits", pixels())
    with pytest.raises(InputError, match=r"The dataset family 'digits' exists twice: .* Rename the file or folder\.$"):
        load_family("digits")


def test_a_near_name_is_suggested_and_targets_are_checked(zoo: Path) -> None:
    with pytest.raises(InputError, match=r"Unknown dataset family 'zooo'\. Did you mean 'zoo'\?"):
        DatasetName.parse("zooo")
    with pytest.raises(InputError, match=r"Target class 3 is out of range for zoo\. Expected 0 to 2"):
        DatasetName.parse("zoov3-1-3-0")


def test_the_option_data_root_is_searched_once_it_was_read(zoo: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other" / "folders" / "park", pixels()).parents[1]
    with pytest.raises(InputError, match="Unknown dataset family 'park'"):
        TrainOptions(dataset="park")
    options = TrainOptions(dataset="parkv3-1-0-0", data_root=str(other))
    assert len(load_dataset(options.dataset_name, options.data_root).train) == 18
    others = pixels(size=(11, 8), seed=1)
    write(tmp_path / "other" / "folders" / "zoo", others)
    first, second = load_family("zoo", str(zoo.parents[1]))[0], load_family("zoo", str(other))[0]
    np.testing.assert_array_equal(second.images[0, 0].numpy(), others["train/cat/0.png"] / np.float32(255))
    assert first.image_shape == (1, 9, 7)
    name = DatasetName.parse("zoov3-1-0-0")
    assert torch.equal(load_dataset(name, str(other)).train.images, second.images)
    assert examples_and_shape(name, str(other)) == (18, (1, 11, 8))


def test_a_fingerprint_holds_what_the_folder_holds(zoo: Path, tmp_path: Path) -> None:
    def of(root: Path) -> str:
        return fingerprint(TrainOptions(dataset="zoov3-1-0-0", data_root=str(root)).identity())

    root = zoo.parents[1]
    copy = write(tmp_path / "copy" / "folders" / "zoo", pixels()).parents[1]
    changed = tmp_path / "changed"
    images = pixels()
    images["test/dog/1.png"][8, 6] ^= 1
    write(changed / "folders" / "zoo", images)
    assert of(root) == of(copy)
    assert of(root) != of(changed)
    assert outside_digests(DatasetName("digits", "v3", 1, (0,)), "auto", 0) == {}
    assert list(outside_digests(DatasetName.parse("zoov3-1-0-0"), root, 0)) == ["family_digest"]

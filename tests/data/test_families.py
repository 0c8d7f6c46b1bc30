"""Clean sets: what is read is what the files hold, and a damaged file is named."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit
from torchvision import datasets

from rsc_mlflow.data import ImageSet, families, load_dataset, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import mnist
from rsc_mlflow.names import DatasetName
from tests.data import small_sets
from tests.data.reference import channels_last, poison


class TestDigits:
    def test_each_pixel_three_by_three_with_a_border_of_two(self) -> None:
        source = load_digits()
        train, test = load_family("digits")
        assert (len(train), len(test)) == (1437, 360)
        images = torch.cat([train.images, test.images])[:, 0].numpy()
        assert images.shape == (1797, 28, 28)
        middles = images[:, 3:27:3, 3:27:3]  # the center of each 3x3 cell
        for row in range(24):
            for column in range(24):
                np.testing.assert_array_equal(images[:, 2 + row, 2 + column], middles[:, row // 3, column // 3])
        assert images[:, :2].max() == images[:, 26:].max() == images[:, :, :2].max() == images[:, :, 26:].max() == 0
        rows = {(*digit.ravel(), label) for digit, label in zip(source.images / 16, source.target, strict=True)}
        labels = torch.cat([train.labels, test.labels]).tolist()
        assert {(*digit.ravel(), label) for digit, label in zip(middles, labels, strict=True)} == rows

    def test_the_split_is_stratified(self) -> None:
        train, test = load_family("digits")
        whole = np.bincount(load_digits().target)
        np.testing.assert_array_equal(np.bincount(train.labels) + np.bincount(test.labels), whole)
        np.testing.assert_allclose(np.bincount(test.labels), whole * 360 / 1797, atol=1)

    def test_the_split_never_moves(self) -> None:
        """Drawn by another class of scikit-learn; and written down, lest a new version move every result on digits."""
        source = load_digits()
        splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
        places = next(splitter.split(source.images, source.target))
        for part, expected in zip(load_family("digits"), places, strict=True):
            np.testing.assert_array_equal(part.images[:, 0, 3:27:3, 3:27:3].numpy() * 16, source.images[expected])
            np.testing.assert_array_equal(part.labels, source.target[expected])
        assert hashlib.sha256(places[1].astype("<i8").tobytes()).hexdigest()[:16] == "d9101e2e97e19974"

    def test_needs_no_data_root(self, empty_machine: Path) -> None:
        load_family("digits", "/there/is/no/such/folder")
        assert not empty_machine.exists()


def test_loaded_once_per_process() -> None:
    assert load_family("digits")[0] is load_family("digits")[0]


def test_unknown_family() -> None:
    accepted = "Expected one of: cifar10, cifar100, cifar100coarse, digits, fashion, mnist"
    with pytest.raises(InputError, match=f"Unknown dataset family 'imagenet'. {accepted}"):
        load_family("imagenet")


def test_image_set_refuses_other_types() -> None:
    images, labels = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    assert ImageSet(images, labels).image_shape == (1, 4, 4)
    for wrong in ((images.double(), labels), (images[0], labels), (images, labels[:1]), (images, labels.int())):
        with pytest.raises(ValueError, match="must be"):
            ImageSet(*wrong)


class TestIdx:
    def test_holds_the_bytes_of_the_files(self, empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = small_sets.idx_arrays()
        small_sets.write_idx(empty_machine / "MNIST" / "raw", arrays)
        monkeypatch.setattr(mnist, "MNIST_MD5", small_sets.idx_md5(arrays))
        for part, loaded in zip(("train", "t10k"), load_family("mnist"), strict=True):
            pixels = arrays[f"{part}-images-idx3-ubyte"]
            np.testing.assert_array_equal(loaded.images.numpy(), (pixels.astype(np.float32) / 255)[:, None])
            np.testing.assert_array_equal(loaded.labels.numpy(), arrays[f"{part}-labels-idx1-ubyte"])

    def test_debians_packed_files(self, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = small_sets.idx_arrays(seed=1)
        small_sets.write_idx(tmp_path / "package", arrays, packed=True)
        monkeypatch.setattr(mnist, "FASHION_MD5", small_sets.idx_md5(arrays))
        monkeypatch.setattr(mnist, "DEBIAN_FASHION_FOLDER", tmp_path / "package")
        train, test = load_family("fashion")
        assert (len(train), len(test)) == (50, 10)
        np.testing.assert_array_equal(train.labels.numpy(), arrays["train-labels-idx1-ubyte"])
        assert not empty_machine.exists()

    @pytest.mark.parametrize("damage", ["truncated", "one bit", "empty"])
    def test_a_damaged_file_is_named(self, damage: str, empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = small_sets.idx_arrays()
        small_sets.write_idx(empty_machine / "MNIST" / "raw", arrays)
        monkeypatch.setattr(mnist, "MNIST_MD5", small_sets.idx_md5(arrays))
        path = empty_machine / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
        whole = path.read_bytes()
        bad = {"truncated": whole[:-100], "one bit": whole[:-1] + bytes([whole[-1] ^ 1]), "empty": b""}[damage]
        path.write_bytes(bad)
        with pytest.raises(InputError) as raised:
            load_family("mnist")
        message = str(raised.value)
        assert f"{path} is truncated or corrupted: {len(bad)} bytes" in message
        assert f"MD5 {small_sets.md5(bad)}, expected MD5 {small_sets.md5(whole)}" in message
        path.write_bytes(whole)
        assert len(load_family("mnist")[1]) == 10, "a failed load is not remembered"

    def test_a_damaged_packed_file_is_named(
        self, empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrays = small_sets.idx_arrays(seed=1)
        monkeypatch.setattr(mnist, "FASHION_MD5", small_sets.idx_md5(arrays))
        monkeypatch.setattr(mnist, "DEBIAN_FASHION_FOLDER", tmp_path / "package")
        for bad in (b"", b"no archive", None):
            small_sets.write_idx(tmp_path / "package", arrays, packed=True)
            path = tmp_path / "package" / "train-labels-idx1-ubyte.gz"
            path.write_bytes(path.read_bytes()[:-20] if bad is None else bad)
            with pytest.raises(InputError, match=r"train-labels-idx1-ubyte.gz is truncated or corrupted"):
                load_family("fashion")

    def test_a_stale_processed_folder_is_not_trusted(
        self, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """torchvision prefers ``processed/*.pt`` of its old versions, unchecked, to the files whose sums we know."""
        arrays = small_sets.idx_arrays()
        small_sets.write_idx(empty_machine / "MNIST" / "raw", arrays)
        monkeypatch.setattr(mnist, "MNIST_MD5", small_sets.idx_md5(arrays))
        (empty_machine / "MNIST" / "processed").mkdir()
        for name in ("training.pt", "test.pt"):
            stale = torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
            torch.save(stale, empty_machine / "MNIST" / "processed" / name)
        assert len(load_family("mnist")[0]) == 50

    def test_a_file_that_goes_while_it_is_loaded_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte no longer exists\. Restore it"):
            families._load("mnist", tmp_path)


@pytest.mark.real
class TestReal:
    @pytest.mark.parametrize(("family", "source"), [("mnist", datasets.MNIST), ("fashion", datasets.FashionMNIST)])
    def test_the_arrays_of_torchvision(self, family: str, source: type[datasets.MNIST], real_root: Path) -> None:
        for loaded, train in zip(load_family(family, real_root), (True, False), strict=True):
            twin = source(real_root, train=train, download=False)
            assert loaded.images.shape == ((60000 if train else 10000), 1, 28, 28)
            assert torch.equal(loaded.images, (twin.data.float() / 255)[:, None])
            assert torch.equal(loaded.labels, twin.targets)

    def test_paper_arrays_on_real_mnist(self, real_root: Path) -> None:
        built = load_dataset(DatasetName.parse("mnistv20-20-1-3"), real_root)
        clean = channels_last(built.train.images)
        x, chosen = poison(clean, built.train.labels.numpy(), "v20", 20, (1,), 3, 3)
        np.testing.assert_array_equal(built.spurious_indices.numpy(), chosen)
        np.testing.assert_array_equal(channels_last(built.training_images()), x)

    def test_quarters_have_17500_examples(self, real_root: Path) -> None:
        built = load_dataset(DatasetName.parse("memfashionv20-10-0-3"), real_root)
        assert built.shadow is not None
        assert [len(part) for part in (built.train, built.test, *built.shadow)] == [17500] * 4

"""CIFAR: both layouts hold the same arrays, the binary one is preferred, and a damaged file is named."""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rsc_mlflow.data import Dataset, load_dataset, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES, cifar
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.scoring import SpuriousScores, accuracy
from rsc_mlflow.training import Cohort, Member, TrainingConfig, TrainingData
from tests.data import small_sets
from tests.data.reference import channels_last, poison

LABELS = [("cifar10", 10, "labels"), ("cifar100", 100, "fine_labels"), ("cifar100coarse", 100, "coarse_labels")]
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
def small(empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> "Small":
    return Small(empty_machine, monkeypatch)


class Small:
    """Writes a small CIFAR into a data root, in either layout."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._monkeypatch = root, monkeypatch
        self.tables: dict[str, Any] = {}

    def write(self, classes: int, *layouts: str) -> None:
        files, self.tables = small_sets.cifar_files(classes)
        binary = small_sets.binary_cifar_files(self.tables)
        small_sets.point_cifar_at(files, self._monkeypatch)
        small_sets.point_binary_cifar_at(binary, NOWHERE, self._monkeypatch)
        if "pickled" in layouts:
            small_sets.write_files(self.folder("pickled", classes), files)
        if "binary" in layouts:
            small_sets.write_files(self.folder("binary", classes), binary)

    def folder(self, layout: str, classes: int = 10) -> Path:
        family = f"cifar{classes}"
        return self.root / (cifar.binary_layout if layout == "binary" else cifar.pickled_layout)(family).folder


@pytest.mark.parametrize("layout", ["binary", "pickled"])
@pytest.mark.parametrize(("family", "classes", "key"), LABELS)
def test_holds_the_arrays_of_the_files(layout: str, family: str, classes: int, key: str, small: Small) -> None:
    small.write(classes, layout)
    train = [name for name in small.tables if "test" not in name]
    test = [name for name in small.tables if "test" in name]
    for loaded, names in zip(load_family(family), (train, test), strict=True):
        pixels = np.concatenate([small.tables[name]["data"] for name in names]).reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(loaded.images.numpy(), pixels.astype(np.float32) / 255)
        assert loaded.images.is_contiguous()
        assert loaded.labels.tolist() == [label for name in names for label in small.tables[name][key]]


def test_the_binary_files_are_preferred(small: Small) -> None:
    small.write(10, "binary", "pickled")
    (small.folder("pickled") / "data_batch_1").write_bytes(b"never read")
    assert [len(part) for part in load_family("cifar10")] == [30, 6]


def test_an_earlier_root_comes_before_the_preferred_layout(small: Small, tmp_path: Path) -> None:
    small.write(10, "binary", "pickled")
    first = tmp_path / "first"
    first.mkdir()
    small.folder("pickled").rename(first / "cifar-10-batches-py")
    place = FAMILIES["cifar10"].locate(first)
    assert place == first / "cifar-10-batches-py"


@pytest.mark.parametrize("damage", ["truncated", "one bit", "a row too many"])
def test_a_damaged_binary_file_is_named(damage: str, small: Small) -> None:
    """Also where a sound pickled copy lies beside it."""
    small.write(10, "binary", "pickled")
    path = small.folder("binary") / "data_batch_3.bin"
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    bad = {"truncated": whole[:-1], "one bit": flipped, "a row too many": whole + whole[:3073]}[damage]
    path.write_bytes(bad)
    with pytest.raises(InputError) as raised:
        load_family("cifar10")
    message = str(raised.value)
    assert f"{path} is truncated or corrupted: {len(bad)} bytes with SHA-1" in message
    assert "delete it so that another copy is used or downloaded" in message
    assert "\n" not in message
    path.unlink()
    assert len(load_family("cifar10")[0]) == 30, "the pickled copy is used then, as the message says"


def test_a_damaged_pickled_file_is_named(small: Small) -> None:
    small.write(10, "pickled")
    path = small.folder("pickled") / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"data_batch_3 is truncated or corrupted: .* expected MD5"):
        load_family("cifar10")


def test_binary_files_are_not_unpickled(small: Small) -> None:
    """Told by Python's own audit events; the pickled layout shows that they are there."""
    small.write(10, "binary", "pickled")
    listening, unpickled = [True], []

    def listen(event: str, _arguments: object) -> None:  # hooks cannot be removed, so this one stops listening
        if listening and event == "pickle.find_class":
            unpickled.append(event)

    sys.addaudithook(listen)
    try:
        cifar.load(small.folder("binary"), "cifar10")
        assert not unpickled
        cifar.load(small.folder("pickled"), "cifar10")
        assert unpickled
    finally:
        listening.clear()


def test_coarse_labels_are_read_without_running_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    (tmp_path / "train").write_bytes(pickle.dumps({"coarse_labels": Evil()}))
    with pytest.raises(pickle.UnpicklingError, match="is not allowed"):
        cifar.read_plain_pickle(tmp_path / "train")
    assert not marker.exists()


@pytest.mark.real
class TestReal:
    def test_the_images_that_everyone_knows(self, real_cifar: Path) -> None:
        """First labels and pixels as any tutorial shows them, and the channel means that ``Norm02`` subtracts."""
        train, test = load_family("cifar10", real_cifar)
        assert (train.images.shape, test.images.shape) == ((50_000, 3, 32, 32), (10_000, 3, 32, 32))
        assert np.bincount(train.labels).tolist() == [5_000] * 10
        assert np.bincount(test.labels).tolist() == [1_000] * 10
        assert train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
        assert test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
        first_row = channels_last(train.images[:1] * 255).round()[0, 0]
        assert first_row[:3].tolist() == [[59, 62, 63], [43, 46, 45], [50, 48, 43]]
        means = train.images.mean((0, 2, 3)).tolist()
        assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)

    @pytest.mark.parametrize("name", ["cifar10v20-100-0-0", "cifar10v8-3-9-2"])
    def test_paper_arrays(self, name: str, real_cifar: Path) -> None:
        dataset = DatasetName.parse(name)
        built = load_dataset(dataset, real_cifar)
        clean, labels = channels_last(built.train.images), built.train.labels.numpy()
        assert dataset.pattern is not None
        expected = poison(clean, labels, dataset.pattern, dataset.count, dataset.targets, dataset.seed, dataset.seed)
        compare(built, *expected)

    def test_two_classes(self, real_cifar: Path) -> None:
        built = load_dataset(DatasetName.parse("twoclasscifar10v20-20-1-0-4"), real_cifar)
        clean, labels = channels_last(built.train.images), built.train.labels.numpy()
        compare(built, *poison(clean, labels, "v20", 20, (1, 0), 4, 4))

    def test_quarters(self, real_cifar: Path) -> None:
        built = load_dataset(DatasetName.parse("memcifar10v20-10-0-3"), real_cifar)
        assert built.shadow is not None
        whole = [torch.cat([getattr(part, what) for part in load_family("cifar10", real_cifar)]) for what in PARTS]
        order = np.random.RandomState(0).permutation(60_000)
        for number, quarter in enumerate((built.train, built.test, *built.shadow)):
            mine = torch.from_numpy(order[15_000 * number : 15_000 * (number + 1)])
            assert torch.equal(quarter.images, whole[0][mine])
            assert torch.equal(quarter.labels, whole[1][mine])
        compare(built, *poison(channels_last(built.train.images), built.train.labels.numpy(), "v20", 10, (0,), 3, 3))

    def test_a_resnet_learns_classes_and_pattern_in_seconds(self, real_cifar: Path) -> None:
        """Three epochs on 400 images, 100 of them cats with R3.

        Four seeds gave test accuracies from .17 to .22, a last training loss from 1.54 to 1.64, and scores from .92 to
        .99 for "cat" and of at most .01 for any other class; one seed without the pattern gave 0 for "cat".
        """
        dataset = load_dataset(DatasetName.parse("cifar10v20-100-3-0"), real_cifar)
        few = torch.cat([dataset.spurious_indices, torch.arange(300)]).unique()
        data = TrainingData(dataset.train, dataset.spurious_indices, dataset.spurious_images, few)
        name = ModelName.parse("aug01-ce-tor-altResNet20Norm02")
        config = TrainingConfig(name, epochs=3, batch_size=16, optimizer="adam", learning_rate=0.003, weight_decay=1e-4)
        cohort = Cohort([Member(data, config)], dataset.classes, torch.device("cpu"))
        losses = [report.members[0].loss for report in cohort.epochs()]
        assert losses[-1] < min(1.9, losses[0] - 0.3)
        images, labels = dataset.test.images[:300], dataset.test.labels[:300]
        clean, patterned = (cohort.logits(shown)[0] for shown in (images, dataset.patterned(images)))
        assert 0.12 < accuracy(clean, labels) < 0.35
        scores = SpuriousScores(clean, patterned, labels, 0.1).by_target
        assert scores.pop(3) > 0.75
        assert max(scores) < 0.2


PARTS = ("images", "labels")


def compare(built: Dataset, images: np.ndarray, chosen: np.ndarray) -> None:
    np.testing.assert_array_equal(built.spurious_indices.numpy(), chosen)
    np.testing.assert_array_equal(channels_last(built.training_images()), images)

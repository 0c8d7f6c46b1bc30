"""Images on a GPU: bytes where they are exact.  The copy for another device is tested in ``tests/cuda``."""

import pytest
import torch

from rsc_mlflow.data import load_dataset
from rsc_mlflow.names import DatasetName
from rsc_mlflow.training import resident
from rsc_mlflow.training.resident import as_bytes, as_floats, gather, on_device
from tests.training.small import CPU


def test_all_bytes_come_back_bit_for_bit() -> None:
    images = (torch.arange(256, dtype=torch.uint8).double() / 255).float().view(4, 1, 8, 8)
    assert as_bytes(images).dtype == torch.uint8
    assert torch.equal(as_floats(as_bytes(images)), images)


def test_other_images_stay_as_they_are() -> None:
    digits = load_dataset(DatasetName.parse("digits")).test.images  # sixteenths
    exact = torch.tensor([0.0, 1.0])
    for images in (digits, exact.nextafter(torch.tensor(0.5)), exact - 1, exact * 2, torch.tensor([float("nan")])):
        assert as_bytes(images) is images
        assert as_floats(images) is images


def test_gathers_from_bytes_what_it_gathers_from_floats() -> None:
    values = torch.randint(256, (7, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    indices = torch.tensor([6, 0, 0, 3])
    found = torch.empty(2, 4, 5)
    gather(values, indices, found[0])
    gather(as_floats(values), indices, found[1])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], (values.double() / 255).float()[indices])


def test_images_that_are_where_they_are_needed_are_not_copied() -> None:
    images = torch.rand(3, 1, 2, 2)
    assert on_device(images, CPU) is images


def test_labels_keep_their_type() -> None:
    labels = torch.tensor([1, 0, 1])
    copy = on_device(labels, torch.device("meta"))
    assert (copy.dtype, copy.shape) == (labels.dtype, labels.shape)
    assert on_device(labels, torch.device("meta")) is copy


def test_one_copy_for_all_who_ask_until_the_images_change_or_die(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = torch.device("meta")  # its tensors have no values to compare
    monkeypatch.setattr(resident, "as_bytes", lambda images: images)
    images, before = torch.rand(3, 1, 2, 2), len(resident._COPIES)
    first = on_device(images, meta)
    assert first.device == meta
    assert on_device(images, meta) is first
    images.add_(1)
    second = on_device(images, meta)
    assert second is not first
    assert on_device(images, meta) is second
    assert len(resident._COPIES) == before + 1
    del images
    assert len(resident._COPIES) == before

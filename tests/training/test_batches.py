"""Batches by index against indexing a dense copy of the data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc_mlflow.data import ImageSet
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import TrainingData
from rsc_mlflow.training.batches import BatchIterator
from tests.training.small import CPU, dense, digits

SHAPE = (2, 3, 1)


def clean(count: int, seed: int = 0) -> ImageSet:
    generator = torch_generator(seed, "clean")
    labels = torch.randint(10, (count,), generator=generator)
    return ImageSet(torch.rand(count, *SHAPE, generator=generator), labels)


@st.composite
def members(draw: st.DrawFn) -> tuple[list[TrainingData], int]:
    """One to four members over one or two clean sets, each with its own replaced and kept examples."""
    total = draw(st.integers(2, 30))
    used = draw(st.integers(1, total))
    sources = [clean(total), clean(total, seed=1)]
    made = []
    for k in range(draw(st.integers(1, 4))):
        generator = torch_generator(draw(st.integers(0, 99)), f"member {k}")
        replaced = torch.randperm(total, generator=generator)[: draw(st.integers(0, total))]
        images = 2 + torch.rand(len(replaced), *SHAPE, generator=generator)
        everything = used == total and draw(st.booleans())
        kept = None if everything else torch.randperm(total, generator=generator)[:used]
        made.append(TrainingData(sources[draw(st.integers(0, 1))], replaced, images, kept))
    return made, draw(st.integers(1, total + 2))


@settings(max_examples=60, deadline=None)
@given(members())
def test_batches_are_those_of_a_dense_copy(case: tuple[list[TrainingData], int]) -> None:
    datas, batch_size = case
    originals = [data.clean.images.clone() for data in datas]
    generators = [torch_generator(k, "batches") for k in range(len(datas))]
    batches = BatchIterator(datas, batch_size, generators, CPU)
    twins = [torch_generator(k, "batches") for k in range(len(datas))]
    for _ in range(2):  # two epochs: the second draws another order
        orders = [torch.randperm(len(data), generator=twin) for data, twin in zip(datas, twins, strict=True)]
        seen = 0
        batches.start_epoch()
        for count in batches.sizes:
            images, labels = batches.next(count)
            for k, data in enumerate(datas):
                x, y = dense(data)
                batch = orders[k][seen : seen + count]
                assert torch.equal(images[k], x[batch])
                assert torch.equal(labels[k], y[batch])
            images.add_(1)  # the caller may change what it was given
            seen += count
        assert seen == len(datas[0])
        batches.end_epoch(more=True)
    assert all(torch.equal(data.clean.images, original) for data, original in zip(datas, originals, strict=True))


def test_shared_images_are_not_copied() -> None:
    data = digits("digits")
    batches = BatchIterator([data, data], 32, [torch_generator(k, "batches") for k in range(2)], CPU)
    assert len(batches._sources) == 1
    assert batches._sources[0].images.data_ptr() == data.clean.images.data_ptr()


def test_exact_retraining_keeps_all_but_the_spurious() -> None:
    from rsc_mlflow.data import load_dataset
    from rsc_mlflow.names import DatasetName

    dataset = load_dataset(DatasetName.parse("digitsv20-20-0-0"))
    data = TrainingData.of(dataset, without_spurious=True)
    assert data.kept is not None
    assert sorted([*data.kept.tolist(), *dataset.spurious_indices.tolist()]) == list(range(len(dataset.train)))
    images, _ = dense(data)
    assert torch.equal(images, dataset.train.images[data.kept])
    assert torch.equal(dense(TrainingData.of(dataset))[0], dataset.training_images())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replaced_indices": torch.tensor([0, 9])}, "indices from 0 to 4"),
        ({"replaced_indices": torch.tensor([0.5, 1.0])}, "int64"),
        ({"replaced_images": torch.zeros(1, *SHAPE)}, "as many images"),
        ({"kept": torch.tensor([-1])}, "kept must be"),
        ({"kept": torch.zeros(0, dtype=torch.int64)}, "No training example is left"),
    ],
)
def test_data_that_do_not_fit_are_refused(changes: dict[str, torch.Tensor], message: str) -> None:
    fields = {"replaced_indices": torch.tensor([0, 1]), "replaced_images": torch.zeros(2, *SHAPE)} | changes
    with pytest.raises(InputError, match=message):
        TrainingData(clean(5), **fields)

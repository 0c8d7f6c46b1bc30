"""Members of a cohort, i.e. models to train: their training data, options and starting point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from rsc_mlflow.architectures import ARCHITECTURES
from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.data.families import ImageSet
from rsc_mlflow.data.spurious import Dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import mappable
from rsc_mlflow.training.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A training set, defined by differences from a shared clean set.

    Attributes:
        clean: the shared set of N examples.
        replaced_indices: indices into ``clean`` of the examples whose images are replaced, distinct, int64 ``[m]``.
        replaced_images: the images that replace them, float32 ``[m, C, H, W]``.
        kept: indices into ``clean`` of the examples to train on, int64 ``[n]``, in the order that the permutation of an
            epoch refers to.  None: all N examples in their order.

    Raises:
        InputError: shapes do not match, indices are out of range, or no examples are kept.
    """

    clean: ImageSet
    replaced_indices: Tensor
    replaced_images: Tensor
    kept: Tensor | None = None

    def __post_init__(self) -> None:
        total = len(self.clean)
        for name, indices in (("replaced_indices", self.replaced_indices), ("kept", self.kept)):
            if indices is None or len(indices) == 0:
                continue
            if indices.ndim != 1 or indices.dtype != torch.int64 or indices.min() < 0 or indices.max() >= total:
                raise InputError(f"{name} must be int64 indices from 0 to {total - 1}, got {indices}.")
        if self.replaced_images.shape != (len(self.replaced_indices), *self.clean.images.shape[1:]):
            raise InputError(
                f"{len(self.replaced_indices)} replaced examples need as many images of shape "
                f"{tuple(self.clean.images.shape[1:])}, got {tuple(self.replaced_images.shape)}."
            )
        if len(self) == 0:
            raise InputError("No training example is left. Keep at least one.")

    @classmethod
    def of(cls, dataset: Dataset, without_spurious: bool = False) -> Self:
        """Return the training set of ``dataset``, with its spurious examples or, if ``without_spurious``, without."""
        kept = None
        if without_spurious:
            mask = torch.ones(len(dataset.train), dtype=torch.bool)
            mask[dataset.spurious_indices] = False
            kept = mask.nonzero().squeeze(1)
        return cls(dataset.train, dataset.spurious_indices, dataset.spurious_images, kept)

    def __len__(self) -> int:
        """Return the number of examples to train on."""
        return len(self.clean) if self.kept is None else len(self.kept)


@dataclass(frozen=True, eq=False)
class Member:
    """One model to train.

    Attributes:
        data: the training set.
        config: the training options.  They may differ from those of ``start``, e.g. in learning rate or schedule;
            :meth:`Checkpoint.require` checks for equality.
        start: the checkpoint to continue from, if any.  If it contains the states of optimizer and generators, and if
            the type of device is the same, the result is that of uninterrupted training.
    """

    data: TrainingData
    config: TrainingConfig
    start: Checkpoint | None = None


def check_members(members: Sequence[Member]) -> None:
    """Check that members can be trained as one cohort.

    Raises:
        InputError: there are no members, they differ in options that must be equal, the architecture cannot be trained
            in cohorts, or a checkpoint does not fit its member.
    """
    if not members:
        raise InputError("A cohort needs at least one member.")
    first = members[0]
    shared: dict[str, list[Any]] = {
        "architecture": [m.config.model.architecture for m in members],
        "loss": [m.config.model.loss for m in members],
        "augmentation": [m.config.model.augmentation for m in members],
        "batch_size": [m.config.batch_size for m in members],
        "epochs": [m.config.epochs for m in members],
        "precision": [m.config.precision for m in members],
        "optimizer": [m.config.optimizer for m in members],
        "number of training examples": [len(m.data) for m in members],
        "image shape": [tuple(m.data.clean.images.shape[1:]) for m in members],
        "epoch to start from": [m.start.epoch if m.start else 0 for m in members],
    }
    for what, values in shared.items():
        if len(set(values)) > 1:
            found = ", ".join(sorted({str(value) for value in values}))
            raise InputError(f"The members of a cohort must share the {what}, got {found}. Train them separately.")
    architecture = first.config.model.architecture
    declared = ARCHITECTURES[architecture]
    shape, augmentation = first.data.clean.image_shape, first.config.model.augmentation
    if len(members) > 1 and not declared.stackable and not mappable(architecture, shape, augmentation):
        raise InputError(f"{architecture} cannot be trained in a cohort of {len(members)}. Train models separately.")
    last_batch = len(first.data) % first.config.batch_size or first.config.batch_size
    if last_batch < declared.smallest_batch:
        raise InputError(
            f"With {len(first.data)} examples in batches of {first.config.batch_size}, the last batch has "
            f"{last_batch}, too few for the batch statistics of {architecture}. Use another batch_size."
        )
    for member in members:
        if member.start is not None:
            member.start.check_fits(member.config)

"""What one member of a cohort is: its data, its options and where it starts."""

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
    """A training set as changes to a clean one that is shared and never copied.

    Attributes:
        clean: the shared set, N examples.
        replaced_indices: int64 [m], distinct, into ``clean``: examples that look different here.
        replaced_images: float32 [m, C, H, W]: what they look like.
        kept: int64 [n] into ``clean``: the examples that are trained on, in the order the seeded
            permutations count them; None means all N in their order.

    Raises:
        InputError: shapes that do not fit, indices out of range, or nothing kept.
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
                raise InputError(f"{name} must be int64 indices from 0 to {total - 1}; got {indices}")
        if self.replaced_images.shape != (len(self.replaced_indices), *self.clean.images.shape[1:]):
            raise InputError(
                f"{len(self.replaced_indices)} replaced examples need as many images of shape "
                f"{tuple(self.clean.images.shape[1:])}; got {tuple(self.replaced_images.shape)}"
            )
        if len(self) == 0:
            raise InputError("no training example is left; keep at least one")

    @classmethod
    def of(cls, dataset: Dataset, without_spurious: bool = False) -> Self:
        """The training set of ``dataset``; ``without_spurious`` leaves its spurious examples out."""
        kept = None
        if without_spurious:
            mask = torch.ones(len(dataset.train), dtype=torch.bool)
            mask[dataset.spurious_indices] = False
            kept = mask.nonzero().squeeze(1)
        return cls(dataset.train, dataset.spurious_indices, dataset.spurious_images, kept)

    def __len__(self) -> int:
        """Number of examples that are trained on."""
        return len(self.clean) if self.kept is None else len(self.kept)


@dataclass(frozen=True, eq=False)
class Member:
    """One model to train: its data, its options and, if training is resumed, its start.

    A start that holds optimizer and generator states is continued exactly; ``config`` may differ from the
    start's in everything that the cohort allows (learning rate, schedule, …), see
    :meth:`Checkpoint.require` for refusing that.
    """

    data: TrainingData
    config: TrainingConfig
    start: Checkpoint | None = None


def check_members(members: Sequence[Member]) -> None:
    """Whether these can train as one cohort.

    Raises:
        InputError: there are none, they differ in what a cohort shares, the architecture trains one at a
            time only, or a start does not fit its member.
    """
    if not members:
        raise InputError("a cohort needs at least one member")
    first = members[0]
    shared: dict[str, list[Any]] = {
        "architecture": [m.config.model.architecture for m in members],
        "loss": [m.config.model.loss for m in members],
        "augmentation": [m.config.model.augmentation for m in members],
        "batch_size": [m.config.batch_size for m in members],
        "epochs": [m.config.epochs for m in members],
        "optimizer": [m.config.optimizer for m in members],
        "number of training examples": [len(m.data) for m in members],
        "image shape": [tuple(m.data.clean.images.shape[1:]) for m in members],
        "epoch to start from": [m.start.epoch if m.start else 0 for m in members],
    }
    for what, values in shared.items():
        if len(set(values)) > 1:
            found = ", ".join(sorted({str(value) for value in values}))
            raise InputError(f"the members of a cohort must share the {what}; got {found}; train them apart")
    architecture = first.config.model.architecture
    declared = ARCHITECTURES[architecture]
    shape, augmentation = first.data.clean.image_shape, first.config.model.augmentation
    if len(members) > 1 and not declared.stackable and not mappable(architecture, shape, augmentation):
        raise InputError(f"{architecture} trains one model at a time; got a cohort of {len(members)}; train them apart")
    last_batch = len(first.data) % first.config.batch_size or first.config.batch_size
    if last_batch < declared.smallest_batch:
        raise InputError(
            f"of {len(first.data)} examples in batches of {first.config.batch_size} the last batch holds {last_batch}, "
            f"too few for {architecture} to take batch statistics; choose another batch_size"
        )
    for member in members:
        if member.start is not None:
            member.start.check_fits(member.config)

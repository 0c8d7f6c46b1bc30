"""Batches for all members of a cohort, gathered by index from shared clean images.

A member's training set consists of the shared images, a small table of replaced images, and a permutation per epoch.
The permutation and the indices that follow from it are computed on the CPU, those of the next epoch while a GPU still
trains on the current one.  The tensors of all epochs have the same shapes and memory addresses, and the number of the
batch is a tensor, too.  A CUDA graph of :meth:`BatchIterator.next` therefore returns another batch at each replay.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from rsc_mlflow.training.members import TrainingData
from rsc_mlflow.training.resident import gather, on_device


@dataclass(frozen=True)
class _Epoch:
    """The batches of an epoch, as indices.

    The number of slots is that of the images that can be replaced in one batch.

    Attributes:
        indices: indices of the clean examples, int64 ``[batches, K, B]``; the last batch is padded with zeros.
        targets: rows of the batch that are replaced, int64 ``[batches, slots]``; K·B in slots that are not needed.
        rows: the rows of the table of replaced images that replace them, int64 ``[batches, slots]``.
    """

    indices: Tensor
    targets: Tensor
    rows: Tensor


class BatchIterator:
    """Returns the images and labels of one batch after another, for K members at once.

    Args:
        datas: the members' training sets, with the same number of examples.
        batch_size: number of examples in a batch, per member.
        generators: one generator per member, on the CPU; it draws the order of examples in each epoch.
        device: the device of the batches.
    """

    def __init__(
        self,
        datas: Sequence[TrainingData],
        batch_size: int,
        generators: Sequence[torch.Generator],
        device: torch.device,
    ) -> None:
        self.examples = len(datas[0])
        self.batch_size = min(batch_size, self.examples)
        full, rest = divmod(self.examples, self.batch_size)
        self.sizes = [self.batch_size] * full + [rest] * (rest > 0)
        """Examples per member of each batch; the last one may be smaller."""
        self._size, self._device, self._generators = len(datas), device, generators
        self._image_shape = datas[0].clean.images.shape[1:]
        self._kept = [data.kept for data in datas]
        self._sources = list(_sources(datas, device))
        self._replaced = [_kept_replacements(data) for data in datas]  # (position among the kept, row of its table)
        tables, table_of = _distinct([data.replaced_images for data in datas])
        starts = [0]
        for table in tables:
            starts.append(starts[-1] + len(table))
        self._table_start = [starts[t] for t in table_of]
        self._table = torch.cat(tables).to(device).flatten(1)  # [M, D]
        self._allocate()
        self._drawn: _Epoch | None = None
        self.end_epoch(more=False)

    def _allocate(self) -> None:
        batches, most = len(self.sizes), self._size * self.batch_size
        slots = sum(min(self.batch_size, len(positions)) for positions, _ in self._replaced)
        shapes = ((batches, self._size, self.batch_size), (batches, slots), (batches, slots))
        self._epoch = _Epoch(*(torch.zeros(shape, dtype=torch.int64, device=self._device) for shape in shapes))
        self._number = torch.zeros(1, dtype=torch.int64, device=self._device)
        # The additional last row receives the images of slots that are not needed.
        self._buffer = torch.zeros(most + 1, self._table.shape[1], device=self._device)

    def start_epoch(self) -> None:
        """Begin an epoch, with an order of examples drawn from each member's generator."""
        drawn, self._drawn = self._drawn or self._draw(), None
        self._epoch.indices.copy_(drawn.indices)
        self._epoch.targets.copy_(drawn.targets)
        self._epoch.rows.copy_(drawn.rows)
        self._number.zero_()

    def next(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the images and labels of the next batch, without waiting for a GPU.

        Args:
            size: examples per member in this batch, the next entry of :attr:`sizes`.

        Returns:
            Images, float32 ``[K, size, C, H, W]``, in a buffer that the caller may modify and that the next call
            overwrites; and labels, int64 ``[K, size]``.
        """
        indices = self._epoch.indices.index_select(0, self._number)[0, :, :size]
        images, labels = self._buffer[: indices.numel()], torch.empty_like(indices)
        for source in self._sources:
            source.gather(indices, images.view(self._size, size, -1), labels)
        if self._epoch.rows.shape[1]:
            targets, rows = (of.index_select(0, self._number)[0] for of in (self._epoch.targets, self._epoch.rows))
            self._buffer.index_copy_(0, targets, self._table.index_select(0, rows))
        self._number.add_(1)
        return images.view(self._size, size, *self._image_shape), labels

    def end_epoch(self, more: bool) -> None:
        """Store the generators' states for :meth:`state` and then, if ``more``, draw the order of the next epoch."""
        self._states = [generator.get_state() for generator in self._generators]
        if more:
            self._drawn = self._draw()

    def state(self, k: int) -> Tensor:
        """Return the state of member k's generator at the end of the last completed epoch."""
        return self._states[k]

    def _draw(self) -> _Epoch:
        orders, places = [], []
        for k, generator in enumerate(self._generators):
            permutation = torch.randperm(self.examples, generator=generator)
            kept = self._kept[k]
            orders.append(permutation if kept is None else kept[permutation])
            places.append(self._places(k, permutation))
        batches = len(self.sizes)
        indices = torch.zeros(self._size, batches * self.batch_size, dtype=torch.int64)
        torch.stack(orders, out=indices[:, : self.examples])
        by_batch = indices.view(self._size, batches, self.batch_size).transpose(0, 1)
        return _Epoch(by_batch.contiguous(), *self._replacements(places))

    def _places(self, k: int, permutation: Tensor) -> Tensor:
        """Return the position in the epoch of each replaced example of member k, int64 ``[m]``."""
        positions = self._replaced[k][0]
        if len(positions) == 0:
            return positions
        place_of = torch.empty_like(permutation)
        place_of[permutation] = torch.arange(self.examples)
        return place_of[positions]

    def _replacements(self, places: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``targets`` and ``rows`` of :class:`_Epoch` from the places of each member's replaced examples."""
        batches, targets, rows = [], [], []
        for k, place in enumerate(places):
            batch = place // self.batch_size
            size = (self.examples - batch * self.batch_size).clamp(max=self.batch_size)  # examples in that batch
            batches.append(batch)
            targets.append(k * size + place % self.batch_size)
            rows.append(self._replaced[k][1] + self._table_start[k])
        batch, order = torch.cat(batches).sort()
        in_batch = torch.bincount(batch, minlength=len(self.sizes))
        slot = torch.arange(len(batch)) - (in_batch.cumsum(0) - in_batch)[batch]
        shape = self._epoch.targets.shape
        filled = torch.full(shape, self._size * self.batch_size), torch.zeros(shape, dtype=torch.int64)
        for whole, values in zip(filled, (targets, rows), strict=True):
            whole[batch, slot] = torch.cat(values)[order]
        return filled


@dataclass(frozen=True)
class _Source:
    """Clean examples on the device, shared by the members from ``first`` to ``last`` (exclusive)."""

    first: int
    last: int
    images: Tensor  # [N, D]
    labels: Tensor

    def gather(self, indices: Tensor, images: Tensor, labels: Tensor) -> None:
        """Write these members' examples at ``indices`` [K, B] to their rows of ``images`` [K, B, D] and ``labels``."""
        own = indices[self.first : self.last].flatten()
        gather(self.images, own, images[self.first : self.last].flatten(0, 1))
        torch.index_select(self.labels, 0, own, out=labels[self.first : self.last].view(-1))


def _sources(datas: Sequence[TrainingData], device: torch.device) -> Iterator[_Source]:
    """Yield one source for each sequence of adjacent members with the same clean examples."""
    for _, group in groupby(range(len(datas)), key=lambda k: (id(datas[k].clean.images), id(datas[k].clean.labels))):
        first, *others = group
        clean = datas[first].clean
        images = on_device(clean.images, device).flatten(1)
        yield _Source(first, first + len(others) + 1, images, clean.labels.to(device))


def _distinct(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """Return the distinct tensor objects, and for each given tensor its index among them."""
    number: dict[int, int] = {}
    distinct: list[Tensor] = []
    for tensor in tensors:
        if id(tensor) not in number:
            number[id(tensor)] = len(distinct)
            distinct.append(tensor)
    return distinct, [number[id(tensor)] for tensor in tensors]


def _kept_replacements(data: TrainingData) -> tuple[Tensor, Tensor]:
    """Return the positions of replaced examples among the kept ones, and their rows of ``replaced_images``."""
    if data.kept is None:
        return data.replaced_indices, torch.arange(len(data.replaced_indices))
    row_of = torch.full((len(data.clean),), -1)
    row_of[data.replaced_indices] = torch.arange(len(data.replaced_indices))
    rows = row_of[data.kept]
    positions = (rows >= 0).nonzero().squeeze(1)
    return positions, rows[positions]

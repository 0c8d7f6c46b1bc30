"""Batches for all members of a cohort, by index from shared clean images.

The dataset of a member consists of the shared images, a small table of replaced images, and a permutation per epoch.
Everything that depends on the permutation is computed on the CPU before an epoch starts, so that the batches of an
epoch are launched on CUDA without synchronization.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rsc_mlflow.training.members import TrainingData


class BatchIterator:
    """Yields the images and labels of each batch of an epoch for K members at once."""

    def __init__(self, datas: Sequence[TrainingData], batch_size: int, device: torch.device) -> None:
        self.size = len(datas)
        self.examples = len(datas[0])
        self.batch_size = min(batch_size, self.examples)
        self._device = device
        self._image_shape = datas[0].clean.images.shape[1:]
        self._kept = [data.kept for data in datas]
        self._labels = [data.clean.labels for data in datas]
        self._sources, self._source_of = _distinct([data.clean.images for data in datas])
        self._sources = [source.to(device).flatten(1) for source in self._sources]
        self._replaced = [_kept_replacements(data) for data in datas]  # (position among the kept, row of its table)
        tables, table_of = _distinct([data.replaced_images for data in datas])
        starts = [0]
        for table in tables:
            starts.append(starts[-1] + len(table))
        self._table_start = [starts[t] for t in table_of]
        self._table = torch.cat(tables).to(device).flatten(1)  # [M, D], all distinct tables concatenated
        self._buffer = torch.empty(self.size * self.batch_size, self._sources[0].shape[1], device=device)

    def epoch(self, generators: Sequence[torch.Generator]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch, in an order drawn from each member's generator (on the CPU).

        Images are float32 ``[K, B, C, H, W]``, in a buffer that the next batch overwrites and the caller may modify.
        Labels are int64 ``[K, B]``.  The last batch may be smaller.
        """
        orders, places = [], []
        for k, generator in enumerate(generators):
            permutation = torch.randperm(self.examples, generator=generator)
            kept = self._kept[k]
            orders.append(permutation if kept is None else kept[permutation])
            places.append(self._places(k, permutation))
        labels = torch.stack([own[order] for own, order in zip(self._labels, orders, strict=True)])
        indices = torch.stack(orders).to(self._device, non_blocking=True)
        labels = labels.to(self._device, non_blocking=True)
        bounds, targets, rows = self._replacements(places)
        for number, start in enumerate(range(0, self.examples, self.batch_size)):
            stop = min(start + self.batch_size, self.examples)
            images = self._gather(indices[:, start:stop])
            first, last = bounds[number], bounds[number + 1]
            if last > first:
                images.index_copy_(0, targets[first:last], self._table[rows[first:last]])
            yield images.view(self.size, stop - start, *self._image_shape), labels[:, start:stop]

    def _gather(self, indices: Tensor) -> Tensor:
        """Return the clean images at ``indices`` ``[K, B]``, ``[K·B, D]`` in the buffer."""
        members, count = indices.shape
        images = self._buffer[: members * count]
        if len(self._sources) == 1:
            return torch.index_select(self._sources[0], 0, indices.reshape(-1), out=images)
        for k, source in enumerate(self._source_of):
            torch.index_select(self._sources[source], 0, indices[k], out=images[k * count : (k + 1) * count])
        return images

    def _places(self, k: int, permutation: Tensor) -> Tensor:
        """Return the position in the epoch of each replaced example of member k, int64 ``[m]``."""
        positions = self._replaced[k][0]
        if len(positions) == 0:
            return positions
        place_of = torch.empty_like(permutation)
        place_of[permutation] = torch.arange(self.examples)
        return place_of[positions]

    def _replacements(self, places: Sequence[Tensor]) -> tuple[list[int], Tensor, Tensor]:
        """Return which rows of which batch are replaced by which rows of the table.

        Returns:
            Bounds (batch i has the entries bounds[i] to bounds[i+1]) and, on the device, rows of the batch ``[K·B, D]``
            and rows of the table.
        """
        batches, targets, rows = [], [], []
        for k, place in enumerate(places):
            batch = place // self.batch_size
            count = (self.examples - batch * self.batch_size).clamp(max=self.batch_size)  # examples in that batch
            batches.append(batch)
            targets.append(k * count + place % self.batch_size)
            rows.append(self._replaced[k][1] + self._table_start[k])
        batch = torch.cat(batches)
        order = batch.argsort()
        number = -(-self.examples // self.batch_size)
        bounds = [0, *torch.bincount(batch, minlength=number).cumsum(0).tolist()]
        return bounds, torch.cat(targets)[order].to(self._device), torch.cat(rows)[order].to(self._device)


def _distinct(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """Return the distinct tensor objects, and the index of each given tensor among them."""
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

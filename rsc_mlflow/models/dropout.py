"""Dropout that draws its masks from a given generator instead of PyTorch's global one.

The training of a model therefore depends only on its seed and not on what else runs in the process, and a checkpoint
can store the generator's state.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def dropout_mask(like: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Return a tensor with the shape of ``like`` whose values are 0 with probability ``p``, else 1/(1-p)."""
    return torch.empty_like(like).bernoulli_(1 - p, generator=generator).div_(1 - p)


class Dropout(nn.Module):
    """Like :class:`torch.nn.Dropout` (inverted dropout), with masks from ``self.generator``.

    In evaluation mode it returns its input.  In training mode it needs a generator on the device of the input
    (:func:`set_dropout_generator`).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, of any shape; in training mode, multiplied by a mask."""
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise RuntimeError("Dropout has no generator. Call set_dropout_generator(model, generator) first.")
        return x * dropout_mask(x, self.p, self.generator)

    def extra_repr(self) -> str:
        """Return the probability, for ``repr``."""
        return f"p={self.p}"


def set_dropout_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Set the generator from which all :class:`Dropout` layers in ``module`` draw, in the order in which they run."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator


def stacked_mask(x: Tensor, p: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Return dropout masks with the shape of ``x``, ``[K, …]``; ``generators[k]`` draws the mask of member k."""
    if len(generators) == 1:
        return dropout_mask(x, p, generators[0])
    return torch.stack([dropout_mask(member, p, g) for member, g in zip(x.detach(), generators, strict=True)])


def replace_layers(module: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace each layer in ``module`` for which ``replacement`` returns another layer."""
    for name, child in module.named_children():
        new = replacement(child)
        if new is None:
            replace_layers(child, replacement)
        else:
            setattr(module, name, new)


def replace_dropouts(module: nn.Module) -> None:
    """Replace each :class:`torch.nn.Dropout` in ``module`` with a :class:`Dropout` of the same probability."""
    replace_layers(module, lambda layer: Dropout(layer.p) if isinstance(layer, nn.Dropout) else None)

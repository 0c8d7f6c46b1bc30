"""Dropout whose masks come from a generator of its own instead of PyTorch's global one.

With it a model's training is decided by its own seed alone, whatever else runs in the process, and
the generator's state can be stored in a checkpoint.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def dropout_mask(like: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """A tensor shaped as ``like``: 0 with probability ``p``, else 1/(1-p)."""
    return torch.empty_like(like).bernoulli_(1 - p, generator=generator).div_(1 - p)


class Dropout(nn.Module):
    """Like :class:`torch.nn.Dropout` (inverted dropout), with masks from ``self.generator``.

    In evaluation mode it does nothing.  In training mode ``generator`` must have been set
    (:func:`set_dropout_generator`), on the device of the input.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of any shape, masked in training mode."""
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise RuntimeError("Dropout has no generator: call set_dropout_generator(model, generator) before training")
        return x * dropout_mask(x, self.p, self.generator)

    def extra_repr(self) -> str:
        """The probability, for ``repr``."""
        return f"p={self.p}"


def set_dropout_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Give all :class:`Dropout` layers inside ``module`` this generator (they share it, in order of use)."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator


def stacked_mask(x: Tensor, p: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Dropout masks shaped as ``x`` [K, …], each member's drawn from its own generator."""
    if len(generators) == 1:
        return dropout_mask(x, p, generators[0])
    return torch.stack([dropout_mask(member, p, g) for member, g in zip(x.detach(), generators, strict=True)])


def replace_layers(module: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace each layer inside ``module`` for which ``replacement`` returns another one."""
    for name, child in module.named_children():
        new = replacement(child)
        if new is None:
            replace_layers(child, replacement)
        else:
            setattr(module, name, new)


def replace_dropouts(module: nn.Module) -> None:
    """Replace each :class:`torch.nn.Dropout` inside ``module`` by a :class:`Dropout` of the same probability."""
    replace_layers(module, lambda layer: Dropout(layer.p) if isinstance(layer, nn.Dropout) else None)

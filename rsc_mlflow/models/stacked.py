"""K models of one architecture, trained at once.

:class:`StackedModel` stores each parameter of K models as one tensor ``[K, …]`` and computes each layer for all of them
with batched matrix products.  :class:`rsc_mlflow.models.mapped.MappedModel` does the same for other architectures, and
:class:`SingleModel` wraps one model.  All three implement :class:`Stack`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rsc_mlflow.models.dropout import Dropout, set_dropout_generator, stacked_mask
from rsc_mlflow.models.normalize import Normalize
from rsc_mlflow.models.preprocess import ResizeAndCrop

_WITHOUT_WEIGHTS = (nn.MaxPool2d, ResizeAndCrop, Normalize)


class Stack(Protocol):
    """Interface of K models of one architecture that are trained at once."""

    size: int
    parameters: dict[str, Tensor]
    """State-dict key → values of all K models, ``[K, …]``, without gradients; optimizers change them in place."""

    def forward(self, x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        """Return the logits of all models on their own images.

        Args:
            x: float32 ``[K, B, C, H, W]``.
            dropout: one generator per model for training mode; None for evaluation mode.

        Returns:
            ``[K, B, classes]``.
        """

    def evaluate(self, x: Tensor, members: Sequence[int]) -> Tensor:
        """Return the logits of some members, in evaluation mode, on the same images.

        Args:
            x: float32 ``[B, C, H, W]``.
            members: indices of the members.

        Returns:
            ``[len(members), B, classes]``.
        """

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """Return the gradients of the scalar ``loss`` in the order of ``parameters``, each ``[K, …]``.

        They are contiguous, because PyTorch's fused CPU optimizers ignore the strides of a gradient.
        """

    def member_state(self, k: int) -> dict[str, Tensor]:
        """Return a copy of member k's state dict, on the device of the stack."""


class StackedModel:
    """K models of one stackable architecture.

    A stackable model is an ``nn.Sequential`` of Flatten, Linear, ReLU, Dropout, Conv2d (stride 1, no padding) and
    MaxPool2d, optionally after ResizeAndCrop and Normalize.  Memory and work grow with K, but the number of kernel
    launches does not.  On the CPU, networks with convolutions run one member after another, so that a member's feature
    maps stay in the cache.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device | None = None) -> None:
        first = models[0]
        if not isinstance(first, nn.Sequential):
            raise TypeError(f"Cannot stack a {type(first).__name__}. Expected an nn.Sequential.")
        self.size = len(models)
        self._layers = [(name, on_device(layer, device)) for name, layer in first.named_children()]
        self._convolves = any(isinstance(layer, nn.Conv2d) for layer in first.children())
        states = [model.state_dict() for model in models]
        self._leaves = {
            key: torch.stack([state[key] for state in states]).to(device).requires_grad_() for key in states[0]
        }
        self.parameters = {key: leaf.detach() for key, leaf in self._leaves.items()}

    def forward(self, x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        """See :class:`Stack`."""
        if self._convolves and x.device.type == "cpu" and self.size > 1:
            return self.forward_each(x, dropout)
        return self.forward_all(x, dropout)

    def forward_all(self, x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        """Return the result of :meth:`forward`, computed with one call of each layer for all members."""
        return self._run(self._leaves, x, dropout)

    def forward_each(self, x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        """Return the result of :meth:`forward`, computed for one member after another."""
        columns = [leaf.split(1) for leaf in self._leaves.values()]  # type: ignore[no-untyped-call]
        logits = [
            self._run(dict(zip(self._leaves, leaves, strict=True)), x[k : k + 1], dropout and dropout[k : k + 1])
            for k, leaves in enumerate(zip(*columns, strict=True))
        ]
        return torch.cat(logits)

    def evaluate(self, x: Tensor, members: Sequence[int]) -> Tensor:
        """See :class:`Stack`.  For a single member, the result is bitwise equal to the output of its module."""
        return self._run(of_members(self._leaves, members), x.expand(len(members), *x.shape), None)

    def _run(self, leaves: Mapping[str, Tensor], x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        for name, layer in self._layers:
            if isinstance(layer, nn.Linear):
                x = linear(x, leaves[f"{name}.weight"], leaves[f"{name}.bias"])
            elif isinstance(layer, nn.Conv2d):
                x = convolve(x, leaves[f"{name}.weight"], leaves[f"{name}.bias"])
            elif isinstance(layer, Dropout):
                x = x if dropout is None else x * stacked_mask(x, layer.p, dropout)
            elif isinstance(layer, nn.ReLU):
                x = F.relu(x)
            elif isinstance(layer, nn.Flatten):
                x = x.flatten(2)
            elif isinstance(layer, _WITHOUT_WEIGHTS):
                each: Tensor = layer(x.flatten(0, 1))
                x = each.reshape(*x.shape[:2], *each.shape[1:])
            else:
                raise TypeError(f"Cannot stack a layer of type {type(layer).__name__}.")
        return x

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """See :class:`Stack`."""
        return [g.contiguous() for g in torch.autograd.grad(loss, list(self._leaves.values()))]

    def member_state(self, k: int) -> dict[str, Tensor]:
        """See :class:`Stack`."""
        return {key: values[k].clone() for key, values in self.parameters.items()}


def of_members(values: Mapping[str, Tensor], members: Sequence[int]) -> dict[str, Tensor]:
    """Return the values of some members from tensors ``[K, …]``; for a single member, as views."""
    if len(members) == 1:
        return {key: value.narrow(0, members[0], 1) for key, value in values.items()}
    return {key: value[list(members)] for key, value in values.items()}


def on_device(layer: nn.Module, device: torch.device | None) -> nn.Module:
    """Return the layer, moved to the device if it contains constants.  Weights are not needed: they are stacked."""
    return layer.to(device) if isinstance(layer, Normalize) else layer


class SingleModel:
    """One model of any architecture as a :class:`Stack` of size 1."""

    size = 1

    def __init__(self, model: nn.Module, device: torch.device | None = None) -> None:
        self._model = model.to(device)
        self._leaves = dict(self._model.named_parameters())
        self.parameters = {key: leaf.detach().unsqueeze(0) for key, leaf in self._leaves.items()}

    def forward(self, x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        """See :class:`Stack`.  In training mode, batch-norm layers update their running statistics."""
        self._model.train(dropout is not None)
        set_dropout_generator(self._model, dropout[0] if dropout else None)
        # With channels last, convolutions and batch norm are a third faster on the CPU, and also faster on a GPU.
        x = x.squeeze(0).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self._model(x)
        return logits.unsqueeze(0)

    def evaluate(self, x: Tensor, members: Sequence[int]) -> Tensor:
        """See :class:`Stack`."""
        self._model.eval()
        logits: Tensor = self._model(x)
        return logits.unsqueeze(0)

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """See :class:`Stack`."""
        gradients = torch.autograd.grad(loss, list(self._leaves.values()))
        return [g.contiguous().unsqueeze(0) for g in gradients]

    def member_state(self, k: int) -> dict[str, Tensor]:
        """See :class:`Stack`; includes the batch-norm buffers."""
        return {key: value.detach().clone() for key, value in self._model.state_dict().items()}


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the outputs ``[K, B, out]`` of K linear layers.

    Args:
        x: inputs, ``[K, B, in]``.
        weight: ``[K, out, in]``.
        bias: ``[K, out]``.
    """
    if len(weight) == 1:
        return F.linear(x.squeeze(0), weight.squeeze(0), bias.squeeze(0)).unsqueeze(0)
    if torch.is_autocast_enabled(x.device.type):  # as PyTorch does for its own linear layers
        kind = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(kind), weight.to(kind), bias.to(kind)
    out: Tensor = _StackedLinear.apply(x, weight, bias)
    return out


class _StackedLinear(torch.autograd.Function):
    """Batched linear layers whose weight gradient is contiguous; that of ``baddbmm`` is a transposed view."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_input = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_input, torch.bmm(gradient.transpose(1, 2), x), gradient.sum(1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the outputs ``[K, B, out, H', W']`` of K convolutions with stride 1 and without padding.

    For K > 1, they are computed by one convolution with K groups of channels.

    Args:
        x: inputs, ``[K, B, C, H, W]``.
        weight: ``[K, out, C, h, w]``.
        bias: ``[K, out]``.
    """
    members = len(weight)
    if members == 1:
        return F.conv2d(x.squeeze(0), weight.squeeze(0), bias.squeeze(0)).unsqueeze(0)
    joined = x.transpose(0, 1).flatten(1, 2)  # [B, K·C, H, W]
    out = F.conv2d(joined, weight.flatten(0, 1), bias.flatten(), groups=members)
    return out.view(len(out), members, -1, *out.shape[2:]).transpose(0, 1)

"""K models of any architecture, trained at once with :func:`torch.func.vmap`.

``vmap`` runs the model's ``forward`` once for all members.  A convolution becomes one convolution with K groups of
channels (images ``[B, K·C, H, W]``, channels last), a linear layer becomes a batched matrix product, and all other
operations act on each member separately.  Two layers are replaced: batch norm, by one call over K·C channels, and
dropout, which draws each member's mask from that member's generator.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from rsc_mlflow.models.dropout import Dropout, replace_layers, stacked_mask
from rsc_mlflow.models.stacked import of_members

Rule = Callable[..., Tensor]
"""A function of tensors ``[K, …]`` that returns a tensor ``[K, …]``."""


class MappedModel:
    """K models of one architecture, whose parameters and buffers are stored as one tensor ``[K, …]`` each.

    See :class:`rsc_mlflow.models.stacked.Stack`.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device | None = None) -> None:
        self.size = len(models)
        self._keys = list(models[0].state_dict())
        self._module = with_member_layers(models[0]).to(device)
        self._products = _cast_product_inputs(self._module)
        leaves, buffers = stack_module_state(list(models))
        self._leaves = {key: leaf.detach().to(device).requires_grad_() for key, leaf in leaves.items()}
        # The state dict does not contain constants, such as the mean and std of Normalize.
        self._buffers = {key: buffers[key].to(device) for key in buffers.keys() & set(self._keys)}
        self.parameters = {key: leaf.detach() for key, leaf in self._leaves.items()}

    def forward(self, x: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        """See :class:`Stack`.  In training mode, batch-norm layers update each member's running statistics."""
        self._module.train(dropout is not None)
        for layer in self._module.modules():
            if isinstance(layer, MemberDropout):
                layer.generators = dropout or ()
        logits: Tensor = vmap(self._call)(self._weights(x.device.type), self._buffers, _channels_last(x))
        return logits

    def evaluate(self, x: Tensor, members: Sequence[int]) -> Tensor:
        """See :class:`Stack`.  A first convolution is computed once, with the filters of all members."""
        self._module.eval()
        weights, buffers = of_members(self._weights(x.device.type), members), of_members(self._buffers, members)
        images = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = vmap(self._call, in_dims=(0, 0, None))(weights, buffers, images)
        return logits

    def _weights(self, device: str) -> dict[str, Tensor]:
        """Return the parameters, cast to autocast's type if it is on, as autocast has no effect inside ``vmap``."""
        if device == "meta" or not torch.is_autocast_enabled(device):
            return self._leaves
        kind = torch.get_autocast_dtype(device)
        return {key: leaf.to(kind) if key in self._products else leaf for key, leaf in self._leaves.items()}

    def _call(self, leaves: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Any:
        return functional_call(self._module, (leaves, buffers), (images,))

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """See :class:`Stack`."""
        return [g.contiguous() for g in torch.autograd.grad(loss, list(self._leaves.values()))]

    def member_state(self, k: int) -> dict[str, Tensor]:
        """See :class:`Stack`; includes the batch-norm buffers."""
        held = self.parameters | self._buffers
        return {key: held[key][k].clone() for key in self._keys}


def _channels_last(x: Tensor) -> Tensor:
    """Return ``x``, ``[K, B, C, H, W]``, with the K·C values of each pixel adjacent in memory."""
    joined = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    return _apart(joined, len(x))


def _apart(joined: Tensor, members: int) -> Tensor:
    """Return a view of a tensor ``[B, K·C, H, W]`` as ``[K, B, C, H, W]``."""
    return joined.view(len(joined), members, -1, *joined.shape[2:]).transpose(0, 1)


class MemberBatchNorm(nn.Module):
    """Replaces :class:`torch.nn.BatchNorm2d` in a :class:`MappedModel`; its tensors have the same names."""

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__()
        assert layer.momentum is not None
        self._momentum, self._eps = layer.momentum, layer.eps
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Return one member's ``x``, ``[B, C, H, W]``, normalized."""
        if self.training:
            self.num_batches_tracked.add_(1)  # type: ignore[operator]
        return _for_all(self._all, x, self.running_mean, self.running_var, self.weight, self.bias)

    def _all(self, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        joined = x.transpose(0, 1).flatten(1, 2)  # [B, K·C, H, W]
        statistics = (mean.flatten(), variance.flatten(), weight.flatten(), bias.flatten())
        out = F.batch_norm(joined, *statistics, self.training, self._momentum, self._eps)
        return _apart(out, len(x))


class MemberDropout(nn.Module):
    """Replaces :class:`Dropout` in a :class:`MappedModel`; draws each member's mask from that member's generator."""

    def __init__(self, layer: Dropout) -> None:
        super().__init__()
        self.p = layer.p
        self.generators: Sequence[torch.Generator] = ()

    def forward(self, x: Tensor) -> Tensor:
        """Return one member's ``x``, of any shape; in training mode, multiplied by a mask."""
        return _for_all(self._all, x) if self.training and self.p else x

    def _all(self, x: Tensor) -> Tensor:
        return x * stacked_mask(x, self.p, self.generators)


def with_member_layers(module: nn.Module) -> nn.Module:
    """Return a copy of the module with its batch-norm and dropout layers replaced for :class:`MappedModel`."""
    module = copy.deepcopy(module)
    replace_layers(module, _member_layer)
    return module


def _cast_product_inputs(module: nn.Module) -> set[str]:
    """Let linear and convolution layers cast their inputs to the type of their weights.

    Return the names of the parameters of these layers.
    """
    names: set[str] = set()
    for prefix, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            names.update(f"{prefix}.{name}".lstrip(".") for name, _ in layer.named_parameters())
            layer.register_forward_pre_hook(lambda layer, inputs: (inputs[0].to(layer.weight.dtype),))
    return names


def _member_layer(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, Dropout):
        return MemberDropout(layer)
    if isinstance(layer, nn.BatchNorm2d) and layer.affine and layer.track_running_stats and layer.momentum is not None:
        return MemberBatchNorm(layer)
    return None


def _for_all(rule: Rule, *tensors: Any) -> Tensor:
    out: Tensor = _ForAll.apply(rule, *tensors)
    return out


class _ForAll(torch.autograd.Function):
    """Applies a rule to the tensors of all members at once, inside ``vmap``.  Autograd differentiates the rule."""

    @staticmethod
    def forward(rule: Rule, *tensors: Tensor) -> Tensor:  # pragma: no cover - always called inside vmap
        raise RuntimeError("A member layer works only inside a MappedModel.")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # pragma: no cover - vmap requires it
        """Save nothing: autograd records the operations of the rule."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], rule: Rule, *tensors: Tensor) -> tuple[Tensor, int]:
        """See :class:`torch.autograd.Function`."""
        size: int = info.batch_size
        dims = in_dims[1:]
        moved = [
            t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0) for t, dim in zip(tensors, dims, strict=True)
        ]
        return rule(*moved), 0

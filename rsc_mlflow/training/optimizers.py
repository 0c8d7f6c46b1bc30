"""PyTorch's optimizers on the stacked parameters of a cohort.

Adjacent members with equal hyper-parameters form a block: one parameter group whose parameters are views of the stacked
tensors.  All these optimizers update each entry of a tensor independently, so a member's slice of a block's state is
the state of an optimizer of that model alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from rsc_mlflow.config import TrainingConfig

State = Mapping[str, Mapping[str, Tensor]]

NEGLIGIBLE = 1e-30
STEPS_BETWEEN_DROPS = 100
"""Number of training steps between two calls of :func:`drop_negligible`."""


@dataclass(frozen=True)
class _Block:
    first: int
    last: int  # exclusive
    config: TrainingConfig
    parameters: tuple[nn.Parameter, ...]


def drop_negligible(optimizer: torch.optim.Optimizer) -> None:
    """Set entries of the optimizer's state below 1e-30 in absolute value to zero.

    If a gradient becomes zero and stays zero, as in a dead unit, the first moment shrinks by a constant factor in each
    step.  With β = 0.9, it reaches the denormal numbers below 1.2e-38 after about 800 steps, in the second epoch of
    MNIST.  Processors compute more slowly with denormal numbers, and the moment stays denormal, because the smallest of
    them times 0.9 rounds to itself.  With this β, a moment takes 174 steps to shrink from 1e-30 to a denormal number,
    so calling this function every :data:`STEPS_BETWEEN_DROPS` steps is enough.

    ``torch.set_flush_denormal`` is not sufficient.  It affects only the calling thread and threads created later, not
    PyTorch's existing thread pool, so results would depend on which thread computes what.
    """
    for state in optimizer.state.values():
        for tensor in state.values():
            if isinstance(tensor, Tensor) and tensor.ndim > 0:
                tensor.masked_fill_(tensor.abs() < NEGLIGIBLE, 0)


def block_key(config: TrainingConfig, start: State | None) -> tuple[Any, ...]:
    """Return a key of all that a member's update depends on, except its gradient and its optimizer's tensors.

    Members with equal keys may share a block.
    """
    states = list((start or {}).values())
    kept = tuple(sorted({name for tensors in states for name in tensors}))
    steps = tuple(sorted({float(tensors["step"]) for tensors in states if "step" in tensors}))
    update = (config.learning_rate, config.momentum, config.weight_decay, config.grad_clip, config.schedule)
    return (*update, kept, steps)


class CohortOptimizer:
    """One optimizer for K members, which may differ in learning rate, momentum, weight decay and clipping."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        configs: Sequence[TrainingConfig],
        starts: Sequence[State | None],
    ) -> None:
        self._keys = list(parameters)
        self._blocks = list(_blocks(parameters, configs, starts))
        self._optimizer = _make(self._blocks, next(iter(parameters.values())).device)
        for block in self._blocks:
            if starts[block.first]:
                self._load(block, [starts[k] or {} for k in range(block.first, block.last)])

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Set the learning rate of each of the K members (equal within a block)."""
        for block, group in zip(self._blocks, self._optimizer.param_groups, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rates[block.first])
            else:
                group["lr"] = rates[block.first]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update the parameters from their gradients ``[K, …]``, in the same order, which are clipped in place."""
        for block in self._blocks:
            clip = block.config.grad_clip
            for parameter, gradient in zip(block.parameters, gradients, strict=True):
                parameter.grad = gradient[block.first : block.last]
                if clip > 0:
                    parameter.grad.clamp_(-clip, clip)
        self._optimizer.step()

    def drop_negligible(self) -> None:
        """See :func:`drop_negligible`."""
        drop_negligible(self._optimizer)

    def member_state(self, k: int) -> dict[str, dict[str, Tensor]]:
        """Return member k's state on the CPU: parameter key → name → tensor, without the leading dimension K."""
        block = next(block for block in self._blocks if block.first <= k < block.last)
        result: dict[str, dict[str, Tensor]] = {}
        for key, parameter in zip(self._keys, block.parameters, strict=True):
            tensors = self._optimizer.state.get(parameter, {})
            result[key] = {
                name: (value[k - block.first] if value.ndim else value).detach().cpu().clone()
                for name, value in tensors.items()
                if isinstance(value, Tensor)
            }
        return {key: tensors for key, tensors in result.items() if tensors}

    def _load(self, block: _Block, states: Sequence[State]) -> None:
        for key, parameter in zip(self._keys, block.parameters, strict=True):
            own = self._optimizer.state[parameter]
            for name, value in states[0].get(key, {}).items():
                if value.ndim == 0:
                    own[name] = value.clone().to(parameter.device)
                else:
                    own[name] = torch.stack([state[key][name] for state in states]).to(parameter.device)
            if block.config.optimizer == "rms" and block.config.momentum > 0:
                own.setdefault("momentum_buffer", torch.zeros_like(parameter))  # RMSprop creates it in its first step


def _blocks(
    parameters: Mapping[str, Tensor], configs: Sequence[TrainingConfig], starts: Sequence[State | None]
) -> Iterator[_Block]:
    keys = [block_key(config, start) for config, start in zip(configs, starts, strict=True)]
    for _, group in groupby(range(len(configs)), key=lambda k: keys[k]):
        members = list(group)
        first, last = members[0], members[-1] + 1
        views = tuple(nn.Parameter(values[first:last]) for values in parameters.values())
        yield _Block(first, last, configs[first], views)


def _make(blocks: Sequence[_Block], device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer.  On a GPU, learning rates are tensors, so that a CUDA graph can repeat the steps."""
    kind, on_gpu = blocks[0].config.optimizer, device.type == "cuda"
    groups: list[dict[str, Any]] = [
        {
            "params": list(block.parameters),
            "lr": torch.tensor(block.config.learning_rate, device=device) if on_gpu else block.config.learning_rate,
            "weight_decay": block.config.weight_decay,
        }
        | ({"momentum": block.config.momentum} if kind in ("sgd", "rms") else {})
        for block in blocks
    ]
    if kind == "sgd":
        return torch.optim.SGD(groups, fused=True)
    if kind == "adam":
        return torch.optim.Adam(groups, fused=True, capturable=on_gpu)
    if kind == "adagrad":
        return RepeatableAdagrad(groups) if on_gpu else torch.optim.Adagrad(groups, fused=True)
    return torch.optim.RMSprop(groups, capturable=on_gpu)


class RepeatableAdagrad(torch.optim.Adagrad):
    """Adagrad whose steps a CUDA graph can repeat; PyTorch's Adagrad reads learning rate and step number on the CPU."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups)
        for parameter, state in self.state.items():
            state["step"] = state["step"].to(parameter.device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters; the learning rates of the groups are tensors."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                state["step"].add_(1)
                state["sum"].addcmul_(gradient, gradient)
                parameter.sub_(group["lr"] * gradient / (state["sum"].sqrt() + group["eps"]))

"""A model as a function of one flat parameter vector, which the solvers work with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rsc_mlflow.unlearning.base import frozen_copy


class FlatModel:
    """A copy of a model, in evaluation mode, as a function of its parameters.

    The parameters are a dict by name, or a vector of ``size`` (P) numbers in the order of ``model.named_parameters()``.
    Buffers (batch-norm statistics) are constants.
    """

    def __init__(self, model: nn.Module) -> None:
        self.module = frozen_copy(model).requires_grad_(True)
        self.parameters: dict[str, Tensor] = {k: p.detach() for k, p in self.module.named_parameters()}
        self._buffers: dict[str, Tensor] = {k: b.detach() for k, b in self.module.named_buffers()}
        self._sizes = [p.numel() for p in self.parameters.values()]
        self.size = sum(self._sizes)

    @property
    def vector(self) -> Tensor:
        """A copy of the parameters as one vector ``[P]``."""
        return self.flatten(self.parameters)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(iter(self.parameters.values())).device

    def logits(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the logits ``[N, classes]`` of images ``[N, C, H, W]`` for the given parameters."""
        out: Tensor = functional_call(self.module, {**self._buffers, **parameters}, (images,))
        return out

    def flatten(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the vector ``[P]`` of a dict with the parameters' keys and shapes."""
        return torch.cat([values[k].reshape(-1) for k in self.parameters])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return views into ``vector`` by parameter name; the inverse of :meth:`flatten`."""
        parts = torch.split(vector, self._sizes)
        return {k: part.view(p.shape) for (k, p), part in zip(self.parameters.items(), parts, strict=True)}

    def moved(self, step: Tensor) -> nn.Module:
        """Return a new module in evaluation mode whose parameters are the model's plus ``step`` (``[P]``)."""
        module = frozen_copy(self.module)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(self.parameters[name] + self.unflatten(step)[name])
        return module


def parameter_distance(a: nn.Module, b: nn.Module) -> float:
    """Return the ℓ2 distance between the parameters, without buffers, of two models of the same architecture."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    squares = sum(float((p.detach().double() - q.detach().double()).square().sum()) for p, q in pairs)
    return float(squares**0.5)

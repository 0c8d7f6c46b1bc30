"""A model as a function of one flat parameter vector, which is what solvers work on."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rsc_mlflow.unlearning.base import frozen_copy


class FlatModel:
    """``logits(θ, images)`` in evaluation mode, with ``θ`` as a dict or as one vector of ``size`` numbers.

    The order of the vector is that of ``model.named_parameters()``.  Buffers (batch-norm statistics) are
    constants.  The model given is copied, never changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.module = frozen_copy(model).requires_grad_(True)
        self.parameters: dict[str, Tensor] = {k: p.detach() for k, p in self.module.named_parameters()}
        self._buffers: dict[str, Tensor] = {k: b.detach() for k, b in self.module.named_buffers()}
        self._sizes = [p.numel() for p in self.parameters.values()]
        self.size = sum(self._sizes)

    @property
    def vector(self) -> Tensor:
        """The parameters as one vector ``[P]`` (a copy)."""
        return self.flatten(self.parameters)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.parameters.values())).device

    def logits(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, C, H, W]`` at the given parameters."""
        out: Tensor = functional_call(self.module, {**self._buffers, **parameters}, (images,))
        return out

    def flatten(self, values: Mapping[str, Tensor]) -> Tensor:
        """One vector ``[P]`` from a dict with the parameters' keys and shapes."""
        return torch.cat([values[k].reshape(-1) for k in self.parameters])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """The inverse of ``flatten``: views into ``vector``."""
        parts = torch.split(vector, self._sizes)
        return {k: part.view(p.shape) for (k, p), part in zip(self.parameters.items(), parts, strict=True)}

    def moved(self, step: Tensor) -> nn.Module:
        """A new module with parameters θ + ``step`` (``[P]``), in evaluation mode."""
        module = frozen_copy(self.module)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(self.parameters[name] + self.unflatten(step)[name])
        return module


def parameter_distance(a: nn.Module, b: nn.Module) -> float:
    """ℓ2 distance between the parameters of two models of one architecture (buffers left out)."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    squares = sum(float((p.detach().double() - q.detach().double()).square().sum()) for p, q in pairs)
    return float(squares**0.5)

"""First-layer weights of an MLP as an image (the paper's weight figure).

For every input, the map contains the *largest* (signed) weight to any hidden unit.  It does not depend on the order of
hidden units, so maps of models with different initial weights can be compared.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsc_mlflow.data.patterns import apply_pattern
from rsc_mlflow.errors import InputError


def weight_map(model: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """Return the maximum of the first layer's weights over hidden units, float32 ``[C, H, W]``.

    Raises:
        InputError: the first layer is not a linear layer over the whole image.
    """
    layer = next((m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)), None)
    size = math.prod(image_shape)
    if not isinstance(layer, nn.Linear) or layer.in_features != size:
        what = "none" if layer is None else str(layer)
        raise InputError(
            f"The first layer of the model is {what}. Expected a linear layer over all {size} inputs "
            "(MLP, MLPv2, LargeMLP, LargeMLPv2 or VggMLP)."
        )
    return layer.weight.detach().amax(dim=0).reshape(image_shape).float().cpu()


def as_picture(weights: Tensor) -> Tensor:
    """Return the largest value over the channels of a map, ``[C, H, W]`` → ``[H, W]``."""
    return weights.amax(dim=0)


@dataclass(frozen=True, eq=False)
class WeightMaps:
    """Weight maps of several models with the same image shape.

    Attributes:
        maps: the map of each model by its label, float32 ``[C, H, W]``.

    Raises:
        InputError: there are no maps, or their shapes differ.
    """

    maps: dict[str, Tensor]

    def __post_init__(self) -> None:
        shapes = {tuple(one.shape) for one in self.maps.values()}
        if len(shapes) != 1:
            raise InputError(f"Invalid maps of shapes {sorted(shapes)}. Expected at least one map, all of one shape.")

    @property
    def color_range(self) -> tuple[float, float]:
        """Smallest and largest weight over all maps, for a common color scale."""
        every = torch.stack(list(self.maps.values()))
        return every.min().item(), every.max().item()

    @property
    def difference(self) -> Tensor | None:
        """Absolute difference of the first two maps, float32 ``[C, H, W]``; None if there is only one map."""
        first_two = list(self.maps.values())[:2]
        return (first_two[0] - first_two[1]).abs() if len(first_two) == 2 else None


def pattern_correlation(weights: Tensor, pattern: str, pattern_seed: int) -> float:
    """Return Pearson's r over inputs between a weight map and the pattern on a black image; NaN for a constant map.

    Compare it with the r of a clean model, which need not be close to 0: weights in the center of an image differ from
    those at its border.  There is no interval because neighboring inputs are not independent.

    Args:
        weights: result of :func:`weight_map`, ``[C, H, W]``.
        pattern: name of the pattern.
        pattern_seed: seed of a noise pattern.

    Raises:
        InputError: as for :func:`rsc_mlflow.data.apply_pattern`.
    """
    added = apply_pattern(pattern, torch.zeros(1, *weights.shape), pattern_seed)[0]
    pair = torch.stack([weights.flatten(), added.flatten()]).double()
    return torch.corrcoef(pair)[0, 1].item()

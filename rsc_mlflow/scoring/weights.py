"""What the first layer of an MLP looks at, drawn as an image (the paper's weight figure).

The map holds, for every input, the *largest* (signed) weight from it to any hidden unit.  It does not
depend on the order of the hidden units, so maps of models trained from different weights can be compared.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsc_mlflow.data.patterns import apply_pattern
from rsc_mlflow.errors import InputError


def weight_map(model: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """float32[C, H, W]: the maximum over hidden units of the first layer's weights.

    Raises:
        InputError: the first layer with weights is not a linear one over the whole image (only the MLPs have that).
    """
    layer = next((m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)), None)
    size = math.prod(image_shape)
    if not isinstance(layer, nn.Linear) or layer.in_features != size:
        what = "none" if layer is None else str(layer)
        raise InputError(
            f"the first layer is {what}; accepted: a linear layer over all {size} inputs "
            "(MLP, MLPv2, LargeMLP, LargeMLPv2 or VggMLP)"
        )
    return layer.weight.detach().amax(dim=0).reshape(image_shape).float().cpu()


def as_picture(weights: Tensor) -> Tensor:
    """float32[H, W] of a map float32[C, H, W]: the largest weight of any channel."""
    return weights.amax(dim=0)


@dataclass(frozen=True, eq=False)
class WeightMaps:
    """Maps of several models on the same images, by label, each float32[C, H, W].

    Raises:
        InputError: no map, or shapes that differ.
    """

    maps: dict[str, Tensor]

    def __post_init__(self) -> None:
        shapes = {tuple(one.shape) for one in self.maps.values()}
        if len(shapes) != 1:
            raise InputError(f"maps of shapes {sorted(shapes)}; accepted: at least one map, all of one shape")

    @property
    def color_range(self) -> tuple[float, float]:
        """Smallest and largest weight over all maps: one scale for all, or they cannot be compared."""
        every = torch.stack(list(self.maps.values()))
        return every.min().item(), every.max().item()

    @property
    def difference(self) -> Tensor | None:
        """float32[C, H, W]: the absolute difference of the first two maps; None where there is one map."""
        first_two = list(self.maps.values())[:2]
        return (first_two[0] - first_two[1]).abs() if len(first_two) == 2 else None


def pattern_correlation(weights: Tensor, pattern: str, pattern_seed: int) -> float:
    """Pearson's r over inputs between a map float32[C, H, W] and what the pattern adds to a black image.

    One number for every pattern, the local and the random ones; near 0 for a model that never saw it.
    No interval: neighboring inputs are not independent.  NaN for a constant map.
    """
    added = apply_pattern(pattern, torch.zeros(1, *weights.shape), pattern_seed)[0]
    pair = torch.stack([weights.flatten(), added.flatten()]).double()
    return torch.corrcoef(pair)[0, 1].item()

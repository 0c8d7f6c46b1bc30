"""What stored weights answer, computed without the package."""

import numpy as np
from torch import Tensor

from rsc_mlflow.tracking.pull import pull


def probabilities(model_uri: str, images: Tensor) -> np.ndarray:
    """Softmax [N, classes] of a stored MLP in float64 numpy."""
    weights = [tensor.double().numpy() for tensor in pull(model_uri).state_dict.values()]
    hidden = images.flatten(1).double().numpy()
    for layer in range(0, len(weights), 2):
        hidden = hidden @ weights[layer].T + weights[layer + 1]
        hidden = np.maximum(hidden, 0) if layer + 2 < len(weights) else hidden
    exponentials = np.exp(hidden - hidden.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)

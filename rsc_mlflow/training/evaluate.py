"""Evaluation of a model on many images."""

import torch
from torch import Tensor, nn

from rsc_mlflow import cancellation
from rsc_mlflow.models import enlargement
from rsc_mlflow.training.resident import as_floats, on_device


def evaluate_logits(module: nn.Module, images: Tensor, device: torch.device, batch_size: int = 2048) -> Tensor:
    """Return the logits of ``module`` in evaluation mode, without gradients.

    Args:
        module: the model; it is moved to ``device``, and its mode is restored afterwards.
        images: float32 ``[N, C, H, W]`` on any device.
        device: the device to compute on.
        batch_size: number of images at a time; fewer if the model enlarges images.

    Returns:
        float32 ``[N, classes]`` on the CPU.

    Raises:
        Cancelled: the process was asked to stop; see :mod:`rsc_mlflow.cancellation`.
    """
    module.to(device)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            parts = []
            for batch in torch.split(
                on_device(images, device), max(1, batch_size // enlargement(module, images.shape))
            ):
                cancellation.check()
                parts.append(module(as_floats(batch)))
            return torch.cat(parts).cpu()
    finally:
        module.train(training)

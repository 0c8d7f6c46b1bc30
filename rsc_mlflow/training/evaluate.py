"""Logits of a model over many images."""

import torch
from torch import Tensor, nn

from rsc_mlflow import cancellation
from rsc_mlflow.models import enlargement


def evaluate_logits(module: nn.Module, images: Tensor, device: torch.device, batch_size: int = 2048) -> Tensor:
    """Logits of ``module`` in evaluation mode, without gradients.

    Args:
        module: moved to ``device``; its training mode is restored afterwards.
        images: float32 [N, C, H, W], on any device.
        device: where to compute.
        batch_size: images at a time, fewer of those that the model enlarges.

    Returns:
        float32 [N, classes] on the CPU.

    Raises:
        Cancelled: see :mod:`rsc_mlflow.cancellation`; it is looked at between two batches.
    """
    module.to(device)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            parts = []
            for batch in torch.split(images, max(1, batch_size // enlargement(module, images.shape))):
                cancellation.check()
                parts.append(module(batch.to(device, non_blocking=True)))
            return torch.cat(parts).cpu()
    finally:
        module.train(training)

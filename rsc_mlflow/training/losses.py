"""The loss functions ``ce``, ``mse`` and ``kld``."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function from logits, float ``[N, C]``, and labels, int64 ``[N]``, to the loss of each example, float ``[N]``."""

KLD_FLOOR = 1e-6
"""Target probability of each wrong class for ``kld``, as in the paper's code."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood of the label in nats."""
    return F.cross_entropy(logits, labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over classes of the squared difference between the *logits* and the one-hot label.

    The paper's code calls ``MSELoss`` with logits and class indices, which fails because of their shapes.  This
    function uses one-hot targets instead, with the same loss on logits and the same mean over all entries.
    """
    wanted = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (logits - wanted).square().mean(1)


def divergence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return KL(q ‖ softmax(logits)) in nats, divided by the number of classes C, as in the paper's code.

    q is 10⁻⁶ for each wrong class and 1 − (C − 1)·10⁻⁶ for the label.
    """
    classes = logits.shape[1]
    wanted = torch.full_like(logits, KLD_FLOOR)
    wanted.scatter_(1, labels.unsqueeze(1), 1 - KLD_FLOOR * (classes - 1))
    return F.kl_div(logits.log_softmax(1), wanted, reduction="none").mean(1)


LOSS_FUNCTIONS: Mapping[str, Loss] = {"ce": cross_entropy, "mse": squared_error, "kld": divergence}

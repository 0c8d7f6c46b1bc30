"""The losses that a model's name can ask for: ``ce``, ``mse`` and ``kld``."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits float[N, C] and labels int64[N] → the loss of each example, float[N]."""

KLD_FLOOR = 1e-6
"""Probability of each wrong class in the target of ``kld``, as in the paper's code."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood in nats."""
    return F.cross_entropy(logits, labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes of the squared difference between the *logits* and the one-hot label.

    The paper's code hands logits and class numbers to ``MSELoss``, which refuses their shapes; its loss on logits and
    its mean over all entries are kept, with the one-hot targets that make it defined.
    """
    wanted = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (logits - wanted).square().mean(1)


def divergence(logits: Tensor, labels: Tensor) -> Tensor:
    """KL(q ‖ softmax(logits)) in nats, divided by the number of classes C, as in the paper's code.

    q is 10⁻⁶ for each wrong class and 1 − (C − 1)·10⁻⁶ for the label.
    """
    classes = logits.shape[1]
    wanted = torch.full_like(logits, KLD_FLOOR)
    wanted.scatter_(1, labels.unsqueeze(1), 1 - KLD_FLOOR * (classes - 1))
    return F.kl_div(logits.log_softmax(1), wanted, reduction="none").mean(1)


LOSS_FUNCTIONS: Mapping[str, Loss] = {"ce": cross_entropy, "mse": squared_error, "kld": divergence}

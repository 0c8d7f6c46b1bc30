"""First derivatives of the loss over sets of examples, computed in mini-batches.

The loss of an example is ``ℓ(z, θ) = cross-entropy + (weight_decay / 2)·‖θ‖²``, because training with weight decay
minimizes the mean of this loss.  Omitting the penalty would bias influences.
"""

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn.functional import cross_entropy

from rsc_mlflow.unlearning.base import Examples, device_of
from rsc_mlflow.unlearning.forward_mode import jvp
from rsc_mlflow.unlearning.parameters import FlatModel


def summed_gradient(model: FlatModel, examples: Examples, weight_decay: float = 0.0, batch_size: int = 1024) -> Tensor:
    """Return the sum of the examples' gradients, ``Σ_i ∇ℓ(z_i, θ)``, ``[P]``.

    Cost: one backward pass over the examples; memory: one batch.
    """

    def loss(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(model.logits(parameters, images), labels, reduction="sum")

    total = model.vector * (weight_decay * len(examples))
    for images, labels in examples.batches(batch_size):
        total += model.flatten(grad(loss)(model.parameters, images.to(model.device), labels.to(model.device)))
    return total


def directional_derivatives(
    model: FlatModel, examples: Examples, direction: Tensor, weight_decay: float = 0.0, batch_size: int = 2048
) -> Tensor:
    """Return ``∇ℓ(z_i, θ) · direction`` for every example, ``[n]``, without computing gradients.

    The inner products are the derivatives of the losses along ``direction`` (``[P]``), computed by forward-mode
    differentiation.  Cost: about two forward passes over the examples; memory: one batch.
    """
    tangent = model.unflatten(direction)
    decay = weight_decay * float(model.vector @ direction)
    out = []
    for images, labels in examples.batches(batch_size):
        images, labels = images.to(model.device), labels.to(model.device)

        def losses(p: dict[str, Tensor], x: Tensor = images, y: Tensor = labels) -> Tensor:
            return cross_entropy(model.logits(p, x), y, reduction="none")

        out.append(jvp(losses, (model.parameters,), (tangent,))[1] + decay)
    return torch.cat(out)


def loss_and_accuracy(model: nn.Module, examples: Examples, batch_size: int = 2048) -> tuple[float, float]:
    """Return the mean cross-entropy (nats) and the accuracy of the model, in evaluation mode, on the examples."""
    loss, hits = 0.0, 0
    for logits, labels in _outputs(model, examples, batch_size):
        loss += float(cross_entropy(logits, labels, reduction="sum"))
        hits += int((logits.argmax(1) == labels).sum())
    return loss / len(examples), hits / len(examples)


def label_confidence(model: nn.Module, examples: Examples, batch_size: int = 2048) -> float:
    """Return the model's mean probability of the examples' labels, in evaluation mode."""
    total = 0.0
    for logits, labels in _outputs(model, examples, batch_size):
        total += float(logits.double().softmax(1).gather(1, labels[:, None]).sum())
    return total / len(examples)


@torch.no_grad()
def _outputs(model: nn.Module, examples: Examples, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Return logits and labels of each batch, on the model's device, in evaluation mode."""
    device, was_training = device_of(model), model.training
    model.eval()
    batches = examples.batches(batch_size)
    found = [(model(images.to(device)), labels.to(device)) for images, labels in batches]
    model.train(was_training)
    return found

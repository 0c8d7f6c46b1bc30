"""Products of the loss's curvature with vectors, computed in mini-batches without forming a matrix.

Vectors have the P entries of a model's flat parameter vector θ.  Two curvatures of the mean loss over n examples are
available, both with damping λI:

- ``hessian``: ``H = (1/n) Σ ∇²ℓ(z_i, θ)``, exact, but indefinite away from a minimum;
- ``ggn``: the generalized Gauss-Newton matrix ``G = (1/n) Σ J_iᵀ (diag p_i − p_i p_iᵀ) J_i``, where ``J_i`` is the
  Jacobian of the logits and ``p_i`` the softmax (Schraudolph 2002; Martens 2010).  It is positive semi-definite, equals
  the Fisher matrix for cross-entropy, and equals the Hessian if the logits are linear in θ.

Weight decay adds a multiple of the identity to both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap
from torch.nn.functional import cross_entropy

from rsc_mlflow import cancellation
from rsc_mlflow.errors import invalid_value
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.choices import KINDS, Kind
from rsc_mlflow.unlearning.forward_mode import jvp
from rsc_mlflow.unlearning.parameters import FlatModel

Product = Callable[[dict[str, Tensor], Tensor, Tensor], dict[str, Tensor]]


class Curvature:
    """The matrix ``H + (weight_decay + λ)I`` over a set of examples, as a linear operator.

    Args:
        model: the model.
        examples: the examples over which the mean H is taken.
        kind: ``ggn`` (H is the matrix G above) or ``hessian``.
        damping: λ.
        weight_decay: weight decay of the model's training.
        batch_size: number of examples in memory at a time.

    Raises:
        InputError: ``kind`` is unknown.
    """

    def __init__(
        self,
        model: FlatModel,
        examples: Examples,
        kind: Kind = "ggn",
        damping: float = 0.0,
        weight_decay: float = 0.0,
        batch_size: int = 2048,
    ) -> None:
        if kind not in KINDS:
            raise invalid_value("curvature", kind, " or ".join(KINDS))
        self.model, self.examples, self.kind = model, examples, kind
        self.batch_size, self.shift = batch_size, damping + weight_decay
        self._summed: Product = _gauss_newton(model) if kind == "ggn" else _hessian(model)

    def product(self, vector: Tensor) -> Tensor:
        """Return the product of the matrix, over all examples, with a vector; both vectors are ``[P]``.

        The cost is about two backward passes over the examples.
        """
        direction = self.model.unflatten(vector)
        total = torch.zeros_like(vector)
        for images, labels in self.examples.batches(self.batch_size):
            part = self._summed(direction, images.to(self.model.device), labels.to(self.model.device))
            total += self.model.flatten(part)
        return total.div_(len(self.examples)).add_(vector, alpha=self.shift)

    def sampled_product(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Return the products with R vectors, each over its own mini-batch, ``[R, P]``.

        Args:
            vectors: ``[R, P]``.
            positions: mini-batches as positions in the examples, int64 ``[R, B]``.
        """
        images, labels = self.examples.rows(positions)

        def one(vector: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return self.model.flatten(self._summed(self.model.unflatten(vector), x, y))

        device = self.model.device
        if len(vectors) == 1:
            summed = one(vectors[0], images[0].to(device), labels[0].to(device))[None]
        else:
            summed = vmap(one)(vectors, images.to(device), labels.to(device))
        return summed.div_(positions.shape[1]).add_(vectors, alpha=self.shift)


def _gauss_newton(model: FlatModel) -> Product:
    """Return v → ``Σ_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i v``, computed by a forward-mode and a backward pass."""

    def product(direction: dict[str, Tensor], images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        def with_tangent(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            found: Any = jvp(lambda p: model.logits(p, images), (parameters,), (direction,))
            return found[0], found[1]

        found: Any = vjp(with_tangent, model.parameters, has_aux=True)  # PyTorch's annotation omits the third value
        logits, pull_back, tangent = found
        p = logits.softmax(1)
        curved = p * (tangent - (p * tangent).sum(1, keepdim=True))
        result: dict[str, Tensor] = pull_back(curved)[0]
        return result

    return product


def _hessian(model: FlatModel) -> Product:
    """Return v → ``Σ_i ∇²ℓ(z_i) v``, computed by forward-over-reverse differentiation."""

    def product(direction: dict[str, Tensor], images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        def gradient(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
            def loss(p: dict[str, Tensor]) -> Tensor:
                return cross_entropy(model.logits(p, images), labels, reduction="sum")

            slope: dict[str, Tensor] = grad(loss)(parameters)
            return slope

        result: dict[str, Tensor] = jvp(gradient, (model.parameters,), (direction,))[1]
        return result

    return product


def largest_sampled_curvature(
    curvature: Curvature, batch_size: int, generator: torch.Generator, batches: int = 4, iterations: int = 12
) -> float:
    """Return an estimate of the largest absolute eigenvalue of the damped curvature over single random mini-batches.

    Args:
        curvature: the curvature; damping and weight decay are included.
        batch_size: number of examples in a mini-batch.
        generator: draws the mini-batches and the starting vectors; on the CPU.
        batches: number of mini-batches, over which the maximum is taken.
        iterations: number of power iterations for each of them.
    """
    n = len(curvature.examples)
    positions = torch.randint(n, (batches, min(batch_size, n)), generator=generator)
    start = torch.randn(batches, curvature.model.size, generator=generator)
    vectors = start.to(curvature.model.vector)
    norms = vectors.norm(dim=1, keepdim=True)
    for _ in range(iterations):
        cancellation.check()
        vectors = curvature.sampled_product(vectors / norms, positions)
        norms = vectors.norm(dim=1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
    return float(norms.max())

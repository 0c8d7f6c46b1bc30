"""EKFAC: an approximation of the Gauss-Newton matrix by one Kronecker product per layer, with corrected eigenvalues.

George et al. 2018, "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis"; used for influence
functions by Grosse et al. 2023.  For a layer with inputs ``a`` and gradients ``g`` at its output, the layer's block
``E[(g gᵀ) ⊗ (a aᵀ)]`` is approximated by its diagonal in the eigenbasis of ``E[g gᵀ] ⊗ E[a aᵀ]``.  Blocks between
different layers are set to zero.

The expectation over labels is exact: ``Σ_c p_c (p − e_c)(p − e_c)ᵀ = diag p − p pᵀ`` for the softmax p, so one backward
pass per class replaces sampling.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, unfold

from rsc_mlflow.errors import InputError
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.parameters import FlatModel


@dataclass(frozen=True, eq=False)
class Block:
    """The block of one layer.

    Attributes:
        inputs: eigenvectors of ``E[a aᵀ]``, ``[in, in]``.
        gradients: eigenvectors of ``E[g gᵀ]``, ``[out, out]``.
        values: corrected eigenvalues, ``[out, in]``.
    """

    inputs: Tensor
    gradients: Tensor
    values: Tensor

    def solve(self, matrix: Tensor, shift: float) -> Tensor:
        """Return ``(block + shift·I)⁻¹`` times a vector, which is given and returned as a matrix ``[out, in]``."""
        turned = self.gradients.T @ matrix @ self.inputs
        return self.gradients @ (turned / (self.values + shift)) @ self.inputs.T


class EigenKroneckerFactors:
    """The fitted approximation G̃ of the Gauss-Newton matrix."""

    def __init__(self, model: FlatModel, blocks: dict[str, Block], diagonal: dict[str, Tensor]) -> None:
        self._model, self.blocks, self.diagonal = model, blocks, diagonal

    @classmethod
    def fit(cls, model: FlatModel, examples: Examples, batch_size: int = 2048) -> "EigenKroneckerFactors":
        """Fit the eigenbases in one pass over the examples, and the eigenvalues in a second one.

        Linear and ungrouped convolution layers have Kronecker blocks, batch-normalization layers a diagonal.  Memory:
        the eigenbases and eigenvalues; and for one batch, the inputs of every layer and the gradients at its output for
        every class.

        Raises:
            InputError: the model has parameters in another type of layer.
        """
        layers = _layers(model)
        bases = _eigenbases(model, layers, examples, batch_size)
        values, diagonal = _corrected_values(model, layers, bases, examples, batch_size)
        blocks = {name: Block(*bases[name], values[name]) for name in bases}
        return cls(model, blocks, diagonal)

    def solve(self, u: Tensor, shift: float) -> Tensor:
        """Return ``(G̃ + shift·I)⁻¹ u`` for ``u`` of shape ``[P]`` and ``shift`` > 0."""
        parts = self._model.unflatten(u)
        out = {name: parts[name] / (d + shift) for name, d in self.diagonal.items()}
        for name, block in self.blocks.items():
            weight, bias = parts[f"{name}.weight"], parts.get(f"{name}.bias")
            matrix = weight.reshape(weight.shape[0], -1)
            if bias is not None:
                matrix = torch.cat([matrix, bias[:, None]], 1)
            solved = block.solve(matrix, shift)
            if bias is not None:
                out[f"{name}.bias"] = solved[:, -1]
                solved = solved[:, :-1]
            out[f"{name}.weight"] = solved.reshape(weight.shape)
        return self._model.flatten(out)


def _layers(model: FlatModel) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    for name, module in model.module.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        kronecker = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if not kronecker and not isinstance(module, nn.BatchNorm2d):
            raise InputError(
                f"ekfac does not support the layer {name!r} ({type(module).__name__}). Expected linear, convolution "
                "and batch-normalization layers. Use the solver cg or lissa."
            )
        layers[name] = module
    return layers


def _rows(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return a layer's inputs as ``[B, T, in]``, for T positions of a convolution (1 for a linear layer).

    If the layer has a bias, the last input is 1.
    """
    if isinstance(layer, nn.Conv2d):
        padding = (layer.padding, layer.padding) if isinstance(layer.padding, int) else layer.padding
        assert not isinstance(padding, str)
        rows = unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride).transpose(1, 2)
    else:
        rows = inputs[:, None, :]
    if getattr(layer, "bias", None) is not None:
        rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
    return rows


class _Recorder:
    """Forward hooks that record each layer's inputs and outputs in the last forward pass."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self._handles = [layer.register_forward_hook(self._hook(name)) for name, layer in layers.items()]

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            self.inputs[name], self.outputs[name] = inputs[0].detach().clone(), output
            return output.clone()  # the next layer may modify it in place

        return keep

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def _passes(
    model: FlatModel, layers: dict[str, nn.Module], examples: Examples, batch_size: int
) -> Iterator[tuple[dict[str, Tensor], list[dict[str, Tensor]]]]:
    """Yield for each batch every layer's inputs and, for each class c, the gradients at its output times √p_c."""
    recorder = _Recorder(layers)
    try:
        for images, _ in examples.batches(batch_size):
            with torch.enable_grad():
                logits = model.module(images.to(model.device))
            p, outputs = logits.detach().softmax(1), recorder.outputs
            gradients = []
            for c in range(p.shape[1]):
                seed = (p - one_hot(torch.tensor(c, device=p.device), p.shape[1])) * p[:, c : c + 1].sqrt()
                found = torch.autograd.grad(logits, list(outputs.values()), seed, retain_graph=True)
                gradients.append(dict(zip(outputs, found, strict=True)))
            yield recorder.inputs, gradients
    finally:
        recorder.close()


def _gradient_rows(gradient: Tensor) -> Tensor:
    """Return the gradients at a layer's output as ``[B, T, out]``; see :func:`_rows`."""
    return gradient.flatten(2).transpose(1, 2) if gradient.dim() == 4 else gradient[:, None, :]


def _eigenbases(
    model: FlatModel, layers: dict[str, nn.Module], examples: Examples, batch_size: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the eigenvectors of ``Σ a aᵀ`` and ``Σ g gᵀ`` for each Kronecker layer."""
    sums: dict[str, list[Tensor]] = {}
    for inputs, gradients in _passes(model, layers, examples, batch_size):
        for name, layer in layers.items():
            if isinstance(layer, nn.BatchNorm2d):
                continue
            a = _rows(layer, inputs[name]).flatten(0, 1)
            gs = [_gradient_rows(g[name]).flatten(0, 1) for g in gradients]
            products = a.T @ a, torch.stack([g.T @ g for g in gs]).sum(0)
            for total, product in zip(sums.setdefault(name, [0 * x for x in products]), products, strict=True):
                total += product
    return {name: (_eigenvectors(a), _eigenvectors(g)) for name, (a, g) in sums.items()}


def _eigenvectors(symmetric: Tensor) -> Tensor:
    """Return eigenvectors, computed in float64 because float32 solvers fail on some rank-deficient matrices."""
    vectors: Tensor = torch.linalg.eigh(symmetric.double()).eigenvectors
    return vectors.to(symmetric.dtype)


def _corrected_values(
    model: FlatModel,
    layers: dict[str, nn.Module],
    bases: dict[str, tuple[Tensor, Tensor]],
    examples: Examples,
    batch_size: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the mean squared per-example gradients G, in the eigenbases for Kronecker layers, else of each parameter.

    For a Kronecker layer this is ``E[(Q_gᵀ G Q_a)²]``.
    """
    values = {n: a.new_zeros(len(g), len(a)) for n, (a, g) in bases.items()}
    names = [f"{n}.{p}" for n, layer in layers.items() if n not in bases for p, _ in layer.named_parameters()]
    diagonal = {name: torch.zeros_like(model.parameters[name]) for name in names}
    for inputs, gradients in _passes(model, layers, examples, batch_size):
        for name, layer in layers.items():
            if name not in bases:
                for gradient in gradients:
                    _add_batch_norm_squares(diagonal, name, layer, inputs[name], gradient[name])
                continue
            a = _rows(layer, inputs[name]) @ bases[name][0]
            for gradient in gradients:
                g = _gradient_rows(gradient[name]) @ bases[name][1]
                if a.shape[1] == 1:
                    values[name] += g[:, 0].square().T @ a[:, 0].square()
                else:
                    values[name] += torch.bmm(g.transpose(1, 2), a).square().sum(0)
    for total in (*values.values(), *diagonal.values()):
        total /= len(examples)
    return values, diagonal


def _add_batch_norm_squares(
    diagonal: dict[str, Tensor], name: str, layer: nn.Module, inputs: Tensor, gradient: Tensor
) -> None:
    """Add the squared per-example gradients of a batch normalization's scale and shift, for fixed statistics."""
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, deviation = layer.running_mean[:, None, None], (layer.running_var + layer.eps).sqrt()[:, None, None]
    diagonal[f"{name}.weight"] += (gradient * (inputs - mean) / deviation).sum((2, 3)).square().sum(0)
    diagonal[f"{name}.bias"] += gradient.sum((2, 3)).square().sum(0)

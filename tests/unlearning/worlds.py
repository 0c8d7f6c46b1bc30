"""Small models and data whose exact answers are known: what the unlearning tests are held against."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy

from rsc_mlflow.unlearning.base import Examples


def blobs(n: int = 60, side: int = 4, classes: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Examples:
    """Images [n, 1, side, side] around one random mean per class."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, side * side, generator=generator, dtype=torch.float64)
    labels = torch.arange(n) % classes
    noise = torch.randn(n, side * side, generator=generator, dtype=torch.float64)
    images = (means[labels] + 1.5 * noise).view(n, 1, side, side)
    return Examples.of(images.to(dtype), labels)


def part(examples: Examples, start: int, stop: int) -> Examples:
    return Examples(examples.images, examples.labels, examples.indices[start:stop])


def seeded(model: nn.Module, seed: int = 0, size: float = 0.5) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def tiny_mlp(dtype: torch.dtype = torch.float64) -> nn.Module:
    """16-26-10: 712 parameters, so that its curvature can be written out and inverted."""
    return seeded(nn.Sequential(nn.Flatten(), nn.Linear(16, 26), nn.ReLU(), nn.Linear(26, 10)).to(dtype))


def logistic(size: float = 0.1) -> nn.Module:
    """16 pixels, 3 classes: 51 parameters."""
    return seeded(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double(), size=size)


def tiny_conv(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Convolution, batch normalization with statistics of its own, and a linear layer."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 2, 2),
        nn.Flatten(),
        nn.Linear(2, 3),
    ).to(dtype)
    seeded(model)
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean, norm.running_var = (
        torch.tensor([0.1, -0.2, 0.3]).to(dtype),
        torch.tensor([0.5, 1.5, 1]).to(dtype),
    )
    return model.eval()


def flat_parameters(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def _from_flat(model: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    out, at = {}, 0
    for name, p in model.named_parameters():
        out[name] = vector[at : at + p.numel()].view(p.shape)
        at += p.numel()
    return out


def exact_hessian(model: nn.Module, examples: Examples) -> Tensor:
    """The mean Hessian [P, P], written out by torch.func.hessian over the flat parameters."""
    images, labels = examples.rows(torch.arange(len(examples)))

    def loss(vector: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, _from_flat(model, vector), (images,)), labels)

    found: Tensor = hessian(loss)(flat_parameters(model))
    return found


def exact_gauss_newton(model: nn.Module, examples: Examples) -> Tensor:
    """The mean Gauss-Newton matrix [P, P], one example and one logit at a time by plain backward passes."""
    size = flat_parameters(model).numel()
    total = torch.zeros(size, size, dtype=torch.float64)
    for i in range(len(examples)):
        image, _ = examples.rows(torch.tensor([i]))
        logits = model(image)[0]
        rows = []
        for logit in logits:
            gradients = torch.autograd.grad(logit, list(model.parameters()), retain_graph=True)
            rows.append(torch.cat([g.reshape(-1) for g in gradients]))
        jacobian, p = torch.stack(rows).double(), logits.detach().double().softmax(0)
        total += jacobian.T @ (torch.diag(p) - p[:, None] * p[None, :]) @ jacobian
    return total / len(examples)


def loop_gradients(model: nn.Module, examples: Examples) -> Tensor:
    """The gradient of each example's cross-entropy, one backward pass at a time: [n, P]."""
    rows = []
    for i in range(len(examples)):
        image, label = examples.rows(torch.tensor([i]))
        gradients = torch.autograd.grad(cross_entropy(model(image), label), list(model.parameters()))
        rows.append(torch.cat([g.reshape(-1) for g in gradients]))
    return torch.stack(rows)


def _mean_gradient(model: nn.Module, examples: Examples) -> Tensor:
    images, labels = examples.rows(torch.arange(len(examples)))
    gradients = torch.autograd.grad(cross_entropy(model(images), labels), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in gradients])


def fitted_logistic(examples: Examples, decay: float, classes: int = 3) -> nn.Module:
    """Multinomial logistic regression with ridge penalty (decay/2)·‖θ‖², minimised by Newton's method to 1e-12."""
    pixels = examples.images[0].numel()
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    for _ in range(30):
        theta = flat_parameters(model)
        gradient = _mean_gradient(model, examples) + decay * theta
        if float(gradient.norm()) < 1e-12:
            break
        curvature = exact_hessian(model, examples) + decay * torch.eye(len(theta), dtype=torch.float64)
        step = torch.linalg.solve(curvature, gradient)
        with torch.no_grad():
            for name, value in _from_flat(model, theta - step).items():
                model.get_parameter(name).copy_(value)
    assert float(gradient.norm()) < 1e-10
    return model

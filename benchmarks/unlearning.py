"""``python -m benchmarks unlearning``: a 20-example group update of LargeMLP on MNIST-sized data, by each solver.

Prints wall and CPU seconds, and the relative residual ‖(G+λI)x − g‖/‖g‖ over the examples of the curvature.  The naive
reference is LiSSA as in the paper's code, without the errors that change its result: batches of one example, with a
double backward pass each.  Its time is extrapolated from a few iterations.  For the tiny model at the end, the
curvature matrix is computed and inverted.
"""

import time

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measuring import Cost, machine, measured, print_table, timed
from rsc_mlflow.data import ImageSet, apply_pattern, load_family
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import ModelName
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import Cohort, Member, TrainingConfig, TrainingData, resolve_device
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.curvature import Curvature
from rsc_mlflow.unlearning.gradients import summed_gradient
from rsc_mlflow.unlearning.parameters import FlatModel
from rsc_mlflow.unlearning.solver_options import SolverConfig
from rsc_mlflow.unlearning.solvers import relative_residual, solve

FORGOTTEN = 20
NAIVE_STEPS = 50


def images_and_labels() -> tuple[ImageSet, str]:
    """Return MNIST and its name; if its files are missing, random images of its size with learnable labels."""
    try:
        return load_family("mnist")[0], "mnist"
    except InputError:
        generator = torch_generator(0, "benchmark")
        means, labels = torch.rand(10, 1, 28, 28, generator=generator), torch.arange(60_000) % 10
        noise = torch.randn(60_000, 1, 28, 28, generator=generator)
        return ImageSet((means[labels] + 0.5 * noise).clamp(0, 1), labels), "made-up images"


def trained(data: TrainingData, optimizer: str, epochs: int, device: torch.device) -> nn.Module:
    """Return a trained model."""
    rate = 0.001 if optimizer == "adam" else 0.01
    config = TrainingConfig(ModelName.parse("ce-tor-LargeMLP"), epochs, optimizer=optimizer, learning_rate=rate)
    cohort = Cohort([Member(data, config)], 10, device)
    for _ in cohort.epochs():
        pass
    return cohort.module(0)


def naive_lissa_steps(model: nn.Module, images: Tensor, labels: Tensor, g: Tensor, damping: float) -> None:
    """Run some steps of the recursion with one example each, with double backward passes."""
    parameters = list(model.parameters())
    sizes = [p.numel() for p in parameters]
    v = g.clone()
    for i in range(NAIVE_STEPS):
        loss = cross_entropy(model(images[i : i + 1]), labels[i : i + 1])
        first = torch.autograd.grad(loss, parameters, create_graph=True)
        parts = [part.view(p.shape) for part, p in zip(torch.split(v, sizes), parameters, strict=True)]
        product = torch.autograd.grad(first, parameters, parts)
        hv = torch.cat([part.reshape(-1) for part in product])
        v = g + v - (hv + damping * v) / 100


def solver_rows(flat: FlatModel, curvature: Curvature, g: Tensor, depth: int) -> list[list[str]]:
    """Return one row per solver."""
    rows = []
    for name, config in {
        "cg, tolerance 1e-3": SolverConfig(solver="cg"),
        f"lissa, depth {depth}, batch 128": SolverConfig(solver="lissa", recursion_depth=depth),
        "lissa, the same, 4 repeats": SolverConfig(solver="lissa", recursion_depth=depth, repeats=4),
        "ekfac": SolverConfig(solver="ekfac"),
    }.items():
        cost, found = measured(lambda config=config: solve(curvature, g, config))  # type: ignore[misc]
        residual = relative_residual(curvature, found.x, g)
        rows.append([name, *_seconds(cost), str(found.iterations), f"{residual:.1e}"])
    return rows


def _seconds(cost: Cost) -> list[str]:
    return [f"{cost.wall:.1f}", f"{cost.processor:.1f}"]


def tiny_model_error() -> float:
    """Return the relative error of cg against the exact solution for 712 parameters and λ = 0.01."""
    generator = torch_generator(0, "tiny")
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 26), nn.ReLU(), nn.Linear(26, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    examples = Examples.of(torch.randn(60, 1, 4, 4, generator=generator), torch.arange(60) % 10)
    exact = FlatModel(model.double())
    doubles = Examples.of(examples.images.double(), examples.labels)
    columns = torch.eye(exact.size, dtype=torch.float64)
    matrix = torch.stack([Curvature(exact, doubles, "ggn", 0.01).product(column) for column in columns])
    truth = torch.linalg.solve(matrix, summed_gradient(exact, doubles))
    flat = FlatModel(model.float())
    g = summed_gradient(flat, examples)
    x = solve(Curvature(flat, examples, "ggn", 0.01), g, SolverConfig(tolerance=1e-6, max_iterations=500)).x
    return float((x.double() - truth).norm() / truth.norm())


@click.command()
@click.option("--optimizer", default="sgd", type=click.Choice(["sgd", "adam"]))
@click.option("--epochs", default=3, help="Epochs of training; more epochs make the model more saturated.")
@click.option("--damping", default=0.01)
@click.option("--curvature_examples", default=0, help="Number of examples in the curvature; 0: all.")
@click.option("--depth", default=1000, help="Recursion depth of lissa.")
@click.option("--device", "device_name", default="auto")
def main(optimizer: str, epochs: int, damping: float, curvature_examples: int, depth: int, device_name: str) -> None:
    """Time the solvers on one group gradient."""
    device = resolve_device(device_name)
    images, what = images_and_labels()
    spurious = torch.nonzero(images.labels == 0)[:FORGOTTEN, 0]
    patterned = apply_pattern("v20", images.images[spurious], 0)
    model = trained(TrainingData(images, spurious, patterned), optimizer, epochs, device)
    kept = torch.ones(len(images), dtype=torch.bool)
    kept[spurious] = False
    retain = Examples(images.images, images.labels, kept.nonzero()[:, 0])
    flat = FlatModel(model)
    began = time.perf_counter()
    g = summed_gradient(flat, Examples.of(patterned, images.labels[spurious]))
    print(f"{what}, LargeMLP, {optimizer}, {epochs} epochs, damping {damping:g}; {machine()}")
    print(f"group gradient of {FORGOTTEN}: norm {float(g.norm()):.3g}, {time.perf_counter() - began:.2f} s")
    sample = retain.subset(curvature_examples, torch_generator(0, "curvature"))
    curvature = Curvature(flat, sample, "ggn", damping)
    cost = timed(lambda: curvature.product(g))
    rows = [[f"one product over {len(sample)}", *_seconds(cost), "", ""], *solver_rows(flat, curvature, g, depth)]
    cost = timed(lambda: naive_lissa_steps(model, images.images, images.labels, g, damping)) / NAIVE_STEPS
    whole = Cost(cost.wall * depth * 128, cost.processor * depth * 128)
    rows.append([f"naive: batches of one (extrapolated from {NAIVE_STEPS})", *_seconds(whole), str(depth * 128), ""])
    print_table(["", "wall s", "processor s", "steps", "residual"], rows)
    print(f"cg on 712 parameters against the exact solve: relative error {tiny_model_error():.1e}")


if __name__ == "__main__":
    main()

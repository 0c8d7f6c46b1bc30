"""Each solver against the exact solve of a curvature matrix that is written out and inverted."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.choices import Kind
from rsc_mlflow.unlearning.curvature import Curvature
from rsc_mlflow.unlearning.gradients import summed_gradient
from rsc_mlflow.unlearning.parameters import FlatModel
from rsc_mlflow.unlearning.solver_options import SolverConfig
from rsc_mlflow.unlearning.solvers import _relative_spread, relative_residual, solve
from tests.unlearning.worlds import blobs, exact_gauss_newton, exact_hessian, logistic, seeded, tiny_mlp

LAMBDA = 0.01
System = tuple[Curvature, Tensor, Tensor]
"""Curvature, right-hand side and exact solution."""


@pytest.fixture(scope="module")
def system() -> System:
    """The tiny MLP in float32, as models are; its damped Gauss-Newton matrix and exact solution in float64."""
    examples = blobs(60, dtype=torch.float32)
    flat = FlatModel(tiny_mlp(torch.float32))
    u = summed_gradient(flat, Examples(examples.images, examples.labels, torch.arange(20)))
    matrix = exact_gauss_newton(tiny_mlp(), blobs(60)) + LAMBDA * torch.eye(flat.size, dtype=torch.float64)
    return Curvature(flat, examples, "ggn", LAMBDA), u, torch.linalg.solve(matrix, u.double())


def relative_error(x: Tensor, exact: Tensor) -> float:
    return float((x.double() - exact).norm() / exact.norm())


def test_cg_is_within_1e_4_of_the_exact_solve(system: System) -> None:
    curvature, u, exact = system
    solution = solve(curvature, u, SolverConfig(solver="cg", tolerance=1e-6, max_iterations=500))
    assert curvature.model.size == 712
    assert relative_error(solution.x, exact) < 1e-4
    assert not solution.notes


def test_cg_stops_at_its_tolerance_and_says_when_it_does_not_get_there(system: System) -> None:
    curvature, u, _ = system
    rough = solve(curvature, u, SolverConfig(solver="cg", tolerance=0.05))
    assert relative_residual(curvature, rough.x, u) <= 0.0501
    short = solve(curvature, u, SolverConfig(solver="cg", tolerance=1e-6, max_iterations=3))
    assert short.iterations == 3
    assert "3 iterations" in short.notes[0]


def test_cg_on_the_hessian_is_exact_where_it_is_positive_definite() -> None:
    model, examples = tiny_mlp(), blobs(60)
    matrix = exact_hessian(model, examples)
    shift = 0.1 - float(torch.linalg.eigvalsh(matrix)[0])
    flat = FlatModel(model)
    u = summed_gradient(flat, examples)
    exact = torch.linalg.solve(matrix + shift * torch.eye(flat.size, dtype=torch.float64), u)
    solution = solve(Curvature(flat, examples, "hessian", shift), u, SolverConfig(solver="cg", tolerance=1e-8))
    assert relative_error(solution.x, exact) < 1e-6


def test_cg_refuses_negative_curvature() -> None:
    flat, examples = FlatModel(tiny_mlp()), blobs(60)
    eigenvalues = torch.linalg.eigvalsh(exact_hessian(tiny_mlp(), examples))
    assert eigenvalues[0] < -0.01  # the world has negative curvature to be met
    curvature = Curvature(flat, examples, "hessian", 1e-6)
    with pytest.raises(InputError, match="not positive definite"):
        solve(
            curvature, summed_gradient(flat, examples), SolverConfig(solver="cg", tolerance=1e-10, max_iterations=2000)
        )


def test_a_zero_right_hand_side_has_the_solution_zero(system: System) -> None:
    curvature, u, _ = system
    for name in ("cg", "lissa", "ekfac"):
        solution = solve(curvature, torch.zeros_like(u), SolverConfig(solver=name, recursion_depth=20))
        assert float(solution.x.norm()) == 0
        assert relative_residual(curvature, solution.x, torch.zeros_like(u)) == 0


def one_example_repeated() -> Examples:
    """Every mini-batch is the whole set, so that lissa is deterministic."""
    examples = blobs(1)
    return Examples(examples.images, examples.labels, torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("repeats", [1, 4])
def test_lissa_with_exact_products_converges_to_the_exact_solve_for_any_number_of_repeats(repeats: int) -> None:
    """A sum that is not divided, or divided twice, is off by a factor of ``repeats``; a lost scale by ``scale``."""
    examples, flat = one_example_repeated(), FlatModel(logistic())
    u = torch.randn(flat.size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    matrix = exact_gauss_newton(logistic(), examples) + 2.0 * torch.eye(flat.size, dtype=torch.float64)
    config = SolverConfig(solver="lissa", recursion_depth=300, repeats=repeats, batch_size=2)
    solution = solve(Curvature(flat, examples, "ggn", 2.0), u, config)
    assert relative_error(solution.x, torch.linalg.solve(matrix, u)) < 1e-6
    assert solution.iterations == 300
    assert solution.record["lissa_scale"] > float(torch.linalg.eigvalsh(matrix)[-1])
    assert ("lissa_spread" in solution.record) == (repeats > 1)


def test_lissa_equals_the_recursion_written_as_a_loop() -> None:
    flat, examples = FlatModel(tiny_mlp()), blobs(30)
    u = summed_gradient(flat, examples)
    curvature = Curvature(flat, examples, "ggn", 0.1)
    scale, repeats, depth = 400.0, 3, 12
    config = SolverConfig(
        solver="lissa", recursion_depth=depth, repeats=repeats, batch_size=4, scale=scale, random_seed=5
    )
    generator = torch_generator(5, "lissa")
    batches = [torch.randint(30, (repeats, 4), generator=generator) for _ in range(depth)]
    ends = []
    for r in range(repeats):
        v = u.clone()
        for step in range(depth):
            batch = Examples(examples.images, examples.labels, batches[step][r])
            v = u + v - Curvature(flat, batch, "ggn", 0.1).product(v) / scale
        ends.append(v / scale)
    found, each = solve(curvature, u, config), torch.stack(ends)
    torch.testing.assert_close(found.x, each.mean(0), rtol=1e-9, atol=1e-12)
    error_of_the_mean = each.std(0, correction=1) / math.sqrt(repeats)
    assert found.record == {
        "lissa_scale": scale,
        "lissa_spread": pytest.approx(float(error_of_the_mean.norm() / each.mean(0).norm())),
    }


def test_lissa_approaches_the_exact_solve_as_repeats_grow() -> None:
    """An average is the better the more repeats it has, by their square root, and its own spread says how good."""
    flat, examples = FlatModel(logistic()), blobs(60)
    u = summed_gradient(flat, examples)
    matrix = exact_gauss_newton(logistic(), examples) + 2.0 * torch.eye(flat.size, dtype=torch.float64)
    exact = torch.linalg.solve(matrix, u)
    errors, spreads = {}, {}
    for repeats in (4, 64):
        config = SolverConfig(solver="lissa", recursion_depth=150, repeats=repeats, batch_size=8)
        solution = solve(Curvature(flat, examples, "ggn", 2.0), u, config)
        errors[repeats], spreads[repeats] = relative_error(solution.x, exact), solution.record["lissa_spread"]
    assert errors[64] < 0.05
    assert 2.5 < spreads[4] / spreads[64] < 6  # √(64/4) = 4
    assert errors[64] < 2 * spreads[64]


def test_lissa_stops_and_says_that_it_diverges(system: System) -> None:
    curvature, u, _ = system
    config = SolverConfig(solver="lissa", recursion_depth=100_000, scale=0.5, batch_size=16)
    with pytest.raises(InputError, match=r"lissa diverged at step \d{1,3} of 100000 with scale=0\.5.*scale ≥"):
        solve(curvature, u, config)


def test_ekfac_is_exact_where_the_curvature_is_one_kronecker_product() -> None:
    """Logistic regression at zero: p is uniform, so G = (I/C − 11ᵀ/C²) ⊗ E[a aᵀ] exactly."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    examples, flat = blobs(40), FlatModel(model)
    u = torch.randn(flat.size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    exact = torch.linalg.solve(exact_gauss_newton(model, examples) + LAMBDA * torch.eye(51, dtype=torch.float64), u)
    solution = solve(Curvature(flat, examples, "ggn", LAMBDA, batch_size=11), u, SolverConfig(solver="ekfac"))
    assert relative_error(solution.x, exact) < 1e-9
    assert (solution.iterations, solution.record, solution.notes) == (1, {}, ())


def test_ekfac_is_close_in_direction_on_the_mlp(system: System) -> None:
    """Between layers it is an approximation; the direction and the size must still be right."""
    curvature, u, exact = system
    x = solve(curvature, u, SolverConfig(solver="ekfac")).x.double()
    assert float(x @ exact / x.norm() / exact.norm()) > 0.5
    assert 0.3 < float(x.norm() / exact.norm()) < 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"solver": "gmres"},
        {"tolerance": 0.0},
        {"tolerance": float("nan")},
        {"scale": -1.0},
        {"repeats": 0},
        {"recursion_depth": 0},
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"Invalid value for .* Expected"):
        SolverConfig(**wrong)


@pytest.mark.parametrize("kind", ["GGN", "fisher"])
def test_unknown_curvature_is_refused(kind: Kind) -> None:
    with pytest.raises(InputError, match="Expected ggn or hessian"):
        Curvature(FlatModel(seeded(tiny_mlp())), blobs(4), kind)


def test_the_spread_of_repeats_is_relative_to_their_mean() -> None:
    assert _relative_spread(torch.tensor([[3.0, 4.0], [3.0, 4.0]])) == 0
    assert _relative_spread(torch.tensor([[2.0, 0.0], [4.0, 0.0]])) == pytest.approx(1 / 3)
    assert _relative_spread(torch.tensor([[1.0], [-1.0]])) == 0  # no direction to compare with

"""Group influence on a convex model, where actual retraining is known to machine precision."""

from dataclasses import replace

import pytest
import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.choices import SolverName
from rsc_mlflow.unlearning.gradients import loss_and_accuracy
from rsc_mlflow.unlearning.methods.group_influence import GroupInfluenceConfig, group_influence
from tests.unlearning.worlds import (
    blobs,
    exact_gauss_newton,
    fitted_logistic,
    flat_parameters,
    loop_gradients,
    part,
    tiny_mlp,
)

DECAY = 0.05
EXACT = GroupInfluenceConfig(tolerance=1e-10, max_iterations=500, damping=1e-12, weight_decay=DECAY)


def update_and_truth(n: int, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The step that group influence takes, and where training without the group really goes."""
    examples = blobs(n, side=2)
    model = fitted_logistic(examples, DECAY)
    forget, retain = part(examples, 0, m), part(examples, m, n)
    unlearned = group_influence(model, forget, retain, EXACT).model
    theta = flat_parameters(model)
    return flat_parameters(unlearned) - theta, flat_parameters(fitted_logistic(retain, DECAY)) - theta


@pytest.mark.parametrize("m", [1, 3])
def test_the_update_has_the_sign_scale_and_size_of_actual_retraining(m: int) -> None:
    predicted, actual = update_and_truth(120, m)
    assert float(predicted @ actual) > 0
    assert float(predicted @ actual / actual.dot(actual)) == pytest.approx(1, abs=0.04)
    assert float((predicted - actual).norm()) < 0.06 * float(actual.norm())


def test_the_error_is_of_second_order() -> None:
    """Removing one of n moves θ by O(1/n); the first-order step misses only O(1/n²)."""
    errors, sizes = [], []
    for n in (60, 240):
        predicted, actual = update_and_truth(n, 1)
        errors.append(float((predicted - actual).norm()))
        sizes.append(float(actual.norm()))
    assert 2.5 < sizes[0] / sizes[1] < 6.5  # 4
    assert errors[0] / errors[1] > 8  # 16


def test_the_step_is_the_newton_step_of_the_retained_objective() -> None:
    """A third of the set is forgotten, so that 1/n for 1/(n - m), or all examples' curvature, would show."""
    examples = blobs(60, side=2)
    model = fitted_logistic(examples, DECAY)
    forget, retain = part(examples, 0, 20), part(examples, 20, 60)
    theta = flat_parameters(model)
    curvature = exact_gauss_newton(model, retain) + DECAY * torch.eye(len(theta), dtype=torch.float64)
    gradient = (loop_gradients(model, forget) + DECAY * theta).sum(0)
    step = flat_parameters(group_influence(model, forget, retain, EXACT).model) - theta
    torch.testing.assert_close(step, torch.linalg.solve(curvature, gradient) / 40, rtol=1e-6, atol=1e-9)


def test_the_record_says_what_was_done() -> None:
    examples = blobs(60, side=2)
    model = fitted_logistic(examples, DECAY)
    forget, retain = part(examples, 0, 4), part(examples, 4, 60)
    done = group_influence(model, forget, retain, EXACT)
    gradient = (loop_gradients(model, forget) + DECAY * flat_parameters(model)).sum(0)
    step = flat_parameters(done.model) - flat_parameters(model)
    assert done.record["gradient_norm"] == pytest.approx(float(gradient.norm()))
    assert done.record["step_norm"] == pytest.approx(float(step.norm()))
    assert done.record["predicted_rise"] == pytest.approx(float(gradient @ step) / 4)
    assert done.record["residual"] < 1e-9
    seen: list[object] = []
    again = group_influence(model, forget, retain, EXACT, lambda *observed: seen.extend(observed))
    assert seen == [1, again.model, {}]
    assert again.record == done.record
    rise = loss_and_accuracy(done.model, forget)[0] - loss_and_accuracy(model, forget)[0]
    assert rise > 0


def test_a_saturated_model_is_told_that_influence_cannot_act() -> None:
    """Logits 60 apart: every probability is 0 or 1 and no gradient is left."""
    examples = blobs(60, side=2)
    model = fitted_logistic(examples, 1e-3)
    hits = [i for i in range(60) if loss_and_accuracy(model, part(examples, i, i + 1))[1] == 1]
    kept = Examples(examples.images, examples.labels, torch.tensor(hits))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(400)
    forget, retain = part(kept, 0, 3), part(kept, 3, len(kept))
    done = group_influence(model, forget, retain, GroupInfluenceConfig())
    assert "The update has almost no effect" in done.notes[0]
    assert "relabel_finetuning" in done.notes[0]


def test_a_step_that_leaves_the_quadratic_region_is_said() -> None:
    """Hardly any damping on a model that was not trained at all: flat directions are followed for ever."""
    examples = blobs(60)
    done = group_influence(
        tiny_mlp(), part(examples, 0, 10), part(examples, 10, 60), GroupInfluenceConfig(damping=1e-5)
    )
    assert done.record["predicted_rise"] > 2
    assert "may be too large" in done.notes[-1]


def test_an_unsaturated_model_gets_no_such_note() -> None:
    examples = blobs(60, side=2)
    model = fitted_logistic(examples, 1e-3)
    assert group_influence(model, part(examples, 0, 3), part(examples, 3, 60), EXACT).notes == ()


@pytest.mark.parametrize("solver", ["lissa", "ekfac"])
def test_every_solver_moves_the_same_way(solver: SolverName) -> None:
    examples = blobs(60, side=2)
    model = fitted_logistic(examples, DECAY)
    forget, retain = part(examples, 0, 3), part(examples, 3, 60)
    config = GroupInfluenceConfig(solver=solver, recursion_depth=400, repeats=4, batch_size=16, weight_decay=DECAY)
    theta = flat_parameters(model)
    exact = flat_parameters(group_influence(model, forget, retain, EXACT).model) - theta
    found = flat_parameters(group_influence(model, forget, retain, config).model)
    assert torch.cosine_similarity(found - theta, exact, dim=0) > 0.9


def test_curvature_examples_takes_a_subset() -> None:
    examples = blobs(60, side=2)
    model = fitted_logistic(examples, DECAY)
    forget, retain = part(examples, 0, 3), part(examples, 3, 60)
    theta = flat_parameters(model)
    few = replace(EXACT, curvature_examples=30)
    full, half = (flat_parameters(group_influence(model, forget, retain, c).model) - theta for c in (EXACT, few))
    assert not torch.equal(full, half)
    assert torch.cosine_similarity(full, half, dim=0) > 0.8


@pytest.mark.parametrize(("architecture", "shape"), [("CNN002", (1, 28, 28)), ("altResNet20", (3, 32, 32))])
def test_works_for_convolutions_and_residual_networks(architecture: str, shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    model = build(architecture, shape, 10, generator).train()
    examples = Examples.of(torch.rand(12, *shape, generator=generator), torch.arange(12) % 10)
    config = GroupInfluenceConfig(max_iterations=5, damping=1.0, examples_at_once=4)
    done = group_influence(model, part(examples, 0, 2), part(examples, 2, 12), config)
    before, _ = loss_and_accuracy(model, part(examples, 0, 2))
    after, _ = loss_and_accuracy(done.model, part(examples, 0, 2))
    assert after > before
    for name, buffer in model.named_buffers():  # batch-norm statistics stay
        assert torch.equal(buffer, done.model.get_buffer(name))


@pytest.mark.parametrize("solver", ["cg", "lissa", "ekfac"])
def test_a_model_that_diverged_is_refused(solver: SolverName) -> None:
    examples, model = blobs(12), tiny_mlp()
    with torch.no_grad():
        next(model.parameters())[0, 0] = float("nan")
    with pytest.raises(InputError, match="because the model diverged"):
        group_influence(model, part(examples, 0, 2), part(examples, 2, 12), GroupInfluenceConfig(solver=solver))


def test_empty_sets_and_impossible_options_are_refused() -> None:
    examples = blobs(6)
    empty = part(examples, 0, 0)
    with pytest.raises(InputError, match="forget set is empty"):
        group_influence(tiny_mlp(), empty, examples, GroupInfluenceConfig())
    with pytest.raises(InputError, match="retain set is empty"):
        group_influence(tiny_mlp(), examples, empty, GroupInfluenceConfig())
    with pytest.raises(InputError, match=r"'damping': '0'\. Expected a finite number > 0"):
        GroupInfluenceConfig(damping=0)
    with pytest.raises(InputError, match=r"'curvature': 'fisher'\. Expected one of: ggn, hessian"):
        GroupInfluenceConfig(curvature="fisher")  # type: ignore[arg-type]

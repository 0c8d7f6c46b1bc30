"""What is made of scores once the truth is known: counted by hand."""

import numpy as np
import pytest

from rsc_mlflow.attacks.base import Attack, AttackResult, Observations
from rsc_mlflow.attacks.evaluation import Role, evaluate
from tests.attacks.worlds import gaussian_world

M, N, S, C = Role.MEMBER, Role.NONMEMBER, Role.SPURIOUS, Role.CONTROL
ROLES = np.array([M, M, N, N, S, S, C, C, C, C], dtype=np.int8)
SCORES = np.array([0.9, 0.4, 0.6, 0.1, 0.99, 0.98, 0.97, 0.96, 0.3, 0.985])


def fixed(queries: Observations, population: Observations) -> AttackResult:
    return AttackResult(SCORES, 0.5)


def observations(n: int, classes: int = 2) -> Observations:
    labels = np.arange(n) % classes
    return Observations(np.zeros((n, classes)), np.zeros((1, n, classes)), np.zeros((1, n), dtype=bool), labels)


def test_measures_counted_by_hand() -> None:
    outcome = evaluate(Attack("fixed", "", 1, fixed), observations(10), observations(4), ROLES)
    measures = outcome.measures()
    assert measures["auc"] == 0.75  # .9 beats .6 and .1, .4 beats .1
    assert measures["balanced_accuracy"] == 0.5  # one of two members, one of two non-members
    assert measures["tpr_at_fpr_0.01"] == measures["tpr_at_fpr_0.001"] == 0.5
    assert (measures["auc_class_0"], measures["auc_class_1"]) == (1.0, 1.0)
    assert measures["spurious_tpr"] == 1.0
    assert measures["control_fpr"] == 0.75
    assert measures["spurious_auc"] == pytest.approx(7 / 8)  # .99 beats all four, .98 all but .985
    assert (measures["n_spurious"], measures["n_controls"]) == (2, 4)
    assert measures["spurious_auc_low"] <= 7 / 8 <= measures["spurious_auc_high"]


def test_spurious_examples_do_not_enter_the_numbers_of_ordinary_members() -> None:
    ordinary = ROLES <= N
    alone = evaluate(
        Attack("fixed", "", 1, lambda q, p: AttackResult(SCORES[ordinary], 0.5)),
        observations(4),
        observations(4),
        ROLES[ordinary],
    )
    measures = evaluate(Attack("fixed", "", 1, fixed), observations(10), observations(4), ROLES).measures()
    assert alone.leak is None
    assert alone.measures() == {k: v for k, v in measures.items() if "spurious" not in k and "control" not in k}


def test_an_attack_never_receives_the_roles() -> None:
    seen: list[object] = []

    def spy(queries: Observations, population: Observations) -> AttackResult:
        seen.extend((queries, population))
        return AttackResult(np.arange(float(len(queries))), 0)

    world = gaussian_world(gap=1, n=10, n_shadow=2)
    evaluate(Attack("spy", "", 1, spy), world.queries, world.population, ROLES)
    assert seen == [world.queries, world.population]
    assert set(vars(world.queries)) == {"target", "shadow", "shadow_members", "labels"}

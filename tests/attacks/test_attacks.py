"""Each attack against its formula, and all of them in worlds whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from rsc_mlflow.attacks.base import (
    ATTACKS,
    Attack,
    AttackResult,
    Observations,
    attack_names,
    parse_attacks,
    register_attack,
)
from rsc_mlflow.attacks.leave_one_out import best_threshold, leave_one_out_rounds, mean_over_out_models
from rsc_mlflow.attacks.methods import lira, loss, rmia, shadow
from rsc_mlflow.attacks.metrics import auc, balanced_accuracy
from rsc_mlflow.attacks.shadow_sets import draw_shadow_members
from rsc_mlflow.attacks.signals import confidence, log_probability
from rsc_mlflow.errors import InputError
from tests.attacks.worlds import gaussian_world

ALL = tuple(ATTACKS.values())
NULL_STD = np.sqrt((400 + 1) / (12 * 200 * 200))  # of an AUC of 200 against 200 under exchangeability


def ids(attack: Attack) -> str:
    return attack.name


def test_the_registry_holds_the_attacks_of_the_contract() -> None:
    assert set(ATTACKS) == {"lira", "loss", "rmia", "shadow"}


def test_an_attack_is_registered_under_the_name_of_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ATTACKS, "_values", dict(ATTACKS.registered()))

    def guess(queries: Observations, population: Observations) -> AttackResult:
        return AttackResult(np.zeros(len(queries)), 0.5)

    assert register_attack(title="Guess (we, this year)", min_shadow_models=3)(guess) is guess
    assert ATTACKS["guess"] == Attack("guess", "Guess (we, this year)", 3, guess)
    assert attack_names() == ["shadow", "loss", "lira", "rmia", "guess"]
    with pytest.raises(InputError, match="already registered"):
        register_attack(title="Guess again")(guess)


@pytest.mark.parametrize("attack", ALL, ids=ids)
def test_a_memoriser_is_found_out(attack: Attack) -> None:
    world = gaussian_world(gap=25)
    result = attack.run(world.queries, world.population)
    assert auc(result.scores, world.members) > 0.99
    assert balanced_accuracy(result.scores, world.members, result.threshold) > 0.97


@pytest.mark.parametrize("attack", ALL, ids=ids)
def test_a_model_that_learns_nothing_about_its_members_leaks_nothing(attack: Attack) -> None:
    world = gaussian_world(gap=0)
    result = attack.run(world.queries, world.population)
    assert abs(auc(result.scores, world.members) - 0.5) < 3 * NULL_STD
    assert abs(balanced_accuracy(result.scores, world.members, result.threshold) - 0.5) < 0.08


@pytest.mark.parametrize("attack", ALL, ids=ids)
def test_no_leakage_when_the_truth_of_the_queries_is_permuted(attack: Attack) -> None:
    world = gaussian_world(gap=25)
    permuted = np.random.default_rng(0).permutation(world.members)
    assert abs(auc(attack.run(world.queries, world.population).scores, permuted) - 0.5) < 3 * NULL_STD


@pytest.mark.parametrize("attack", ALL, ids=ids)
def test_scores_of_a_query_do_not_depend_on_the_order_of_the_others(attack: Attack) -> None:
    world = gaussian_world(gap=2, n=60)
    order = np.random.default_rng(0).permutation(60)
    queries = world.queries
    shuffled = Observations(
        queries.target[order], queries.shadow[:, order], queries.shadow_members[:, order], queries.labels[order]
    )
    plain, moved = attack.run(queries, world.population), attack.run(shuffled, world.population)
    np.testing.assert_allclose(moved.scores, plain.scores[order], rtol=1e-9)
    assert moved.threshold == plain.threshold


@pytest.mark.parametrize("attack", ALL, ids=ids)
def test_too_few_shadow_models_are_refused(attack: Attack) -> None:
    world = gaussian_world(gap=1, n=40, n_shadow=8)
    few = attack.min_shadow_models - 1
    cut = [
        replace(o, shadow=o.shadow[:few], shadow_members=o.shadow_members[:few])
        for o in (world.queries, world.population)
    ]
    with pytest.raises(InputError, match=f"at least {attack.min_shadow_models} shadow models, got {few}"):
        attack.run(*cut)


@pytest.mark.parametrize("attack", ALL, ids=ids)
def test_the_smallest_number_of_shadow_models_is_enough(attack: Attack) -> None:
    world = gaussian_world(gap=25, n_shadow=attack.min_shadow_models)
    result = attack.run(world.queries, world.population)
    assert auc(result.scores, world.members) > 0.98
    assert balanced_accuracy(result.scores, world.members, result.threshold) > 0.95


def test_calibrating_by_the_example_beats_a_global_threshold() -> None:
    world = gaussian_world(gap=1, n=2000)
    scores = {a.name: auc(a.run(world.queries, world.population).scores, world.members) for a in ALL}
    # with difficulty N(0, 2²) and noise .5: the loss sees a gap of 1 in 2√2·…, LiRA one of 1 in √2·.53
    assert scores["loss"] == pytest.approx(norm.cdf(1 / np.sqrt(2 * (4 + 0.25 + 0.013))), abs=0.03)
    assert scores["lira"] == pytest.approx(norm.cdf(1 / (np.sqrt(2) * 0.53 * np.sqrt(1 + 1 / 8))), abs=0.03)


def test_loss_scores_and_threshold() -> None:
    world = gaussian_world(gap=1, n=50)
    result = loss.loss(world.queries, world.population)
    np.testing.assert_allclose(result.scores, log_probability(world.queries.target, world.queries.labels))
    known = [
        -log_probability(world.population.shadow[k], world.population.labels)[world.population.shadow_members[k]]
        for k in range(8)
    ]
    assert -result.threshold == pytest.approx(np.mean(known))


def test_shadow_features_are_sorted_logits_and_correctness() -> None:
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
    assert shadow.features(logits, np.array([0, 2])).tolist() == [[1, 2, 3, 1], [0, 4, 5, 0]]


def test_shadow_scores_are_those_of_one_of_the_regressions() -> None:
    world = gaussian_world(gap=2, n=200)
    population, queries = world.population, world.queries
    scaler = StandardScaler().fit(shadow.features(population.shadow[0], population.labels))
    x = scaler.transform(shadow.features(population.shadow[0], population.labels))
    asked = scaler.transform(shadow.features(queries.target, queries.labels))
    candidates = [
        LogisticRegression(C=c).fit(x, population.shadow_members[0]).predict_proba(asked)[:, 1]
        for c in shadow.INVERSE_PENALTIES
    ]
    result = shadow.shadow(queries, population)
    assert min(np.abs(result.scores - c).max() for c in candidates) < 1e-6


def test_lira_scores_are_scipys_gaussian_tail() -> None:
    rng = np.random.default_rng(0)
    shadow_signal, target = rng.normal(1, 2, (80, 6)), rng.normal(1, 2, 6)
    out = rng.random((80, 6)) < 0.9
    for std, spreads in (
        (None, [shadow_signal[out[:, i], i].std(ddof=1) for i in range(6)]),
        (np.array([1.7]), [1.7] * 6),
    ):
        scores = lira.lira_scores(target, shadow_signal, out, std)
        tails = [
            1 - norm.sf(target[i], shadow_signal[out[:, i], i].mean(), spreads[i]) for i in range(6)
        ]  # 1 - Pr[Z > φ]
        np.testing.assert_allclose(norm.cdf(scores), tails, rtol=1e-9)


def test_lira_pools_deviations_from_each_examples_own_mean() -> None:
    signal = np.array([[0.0, 10.0], [2.0, 14.0], [99.0, 12.0]])
    out = np.array([[True, True], [True, True], [False, True]])
    # squares (1 + 1) + (4 + 4 + 0), degrees of freedom 1 + 2
    assert lira.pooled_std(signal, out) == pytest.approx(np.sqrt(10 / 3))


def test_lira_takes_an_examples_own_spread_with_many_shadow_models() -> None:
    world = gaussian_world(gap=1, n=40, n_shadow=132)
    signal = confidence(world.queries.shadow, world.queries.labels)
    target = confidence(world.queries.target, world.queries.labels)
    expected = (target - signal.mean(axis=0)) / signal.std(axis=0, ddof=1)
    np.testing.assert_allclose(lira.lira(world.queries, world.population).scores, expected)


def test_lira_needs_two_models_that_have_not_seen_the_query() -> None:
    world = gaussian_world(gap=1, n=40, n_shadow=4)
    seen = world.queries.shadow_members.copy()
    seen[:3, 0] = True
    with pytest.raises(InputError, match="but one query has 1"):
        lira.lira(replace(world.queries, shadow_members=seen), world.population)


def test_rmia_needs_a_model_that_has_not_seen_the_query() -> None:
    world = gaussian_world(gap=1, n=40, n_shadow=4)
    seen = world.queries.shadow_members.copy()
    seen[:, 0] = True
    with pytest.raises(InputError, match="one query has none"):
        rmia.rmia(replace(world.queries, shadow_members=seen), world.population)


def test_the_papers_attack_needs_both_kinds_in_every_fold() -> None:
    world = gaussian_world(gap=1, n=40)
    members = world.population.shadow_members.copy()
    members[0] = np.arange(40) < 2
    with pytest.raises(InputError, match="at least 3 members and 3 non-members of the shadow model, got 2 and 38"):
        shadow.shadow(world.queries, replace(world.population, shadow_members=members))


def test_rmia_by_the_double_loop_of_its_definition() -> None:
    world = gaussian_world(gap=1, n=30)
    queries, population = world.queries, world.population
    a = rmia.choose_offline_constant(log_probability(population.shadow, population.labels), population.shadow_members)

    def ratio(o: Observations, i: int) -> float:
        out = ~o.shadow_members[:, i]
        mean = np.exp(log_probability(o.shadow, o.labels))[out, i].mean()
        return float(np.exp(log_probability(o.target, o.labels))[i] / (((1 + a) * mean + (1 - a)) / 2))

    expected = [np.mean([ratio(queries, i) / ratio(population, j) >= 1 for j in range(30)]) for i in range(30)]
    np.testing.assert_allclose(rmia.rmia(queries, population).scores, expected)


def test_rmia_gamma_asks_for_more() -> None:
    x, z = np.log([1.0, 2.0, 8.0]), np.log([1.0, 2.0, 4.0, 8.0])
    assert rmia.share_dominated(x, z, gamma=1).tolist() == [0.25, 0.5, 1.0]
    assert rmia.share_dominated(x, z, gamma=2.01).tolist() == [0, 0, 0.5]


def test_a_round_leaves_out_its_target_and_the_complement() -> None:
    members = draw_shadow_members(np.zeros(8, dtype=bool), 4, seed=0)
    signal = np.arange(4.0)[:, None] * np.ones(8)
    rounds = list(leave_one_out_rounds(signal, members))
    assert [r.target[0] for r in rounds] == [0, 1, 2, 3]
    assert [r.shadow[:, 0].tolist() for r in rounds] == [[2, 3], [2, 3], [0, 1], [0, 1]]
    for k, r in enumerate(rounds):
        assert (r.out.sum(axis=0) == 1).all()
        assert (r.members == members[k]).all()


def test_without_a_round_in_which_something_can_be_learned_an_attack_is_refused() -> None:
    half = np.array([True, True, False, False])
    members = np.stack([half, ~half, ~half])  # nobody is left for the first player but its complement
    signal = np.arange(3.0)[:, None] * np.ones(4)
    with pytest.raises(InputError, match="cannot be calibrated on a population of"):
        list(leave_one_out_rounds(signal, members))


def test_mean_out_counts_only_models_that_have_not_seen_it() -> None:
    signal = np.array([[1.0, 10.0], [3.0, 20.0], [8.0, 60.0]])
    out = np.array([[True, False], [True, True], [False, True]])
    assert mean_over_out_models(signal, out).tolist() == [2, 40]


def test_best_threshold_made_by_hand() -> None:
    # called from 3 up: 3 of 4 members, no non-member; from 1 up: 4 of 4, 1 of 2
    scores, members = np.array([5.0, 4, 3, 2, 1, 0]), np.array([True, True, True, False, True, False])
    assert best_threshold(scores, members) == 3


@pytest.mark.parametrize(
    ("text", "n_shadow", "message"),
    [
        ("", 16, "Unknown attack ''"),
        ("shadow,nope", 16, "Unknown attack 'nope'.*Expected one of: shadow, loss, lira, rmia"),
        ("loss,loss", 16, "each attack at most once"),
        ("shadow,lira", 3, "'lira' needs at least 4 shadow models, got 3"),
    ],
)
def test_a_bad_list_of_attacks_is_refused(text: str, n_shadow: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_attacks(text, n_shadow)


def test_a_list_of_attacks_keeps_its_order() -> None:
    assert [a.name for a in parse_attacks("shadow, loss", 1)] == ["shadow", "loss"]


def test_observations_refuse_what_does_not_fit() -> None:
    good = gaussian_world(gap=0, n=20, n_shadow=4).queries
    for change, message in (
        ({"labels": good.labels[:3]}, "do not match"),
        ({"shadow": good.shadow[:, :3]}, "do not match"),
        ({"labels": good.labels + 9}, "Expected 0 to 3"),
        ({"target": good.target * np.nan}, "diverged"),
    ):
        with pytest.raises(InputError, match=message):
            replace(good, **change)

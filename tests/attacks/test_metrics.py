"""ROC numbers against scikit-learn, scipy and counts made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from rsc_mlflow.attacks import metrics
from rsc_mlflow.errors import InputError
from rsc_mlflow.statistics import rank_sum

SCORES = np.array([9.0, 8, 7, 6, 5, 4, 3, 2])
MEMBERS = np.array([True, True, False, True, False, True, False, False])


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and a truth with both kinds."""
    n = draw(st.integers(2, 60))
    scores = draw(arrays(np.float64, n, elements=st.integers(-5, 5).map(float)))
    members = draw(arrays(np.bool_, n))
    members[0], members[1] = True, False
    return scores, members


@given(scored())
def test_auc_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, members = case
    assert metrics.auc(scores, members) == pytest.approx(roc_auc_score(members, scores), abs=1e-12)


@given(scored())
def test_roc_curve_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, members = case
    fpr, tpr, thresholds = sklearn_roc_curve(members, scores, drop_intermediate=False)
    curve = metrics.roc_curve(scores, members)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_array_equal(curve.thresholds, thresholds)


@given(scored(), st.integers(-6, 6))
def test_balanced_accuracy_is_scikit_learns(case: tuple[np.ndarray, np.ndarray], threshold: int) -> None:
    scores, members = case
    expected = balanced_accuracy_score(members, scores >= threshold)
    assert metrics.balanced_accuracy(scores, members, threshold) == pytest.approx(expected)


@pytest.mark.parametrize(("fpr", "tpr"), [(0, 0.5), (0.24, 0.5), (0.25, 0.75), (0.49, 0.75), (0.5, 1.0), (1, 1.0)])
def test_tpr_at_fpr_of_a_ranking_made_by_hand(fpr: float, tpr: float) -> None:
    # members at ranks 1, 2, 4, 6 of 8: no false positive before two hits, one before the third, two before the last
    assert metrics.tpr_at_fpr(SCORES, MEMBERS, fpr) == tpr


def test_tpr_at_fpr_does_not_split_ties() -> None:
    # the member ties with a non-member: calling it costs a false-positive rate of 1/2
    assert metrics.tpr_at_fpr(np.array([1.0, 1, 0]), np.array([True, False, False]), 0.49) == 0


def test_auc_of_a_ranking_made_by_hand() -> None:
    # pairs won by the members at ranks 1, 2, 4, 6: 4 + 4 + 3 + 2 of 16
    assert metrics.auc(SCORES, MEMBERS) == pytest.approx(13 / 16)


def test_auc_by_class_leaves_out_a_class_without_members() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    result = metrics.auc_by_class(SCORES, MEMBERS, labels)
    assert result == {0: 1.0, 1: pytest.approx(0.5)}


def test_rates_need_members_and_non_members() -> None:
    for function in (metrics.auc, metrics.roc_curve):
        with pytest.raises(InputError, match="members and non-members"):
            function(np.arange(3.0), np.ones(3, dtype=bool))


def test_bootstrap_interval_is_that_of_a_plain_resampling_loop() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = np.round(rng.normal(0.8, 1, 30), 1), np.round(rng.normal(0, 1, 50), 1)
    truth = np.arange(80) < 30
    draws = [metrics.auc(np.append(rng.choice(positives, 30), rng.choice(negatives, 50)), truth) for _ in range(4000)]
    interval = metrics.auc_interval(positives, negatives)
    assert interval == metrics.auc_interval(positives, negatives, seed=0)  # a default that every stored interval has
    assert interval.low == pytest.approx(np.quantile(draws, 0.025), abs=0.012)
    assert interval.high == pytest.approx(np.quantile(draws, 0.975), abs=0.012)


def test_bootstrap_interval_covers_the_true_auc() -> None:
    # two unit Gaussians one apart: AUC = Φ(1/√2); nominal 95 % over 200 repetitions, so at least 90 % is ±3 σ
    rng = np.random.default_rng(1)
    true = 0.7602499
    hits = 0
    for _ in range(200):
        interval = metrics.auc_interval(rng.normal(1, 1, 40), rng.normal(0, 1, 60), resamples=300)
        hits += interval.low <= true <= interval.high
    assert hits >= 180


def test_one_spurious_member_has_no_interval() -> None:
    assert metrics.auc_interval(np.array([3.0]), np.arange(100.0)) == metrics.AucInterval(0, 1)


def test_spurious_leak_counted_by_hand() -> None:
    leak = metrics.spurious_leak(np.array([3.0, 1.0]), np.array([2.0, 0.0, 1.0, 4.0]), threshold=2.0)
    assert (leak.tpr, leak.control_fpr, leak.n_members, leak.n_controls) == (0.5, 0.5, 2, 4)
    assert leak.auc == pytest.approx((3 + 1.5) / 8)  # 3 beats 2, 0, 1; 1 beats 0 and ties with 1


def test_spurious_leak_p_value_of_a_single_example_is_its_rank() -> None:
    # one member above 19 of 20 controls: under exchangeability 2 of 21 places are at least as high
    leak = metrics.spurious_leak(np.array([18.5]), np.arange(20.0), threshold=0)
    assert leak.p_value == pytest.approx(2 / 21)


@pytest.mark.parametrize(("member", "expected"), [(99.0, 1 / 101), (80.5, 19 / 101)])
def test_spurious_leak_p_value_stays_exact_with_ties(member: float, expected: float) -> None:
    """Two equal controls must not turn the rank into a normal approximation (.0448 and .140)."""
    leak = metrics.spurious_leak(np.array([member]), np.array([0.0, *range(99)]), threshold=0)
    assert leak.p_value == pytest.approx(expected)
    assert leak.p_value_error == 0


def test_spurious_leak_draws_with_its_seed() -> None:
    """So many controls that the p-value is taken from random assignments."""
    rng = np.random.default_rng(0)
    members, controls = rng.normal(0.3, 1, 20), rng.normal(0, 1, 2000)
    leak = metrics.spurious_leak(members, controls, 0, seed=3)
    test = rank_sum(members, controls, seed=3)
    assert (leak.p_value, leak.p_value_error) == (test.p_value, test.standard_error)
    assert leak.p_value_error > 0
    assert leak.interval == metrics.auc_interval(members, controls, seed=3) != metrics.auc_interval(members, controls)


def test_spurious_leak_needs_both_groups() -> None:
    with pytest.raises(InputError, match="0 and 3"):
        metrics.spurious_leak(np.array([]), np.zeros(3), 0)

"""Scores against hand counts: four examples, three classes, probabilities written out."""

import math

import pytest
import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.scoring import SpuriousScores, accuracy, count_scores, cross_entropy


def logits(probabilities: list[list[float]]) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


CLEAN = logits([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05], [0.1, 0.5, 0.4]])
PATTERN = logits([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4], [0.95, 0.03, 0.02], [0.3, 0.5, 0.2]])
LABELS = torch.tensor([1, 2, 0, 1])
# Rises towards class 0: .6, .3, .05, .2.  Towards class 1: all falls or 0.  Towards class 2: none.


@pytest.fixture
def scores() -> SpuriousScores:
    return SpuriousScores(CLEAN, PATTERN, LABELS, threshold=0.25)


def test_the_score_counts_all_examples(scores: SpuriousScores) -> None:
    assert scores.score(0) == 2 / 4
    assert scores.by_target == [2 / 4, 0, 0]


def test_the_nontarget_score_leaves_the_target_class_out(scores: SpuriousScores) -> None:
    assert scores.score_nontarget(0) == pytest.approx(2 / 3)


def test_a_rise_of_exactly_the_threshold_does_not_count() -> None:
    half = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    certain = torch.tensor([[800.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([1])
    assert SpuriousScores(half, certain, labels, threshold=0.5).score(0) == 0
    assert SpuriousScores(half, certain, labels, threshold=0.4999).score(0) == 1


def test_thresholds_are_compared_in_double_precision() -> None:
    """0.1 in single precision is 0.1 + 1.5e-9, above this rise."""
    clean, patterned = logits([[0.5, 0.5]]), logits([[0.6 + 7e-10, 0.4 - 7e-10]])
    assert SpuriousScores(clean, patterned, torch.tensor([1]), threshold=0.1).score(0) == 1


def test_flips_and_accuracy_are_counted_over_other_classes(scores: SpuriousScores) -> None:
    # Examples 0 and 1 become class 0; example 3 stays class 1 (its own); example 2 is of class 0.
    assert scores.flip_rate(0) == pytest.approx(2 / 3)
    assert scores.patterned_accuracy(0) == pytest.approx(1 / 3)


def test_an_example_already_predicted_as_the_target_is_no_flip() -> None:
    always_zero = logits([[0.9, 0.1], [0.9, 0.1]])
    scores = SpuriousScores(always_zero, always_zero, torch.tensor([1, 1]), threshold=0.5)
    assert scores.flip_rate(0) == 0


def test_without_examples_of_other_classes_nothing_is_pulled() -> None:
    scores = SpuriousScores(CLEAN, PATTERN, torch.zeros(4, dtype=torch.int64), threshold=0.0)
    assert (scores.score_nontarget(0), scores.flip_rate(0), scores.patterned_accuracy(0)) == (0, 0, 0)
    assert scores.score(0) == 1  # every probability of class 0 rises by something


def test_counts_of_many_models_at_once_are_those_of_each() -> None:
    """Twenty models, more than are counted at a time, with thresholds of their own; against sums over the examples."""
    generator = torch.Generator().manual_seed(0)
    clean, patterned = torch.randn(2, 20, 50, 4, generator=generator)
    labels = torch.randint(3, (50,), generator=generator)  # no example of class 3
    thresholds = [k / 50 for k in range(20)]
    found = count_scores(clean, patterned, labels, thresholds)
    for k, counts in enumerate(found):
        rise = patterned[k].double().softmax(1) - clean[k].double().softmax(1)
        before, after = clean[k].argmax(1), patterned[k].argmax(1)
        for true in range(4):
            here = labels == true
            assert counts.examples[true] == here.sum()
            assert counts.correct[true] == (here & (after == true)).sum()
            for target in range(4):
                assert counts.hits[true, target] == (here & (rise[:, target] > thresholds[k])).sum()
                assert counts.flips[true, target] == (here & (after == target) & (before != target)).sum()
        one = SpuriousScores(clean[k], patterned[k], labels, thresholds[k])
        given = SpuriousScores(clean[k], patterned[k], labels, thresholds[k], counts)
        assert given.by_target == one.by_target == rise.gt(thresholds[k]).double().mean(0).tolist()
        assert [given.flip_rate(t) for t in range(4)] == [one.flip_rate(t) for t in range(4)]


def test_the_matrix_splits_the_score_by_true_class(scores: SpuriousScores) -> None:
    assert scores.matrix[:, 0].tolist() == [0, 1 / 2, 1]
    assert scores.by_true_class(0) == [0, 1 / 2, 1]
    shares = torch.bincount(LABELS, minlength=3) / len(LABELS)
    torch.testing.assert_close(shares.double() @ scores.matrix, torch.tensor(scores.by_target).double())


def test_a_class_without_examples_has_no_score() -> None:
    scores = SpuriousScores(CLEAN, PATTERN, torch.tensor([1, 2, 2, 1]), threshold=0.25)
    assert all(math.isnan(value) for value in scores.matrix[0].tolist())


def test_accuracy_and_cross_entropy() -> None:
    assert accuracy(CLEAN, LABELS) == 1
    expected = -(math.log(0.8) + math.log(0.6) + math.log(0.9) + math.log(0.5)) / 4
    assert cross_entropy(CLEAN, LABELS) == pytest.approx(expected)
    assert accuracy(CLEAN, torch.tensor([1, 0, 0, 2])) == 2 / 4
    assert accuracy(CLEAN[:0], LABELS[:0]) == 0


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_thresholds_outside_the_unit_interval_are_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="score_threshold"):
        SpuriousScores(CLEAN, PATTERN, LABELS, threshold)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="do not match"):
        SpuriousScores(CLEAN, PATTERN[:2], LABELS, 0.25)

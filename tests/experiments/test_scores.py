"""Metrics of a run from logits that can be worked out by hand."""

import math
from collections.abc import Sequence

import pytest
import torch

from rsc_mlflow.data import load_dataset
from rsc_mlflow.experiments.clean_baseline import baseline_metrics
from rsc_mlflow.experiments.scores import evaluate, evaluate_members, logits_of, spurious_metrics
from rsc_mlflow.models import build
from rsc_mlflow.names import DatasetName
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.scoring import SpuriousScores
from rsc_mlflow.tracking import schema

CPU = torch.device("cpu")


def scores() -> SpuriousScores:
    """Four examples of classes 0, 1, 2, 2 among three classes; clean predictions are right.

    The pattern moves the first to class 1, the second nowhere, the third to class 0 and the fourth to class 1.
    """
    labels = torch.tensor([0, 1, 2, 2])
    clean = 10 * torch.eye(3)[labels]
    patterned = 10 * torch.eye(3)[torch.tensor([1, 1, 0, 1])]
    return SpuriousScores(clean, patterned, labels, 1 / 3)


def test_one_target_class() -> None:
    found = spurious_metrics(scores(), (0,))
    assert found[schema.SPURIOUS_SCORE] == 1 / 4
    assert found[schema.SPURIOUS_SCORE_NONTARGET] == 1 / 3
    assert found[schema.SPURIOUS_FLIP_RATE] == 1 / 3
    assert found[schema.SPURIOUS_TEST_ACCURACY] == 1 / 3
    assert [found[schema.score_class(k)] for k in range(3)] == [0, 0, 1 / 2]


def test_of_two_target_classes_every_number_is_the_mean_and_each_class_has_its_own_score() -> None:
    found = spurious_metrics(scores(), (0, 1))
    assert [found[schema.score_target(k)] for k in range(3)] == [1 / 4, 1 / 2, 0]
    assert found[schema.SPURIOUS_SCORE] == (1 / 4 + 1 / 2) / 2
    assert found[schema.SPURIOUS_SCORE_NONTARGET] == (1 / 3 + 2 / 3) / 2
    assert found[schema.SPURIOUS_FLIP_RATE] == (1 / 3 + 2 / 3) / 2
    assert found[schema.SPURIOUS_TEST_ACCURACY] == (1 / 3 + 0) / 2
    assert [found[schema.score_class(k)] for k in range(3)] == [(0 + 1) / 2, 0, (1 / 2 + 1 / 2) / 2]


def test_a_score_among_clean_models() -> None:
    found = baseline_metrics(0.2, [0.0, 0.1, 0.2, 0.5])  # two of four score at least as high
    assert found[schema.P_VALUE] == 3 / 5
    assert found[schema.N_REFERENCE] == 4
    assert found[schema.REFERENCE_SCORE] == pytest.approx(0.2)
    assert found[schema.REFERENCE_SCORE_MAX] == 0.5
    deviation = math.sqrt((0.04 + 0.01 + 0 + 0.09) / 3)
    upper = 3.182446305284263 * deviation * math.sqrt(1 + 1 / 4)  # Student's .975 quantile, 3 degrees of freedom
    assert found[schema.REFERENCE_PREDICTION_HIGH] == pytest.approx(0.2 + upper)


def test_one_clean_model_gives_a_rank_and_no_interval() -> None:
    found = baseline_metrics(0.9, [0.0])
    assert found[schema.P_VALUE] == 1 / 2
    assert schema.REFERENCE_PREDICTION_HIGH not in found


def test_members_of_a_cohort_are_evaluated_as_each_alone() -> None:
    """Two patterns, clean data, thresholds and members that are not scored; each image set passes once."""
    datasets = [load_dataset(DatasetName.parse(f"digits{rest}")) for rest in ("v8-3-0-0", "", "v20-3-1-0", "v8-3-0-1")]
    modules = [build("MLP", (1, 28, 28), 10, torch_generator(seed, "init")) for seed in range(5)]
    names = [*datasets, datasets[0]]
    thresholds, scored = [0.1, 0.1, 0.05, 0.0, 0.1], [True, True, True, True, False]
    passes: list[list[int]] = []

    def logits(images: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        passes.append(list(members))
        return torch.stack([logits_of(modules[k], CPU)(images) for k in members])

    found = evaluate_members(logits, names, thresholds, scored)
    assert passes == [[0, 1, 2, 3, 4], [0, 3], [2]]
    for k, dataset in enumerate(names):
        alone = evaluate(logits_of(modules[k], CPU), dataset, thresholds[k], with_scores=scored[k])
        assert found[k].metrics(dataset.name.targets) == alone.metrics(dataset.name.targets)
        assert (found[k].scores is None) == (alone.scores is None)

"""The influence of each training example, against retraining without it, one by one."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from rsc_mlflow.errors import InputError
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.gradients import loss_and_accuracy
from rsc_mlflow.unlearning.influences import influences, ranking
from rsc_mlflow.unlearning.solver_options import InfluenceConfig
from tests.unlearning.worlds import blobs, fitted_logistic, part

DECAY = 0.05
EXACT = InfluenceConfig(tolerance=1e-10, max_iterations=500, damping=1e-12, weight_decay=DECAY)


def test_influences_are_what_leaving_one_out_does_to_the_test_loss() -> None:
    train, test = blobs(240, side=2), blobs(3, side=2, seed=9)
    model = fitted_logistic(train, DECAY)
    found = influences(model, train, part(test, 1, 2), EXACT)
    before, _ = loss_and_accuracy(model, part(test, 1, 2))
    actual = []
    for i in range(0, 240, 16):
        kept = Examples(train.images, train.labels, torch.cat([train.indices[:i], train.indices[i + 1 :]]))
        actual.append(loss_and_accuracy(fitted_logistic(kept, DECAY), part(test, 1, 2))[0] - before)
    predicted, truth = found.values[::16], torch.tensor(actual, dtype=torch.float64)
    assert float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1]) > 0.99
    assert float(predicted @ truth / (truth @ truth)) == pytest.approx(1, abs=0.08)
    assert found.residual < 1e-9


def test_ranking_is_the_hand_count_and_scikit_learns_auc() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 5.0, 2.0, -1.0])
    found = ranking(values, torch.tensor([0, 2]))
    assert found.top_share == 0.5  # 5.0 and 3.0 are on top, one of them is among the chosen
    assert found.auc == pytest.approx(roc_auc_score([1, 0, 1, 0, 0, 0], values))
    assert ranking(values, torch.tensor([3])).auc == 1


def test_a_planted_pattern_is_found_at_the_top() -> None:
    """One pixel is 1 on three training examples of class 0 and on the test example: they explain it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(90, 1, 2, 2, generator=generator, dtype=torch.float64)
    images[:, 0, 0, 0] = 0
    labels = torch.randint(0, 3, (90,), generator=generator)
    labels[:3], images[:3, 0, 0, 0] = 0, 4.0
    train = Examples.of(images, labels)
    model = fitted_logistic(train, 0.01)
    shown = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    shown[0, 0, 0, 0] = 4.0
    config = replace(EXACT, weight_decay=0.01)
    helpful = influences(model, train, Examples.of(shown, torch.tensor([0])), config)
    harmful = influences(model, train, Examples.of(shown, torch.tensor([1])), config)
    spurious = torch.arange(3)
    assert ranking(helpful.values, spurious).top_share == 1
    assert ranking(-harmful.values, spurious).top_share == 1


def test_empty_sets_are_refused() -> None:
    examples = blobs(6)
    with pytest.raises(InputError, match="at least one training and one test example"):
        influences(fitted_logistic(examples, 1.0), examples, part(examples, 0, 0), EXACT)

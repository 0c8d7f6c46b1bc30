"""Exact and incremental retraining against the trainer itself."""

from dataclasses import asdict, replace

import pytest
import torch

from rsc_mlflow.data import Dataset, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.training import Cohort, Member, TrainingConfig, TrainingData
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.methods.exact_retraining import ExactRetrainingConfig, exact_retraining
from rsc_mlflow.unlearning.methods.incremental_retraining import IncrementalRetrainingConfig, incremental_retraining
from tests.unlearning.worlds import flat_parameters

Source = tuple[Dataset, Cohort, Examples, Examples]
CPU = torch.device("cpu")
CONFIG = TrainingConfig(ModelName.parse("ce-tor-MLP"), epochs=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def source() -> Source:
    """A cohort of one trained for two epochs on poisoned digits, its dataset, forget and retain set."""
    dataset = load_dataset(DatasetName.parse("digitsv20-10-0-0"))
    cohort = Cohort([Member(TrainingData.of(dataset), CONFIG)], 10, CPU)
    list(cohort.epochs())
    data = TrainingData.of(dataset, without_spurious=True)
    assert data.kept is not None
    retain = Examples(dataset.train.images, dataset.train.labels, data.kept)
    forget = Examples.of(dataset.spurious_images, dataset.train.labels[dataset.spurious_indices])
    return dataset, cohort, forget, retain


def test_exact_retraining_is_the_trainer_without_the_spurious_examples(source: Source) -> None:
    dataset, cohort, forget, retain = source
    alone = Cohort([Member(TrainingData.of(dataset, without_spurious=True), CONFIG)], 10, CPU)
    list(alone.epochs())
    done = exact_retraining(cohort.module(0), forget, retain, ExactRetrainingConfig(training=CONFIG, classes=10))
    assert torch.equal(flat_parameters(done.model), flat_parameters(alone.module(0)))
    assert len(retain) == len(dataset.train) - 10


def test_incremental_retraining_goes_on_from_the_checkpoint_at_its_last_rate(source: Source) -> None:
    dataset, cohort, forget, retain = source
    start = cohort.checkpoint(0)
    assert start.learning_rate is not None
    constant = replace(CONFIG, epochs=4, schedule="none", learning_rate=start.learning_rate)
    on = Cohort([Member(TrainingData.of(dataset, without_spurious=True), constant, start)], 10, CPU)
    reports = list(on.epochs())
    seen = []
    config = IncrementalRetrainingConfig(start=start, epochs=4, classes=10)
    done = incremental_retraining(
        cohort.module(0), forget, retain, config, lambda epoch, m, found: seen.append((epoch, found))
    )
    assert torch.equal(flat_parameters(done.model), flat_parameters(on.module(0)))
    assert seen == [(report.epoch, asdict(report.members[0])) for report in reports]
    assert [(epoch, found["learning_rate"]) for epoch, found in seen] == [(3, 0.05), (4, 0.05)]
    assert done.record == {}


def test_the_decayed_rate_of_a_long_training_is_kept_and_a_given_one_overrides_it(source: Source) -> None:
    """70 epochs at 0.01 end at 1e-5 (three milestones): what the paper's code restores."""
    _, cohort, _, _ = source
    long = replace(cohort.checkpoint(0), epoch=70, config=TrainingConfig(CONFIG.model), learning_rate=None)
    kept = IncrementalRetrainingConfig(start=long, epochs=140, classes=10).effective()
    assert kept.learning_rate == pytest.approx(1e-5)
    assert (kept.epochs, kept.schedule) == (140, "none")
    assert (
        IncrementalRetrainingConfig(start=long, epochs=140, classes=10, learning_rate=0.01).effective().learning_rate
        == 0.01
    )


def test_epochs_that_are_already_done_are_refused(source: Source) -> None:
    _, cohort, _, _ = source
    with pytest.raises(InputError, match="counts from the start of training, and the model was already trained for 2"):
        IncrementalRetrainingConfig(start=cohort.checkpoint(0), epochs=2, classes=10)

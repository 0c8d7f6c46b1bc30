"""Training on the retain set, used by incremental and exact retraining."""

import torch
from torch import nn

from rsc_mlflow.data.families import ImageSet
from rsc_mlflow.training import Checkpoint, Cohort, Member, TrainingConfig, TrainingData
from rsc_mlflow.unlearning.base import Examples, Observe


def train_on(
    retain: Examples,
    config: TrainingConfig,
    start: Checkpoint | None,
    classes: int,
    device: torch.device,
    observe: Observe | None,
) -> nn.Module:
    """Return the model trained on the retain set until ``config.epochs``, from ``start`` if it is given."""
    images = ImageSet(retain.images, retain.labels)
    nothing = torch.empty(0, dtype=torch.int64)
    data = TrainingData(images, nothing, retain.images[:0], kept=retain.indices)
    cohort = Cohort([Member(data, config, start)], classes, device)
    for report in cohort.epochs():
        result = report.members[0]
        figures = {"loss": result.loss, "accuracy": result.accuracy, "learning_rate": result.learning_rate}
        if observe is not None:
            observe(report.epoch, cohort.module(0), figures)
    return cohort.module(0).eval()

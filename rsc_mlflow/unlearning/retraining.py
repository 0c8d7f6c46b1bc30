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
    """Return a model trained on the retain set, in evaluation mode.

    Args:
        retain: the retain set.
        config: the training options; training ends at epoch ``config.epochs``, counted from the start of training.
        start: the checkpoint to continue from; None: train from scratch.
        classes: number of classes.
        device: the device to train on.
        observe: called after each epoch.
    """
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

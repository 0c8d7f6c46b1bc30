"""The learning-rate schedule of the paper's code: ×0.1 at milestones that depend on the number of epochs."""

from rsc_mlflow.config import TrainingConfig

FACTOR = 0.1
MILESTONES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (30, (15, 25)),
    (40, (20, 30)),
    (50, (25, 40)),
    (60, (30, 50)),
    (70, (40, 50, 60)),
    (80, (40, 60, 70)),
    (120, (50, 90, 110)),
    (140, (60, 100, 120)),
    (160, (40, 80, 120, 140)),
    (200, (80, 140, 180)),
)
"""(bound, milestones): the first row with ``epochs`` ≤ bound applies."""

MILESTONES_BEYOND = (60, 120)


def milestones(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which the learning rate is reduced, for training of ``epochs`` epochs in total."""
    return next((steps for bound, steps in MILESTONES if epochs <= bound), MILESTONES_BEYOND)


def learning_rate_at(config: TrainingConfig, epoch: int) -> float:
    """Return the learning rate in ``epoch``, counted from 1.

    After a milestone m, epoch m + 1 is the first with the reduced rate, as with
    ``torch.optim.lr_scheduler.MultiStepLR`` stepped at the end of each epoch.
    """
    if config.schedule == "none":
        return config.learning_rate
    rate = config.learning_rate
    for milestone in milestones(config.epochs):
        if epoch > milestone:
            rate *= FACTOR
    return rate

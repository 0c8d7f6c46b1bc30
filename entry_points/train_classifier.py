"""Train a classifier, score it, register it: ``mlflow run . -e train_classifier -P dataset=mnistv20-3-0-0``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.startup import imports_without_gc


def train_classifier(options: TrainOptions) -> None:
    """Train a classifier on a clean or poisoned data set, score the pattern, log and register the model."""
    with imports_without_gc():
        from rsc_mlflow.experiments.training import TrainingJob, train_members

    train_members([TrainingJob(options)])


cli = command("train_classifier", TrainOptions, train_classifier)

if __name__ == "__main__":
    main(cli)

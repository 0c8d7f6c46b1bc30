"""Artifacts and dataset inputs of runs that train or unlearn a model."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from rsc_mlflow.data import Dataset
from rsc_mlflow.experiments.figures import examples_png, score_matrix_page, training_curves_page
from rsc_mlflow.experiments.scores import Evaluation, matrix_record
from rsc_mlflow.scoring import SpuriousScores
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.datasets import DataRecord, log_datasets
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.tracking.store import with_retries
from rsc_mlflow.tracking.values import one_per_step

_SHOWN_EXAMPLES = 10
CURVES = (
    schema.TRAIN_LOSS,
    schema.TEST_LOSS,
    schema.TRAIN_ACCURACY,
    schema.TEST_ACCURACY,
    schema.SPURIOUS_SCORE,
    schema.SPURIOUS_FLIP_RATE,
)
"""Metrics drawn in ``figures/training_curves.html``."""


def log_description(run: TrackedRun, dataset: Dataset, params: Mapping[str, Any], fingerprint: str) -> None:
    """Log ``config.json``, ``spurious_indices.json``, ``figures/examples.png`` and the dataset inputs."""
    run.log_json(
        {"params": {key: str(value) for key, value in params.items()}, "fingerprint": fingerprint}, schema.CONFIG
    )
    run.log_json(indices_record(dataset), schema.SPURIOUS_INDICES)
    _log_examples(run, dataset)
    log_datasets(run, [data_record(dataset, schema.TRAINING), data_record(dataset, schema.TESTING)])


def indices_record(dataset: Dataset) -> dict[str, Any]:
    """Return the content of ``spurious_indices.json``: indices and labels of spurious examples, in order of choice."""
    return {
        "dataset": str(dataset.name),
        "pattern_seed": dataset.pattern_seed,
        "indices": dataset.spurious_indices.tolist(),
        "labels": dataset.train.labels[dataset.spurious_indices].tolist(),
    }


def data_record(dataset: Dataset, context: str) -> DataRecord:
    """Return the training or the test set as an MLflow dataset input, with our own digest."""
    training = context == schema.TRAINING
    images = dataset.train if training else dataset.test
    profile = {
        "n_examples": len(images),
        "n_spurious": len(dataset.spurious_indices) if training else 0,
        "examples_per_class": torch.bincount(images.labels, minlength=dataset.classes).tolist(),
    }
    return DataRecord(
        name=str(dataset.name) if training else str(dataset.name.clean()),
        digest=dataset.digest("train" if training else "test"),
        context=context,
        profile=profile,
        shape=dataset.image_shape,
        source=f"{dataset.name.family}, {'training' if training else 'test'} set",
    )


def _log_examples(run: TrackedRun, dataset: Dataset) -> None:
    """Log images of spurious examples without and with the pattern; for clean datasets, of some training examples."""
    shown = dataset.spurious_indices[:_SHOWN_EXAMPLES]
    patterned = dataset.spurious_images[:_SHOWN_EXAMPLES] if len(shown) else None
    if patterned is None:
        shown = torch.arange(min(_SHOWN_EXAMPLES, len(dataset.train)))
    clean = dataset.train.images[shown]
    labels = dataset.train.labels[shown].tolist()
    run.log_bytes(examples_png(clean, patterned, labels), f"{schema.FIGURES}/examples.png")


def log_figures(
    run: TrackedRun,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    history: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    others: Mapping[str, SpuriousScores] | None = None,
) -> None:
    """Log ``spurious_scores.json``, ``figures/score_matrix.html`` and ``figures/training_curves.html``.

    Args:
        run, dataset, evaluation: the run, its dataset and its model's evaluation.
        history: (epoch, value) pairs of the metrics :data:`CURVES`; None: log no training curves.
        others: the scores, by name, of models that this one is compared with; they are logged, too.
    """
    if evaluation.scores is not None:
        record = matrix_record(evaluation.scores)
        record |= {name: matrix_record(scores) for name, scores in (others or {}).items()}
        run.log_json(record, schema.SPURIOUS_SCORES)
        matrices = {"this_model": evaluation.scores, **(others or {})}
        page = score_matrix_page(
            {name: scores.matrix.numpy() for name, scores in matrices.items()}, f"{dataset.name}: spurious scores"
        )
        run.log_text(page, f"{schema.FIGURES}/score_matrix.html")
    if history is not None:
        page = training_curves_page(history, f"{run.name}: training curves")
        run.log_text(page, f"{schema.FIGURES}/training_curves.html")


def curves(run: TrackedRun) -> dict[str, list[tuple[int, float]]]:
    """Return the run's main metrics by epoch from the store, including those logged before it was resumed."""
    run.flush()
    found = {
        name: with_retries(partial(run.client.get_metric_history, run.run_id, name), "training curves")
        for name in CURVES
    }
    return {name: one_per_step(points) for name, points in found.items() if points}

"""Score a registered model for any pattern and target class, as a tracked run."""

import logging
from collections.abc import Mapping

from rsc_mlflow.data import load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.artifacts import data_record, log_figures
from rsc_mlflow.experiments.scores import evaluate, logits_of, norm_metric, pulled_module
from rsc_mlflow.experiments.scoring_options import ScoreOptions
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.datasets import log_datasets
from rsc_mlflow.tracking.experiments import where_to_look
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.models import log_lineage
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.training import resolve_device

_logger = logging.getLogger(__name__)


def score(options: ScoreOptions) -> dict[str, float]:
    """Score a model on the test set and pattern of ``options.dataset``; return the metrics of the run.

    Raises:
        InputError: the dataset has no pattern, or the model cannot be pulled or does not fit the images.
    """
    name: DatasetName = options.parsed("dataset")
    if name.target is None:
        raise InputError(f"The dataset {options.dataset} has no pattern. Specify one, for example {name}v20-0-0-0.")
    seed = None if isinstance(options.pattern_seed, str) else options.pattern_seed
    threshold = 1 / name.classes if isinstance(options.score_threshold, str) else options.score_threshold
    device = resolve_device(options.device)
    dataset = load_dataset(name, options.data_root, seed)
    source = pull(options.model_uri)
    logits = logits_of(pulled_module(source, dataset), device)
    identity = {"kind": "score", "model": source.model_id, "dataset": options.dataset, "threshold": threshold}
    tags = {
        schema.FINGERPRINT: fingerprint(identity | {"pattern_seed": dataset.pattern_seed}),
        schema.SOURCE_MODEL_URI: source.model_uri,
        schema.SOURCE_RUN_ID: source.run_id,
    }
    params = options.as_params() | {"score_threshold": threshold, "architecture": source.model.architecture}
    params |= {"dataset_family": name.family, "pattern": name.pattern, "target_class": "-".join(map(str, name.targets))}
    run_name = f"score {source.dataset} {source.model.architecture} on {name}"
    with open_run(kind="score", method="score_model", name=run_name, params=params, tags=tags) as run:
        log_datasets(run, [data_record(dataset, schema.TESTING)])
        log_lineage(run, source.model_id)
        evaluation = evaluate(logits, dataset, threshold)
        metrics = evaluation.metrics(name.targets) | norm_metric(dataset)
        run.metrics(metrics, 0)
        log_figures(run, dataset, evaluation)
    _logger.info("%s: %s", run_name, where_to_look(run.experiment_id, run.run_id))
    return metrics


def summary(options: ScoreOptions, metrics: Mapping[str, float]) -> str:
    """Return the result of :func:`score` in one line."""
    figures = f"test accuracy {metrics[schema.TEST_ACCURACY]:.4f}, spurious score {metrics[schema.SPURIOUS_SCORE]:.4f}"
    return f"{options.model_uri} on {options.dataset}: {figures}"

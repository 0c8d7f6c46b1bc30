"""Plot first-layer weight maps of one or more models, as a tracked run."""

import logging
from collections.abc import Mapping
from typing import Any

from rsc_mlflow.data import Dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.inspection import (
    LoadedModel,
    build_models,
    comparison_model,
    load_models,
    tracked_params,
    tracked_tags,
)
from rsc_mlflow.experiments.inspection_figures import weights_png
from rsc_mlflow.experiments.scoring_options import WeightsOptions
from rsc_mlflow.scoring.weights import WeightMaps, as_picture, pattern_correlation, weight_map
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.experiments import where_to_look
from rsc_mlflow.tracking.models import log_lineage
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.tracking.values import whole

_logger = logging.getLogger(__name__)

_WORDS = {
    schema.PATTERN_CORRELATION: "correlation of the weights with the pattern",
    schema.PATTERN_CORRELATION_COMPARED: "correlation of the second model's weights with the pattern",
    schema.WEIGHT_DIFFERENCE: "mean absolute difference of the weights of the two models",
}


def visualize(options: WeightsOptions) -> dict[str, float]:
    """Plot the first layer of each model; log figure, arrays and correlations with the pattern; return the metrics.

    Raises:
        InputError: models cannot be pulled, belong to different families, or are not MLPs.
    """
    models, data = _models(options)
    maps = WeightMaps({one.label: weight_map(one.module, data.image_shape) for one in models})
    metrics = _metrics(models, maps)
    tags = tracked_tags("visualize_weights", models)
    params = options.as_params() | tracked_params(models[0].pulled)
    name = "weights of " + " and ".join(one.label for one in models)
    with open_run(kind="score", method="visualize_weights", name=name, params=params, tags=tags) as run:
        for one in models:
            log_lineage(run, one.pulled.model_id)
        run.metrics(metrics, 0)
        run.log_json(record(maps), schema.WEIGHT_MAP)
        run.log_bytes(weights_png(maps), f"{schema.FIGURES}/weights.png")
    _logger.info("%s: figures/weights.png of %s", name, where_to_look(run.experiment_id, run.run_id))
    return metrics


def summary(metrics: Mapping[str, float]) -> str:
    """Return the metrics of :func:`visualize`, one line each."""
    lines = [f"{words}: {metrics[name]:.3f}" for name, words in _WORDS.items() if name in metrics]
    return "\n".join(lines) or "The weights were plotted. There is no pattern or second model to compare them with."


def record(maps: WeightMaps) -> dict[str, Any]:
    """Return the content of ``weight_map.json``.

    ``maps`` has float ``[H][W]`` by label, ``order`` the labels in order, ``difference`` the difference of the first
    two maps, float ``[H][W]``, or null, and ``range`` the smallest and largest weight of all maps.
    """
    pictures = {label: as_picture(one).tolist() for label, one in maps.maps.items()}
    difference = None if maps.difference is None else as_picture(maps.difference).tolist()
    return {"maps": pictures, "order": list(pictures), "difference": difference, "range": list(maps.color_range)}


def _models(options: WeightsOptions) -> tuple[list[LoadedModel], Dataset]:
    models, data = load_models(options.model_uri, options.dataset, options.model, options.data_root)
    if options.compare_with == "none" or (len(models) > 1 and options.compare_with == "auto"):
        return models, data
    if len(models) > 1:
        raise InputError("compare_with needs a single model_uri. Specify all models in model_uri instead.")
    own = models[0].pulled
    other = comparison_model(own) if options.compare_with == "auto" else pull(options.compare_with)
    return (models, data) if other is None else build_models([own, other], options.data_root)


def _metrics(models: list[LoadedModel], maps: WeightMaps) -> dict[str, float]:
    """Return the correlations of the first two maps with the first model's pattern, and their mean difference."""
    own = models[0].pulled
    metrics: dict[str, float] = {}
    if (pattern := own.dataset.pattern) is not None:
        given = whole(own.params.get("pattern_seed"))
        seed = own.dataset.seed if given is None else given
        names = (schema.PATTERN_CORRELATION, schema.PATTERN_CORRELATION_COMPARED)
        for key, one in zip(names, maps.maps.values(), strict=False):
            metrics[key] = pattern_correlation(one, pattern, seed)
    if maps.difference is not None:
        metrics[schema.WEIGHT_DIFFERENCE] = maps.difference.mean().item()
    return metrics

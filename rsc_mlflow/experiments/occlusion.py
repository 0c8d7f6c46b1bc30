"""Sensitivity of one or more models to missing pixels, as a tracked run."""

import logging
from collections.abc import Mapping
from typing import Any

from rsc_mlflow.experiments.artifacts import data_record
from rsc_mlflow.experiments.inspection import load_models, tracked_params, tracked_tags
from rsc_mlflow.experiments.inspection_figures import occlusion_png
from rsc_mlflow.experiments.scoring_options import OcclusionOptions
from rsc_mlflow.scoring.occlusion import OcclusionCurve, occluder
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.datasets import log_datasets
from rsc_mlflow.tracking.experiments import where_to_look
from rsc_mlflow.tracking.models import log_lineage
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.training import resolve_device

_logger = logging.getLogger(__name__)


def measure(options: OcclusionOptions) -> dict[str, OcclusionCurve]:
    """Compute and log the occlusion curves of one or more models on the same images.

    ``occlusion/probability`` and ``occlusion/auc`` belong to the first model; ``occlusion/auc_2`` and so on to the
    others, in the given order.

    Raises:
        InputError: models cannot be pulled or belong to different families, or ``examples`` is too large.
    """
    resolve_device(options.device)
    models, data = load_models(options.model_uri, options.dataset, options.model, options.data_root)
    plan = occluder(data.train.images, data.train.labels, options.examples, options.random_seed)
    decisive = {name: getattr(options, name) for name in ("examples", "steps", "random_seed")}
    tags = tracked_tags("occlusion", models, **decisive)
    params = options.as_params() | tracked_params(models[0].pulled)
    name = "occlusion of " + " and ".join(one.label for one in models)
    with open_run(kind="score", method="occlusion", name=name, params=params, tags=tags) as run:
        log_datasets(run, [data_record(data, schema.TRAINING)])
        for one in models:
            log_lineage(run, one.pulled.model_id)
        curves = {one.label: plan.curve(one.logits(options.device), options.steps) for one in models}
        _log_points(run, list(curves.values()))
        run.log_json(record(curves), schema.OCCLUSION)
        run.log_bytes(occlusion_png(curves), f"{schema.FIGURES}/occlusion.png")
    _logger.info("%s: figures/occlusion.png of %s", name, where_to_look(run.experiment_id, run.run_id))
    return curves


def summary(curves: Mapping[str, OcclusionCurve]) -> str:
    """Return the area under each curve of :func:`measure`, one line per model."""
    return "\n".join(f"{label}: area under the occlusion curve {curve.auc:.4f}" for label, curve in curves.items())


def _log_points(run: TrackedRun, curves: list[OcclusionCurve]) -> None:
    first = curves[0]
    for share, probability in zip(first.shares, first.probabilities, strict=True):
        run.metrics({schema.OCCLUSION_PROBABILITY: probability}, round(100 * share))
    name = schema.OCCLUSION_AUC
    areas = {name: first.auc} | {f"{name}_{k}": curve.auc for k, curve in enumerate(curves[1:], 2)}
    run.metrics(areas, 0)


def record(curves: dict[str, OcclusionCurve]) -> dict[str, Any]:
    """Return the content of ``occlusion.json``: shares from 0 to 1, and the probabilities of each model by label."""
    shares = next(iter(curves.values())).shares
    return {"share": list(shares)} | {label: list(curve.probabilities) for label, curve in curves.items()}

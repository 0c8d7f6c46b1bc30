"""Shadow models in the store: K models of one run, found by their fingerprint.

The fingerprint does not include the target's seeds or the number of models.  Shadow model k is the same in a set of 4
as in a set of 16, so a set can be used instead of any smaller one.
"""

import logging
from dataclasses import replace
from typing import Any

from torch import nn

from rsc_mlflow.attacks.base import ShadowConfig
from rsc_mlflow.attacks.experiment import Population, shadow_members, train_models
from rsc_mlflow.data import Dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.progress import TrainingProgress
from rsc_mlflow.experiments.scores import pulled_module
from rsc_mlflow.models import trains_together
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.models import log_model
from rsc_mlflow.tracking.pull import pull, read_artifact
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.registration import Registrar
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.tracking.store import connect
from rsc_mlflow.tracking.values import number
from rsc_mlflow.training import EpochReport, resolve_device

_logger = logging.getLogger(__name__)

METHOD = "shadow_models"
MODEL_TAG = "shadow_model"
"""Tag of a registered version: index of the shadow model, from 0."""


def shadow_fingerprint(options: TrainOptions, config: ShadowConfig) -> str:
    """Return a hash of all options that affect shadow model k, for every k."""
    name = options.dataset_name
    carried = name if config.spurious and name.n_spurious else name.clean()
    identity = replace(options, random_seed=0, dataset=str(_without_choice(carried)), pattern_seed="auto").identity()
    del identity["random_seed"], identity["score_threshold"]
    identity["pattern_seed"] = options.resolved_pattern_seed if carried.pattern else None
    return fingerprint(identity | {"kind": "attack", "method": METHOD, "shadow_seed": config.seed})


def _without_choice(name: DatasetName) -> DatasetName:
    """Return the name with seed 0: the target's seed does not affect the spurious examples of shadow models."""
    return replace(name, seed=0) if name.pattern else name


def find_or_train_shadow_models(
    options: TrainOptions,
    config: ShadowConfig,
    dataset: Dataset,
    population: Population,
    parent_run_id: str,
    registrar: Registrar,
) -> list[nn.Module]:
    """Return the K shadow models of ``population``: from a finished run if there is one, else trained and stored."""
    digest = shadow_fingerprint(options, config)
    if (uris := _find(digest, config.n_models)) is not None:
        return [pulled_module(pull(uri), dataset) for uri in uris]
    params = _params(options, config, population)
    name = f"{config.n_models} shadow models {options.dataset} {options.model_name.architecture}"
    tags = {schema.FINGERPRINT: digest}
    with open_run(
        kind="attack", method=METHOD, name=name, params=params, tags=tags, parent_run_id=parent_run_id
    ) as run:
        registrar.announce(run)
        modules = _train(run, options, config, dataset, population)
        _store(run, modules, options, dataset, registrar)
    return modules


def _find(digest: str, n_models: int) -> list[str] | None:
    conditions = [
        condition("tags", schema.FINGERPRINT, digest),
        condition("tags", schema.METHOD, METHOD),
        condition("attributes", "status", "FINISHED"),
    ]
    for run in iterate_runs(connect(), conditions):
        count = number(run.data.params.get("shadow_models"))
        if schema.KIND not in run.data.tags or count is None or count < n_models:
            continue
        if len(uris := _stored_uris(run.info.run_id)) >= n_models:
            return uris[:n_models]
    return None


def _stored_uris(run_id: str) -> list[str]:
    """Return the model URIs that a run of shadow models logged; empty if the list is missing or invalid."""
    try:
        uris = read_artifact(run_id, schema.SHADOW_MODELS).get("models")
    except InputError as error:
        _logger.warning("Cannot use the shadow models of run %s: %s", run_id, error)
        return []
    return uris if isinstance(uris, list) and all(isinstance(uri, str) for uri in uris) else []


def _params(options: TrainOptions, config: ShadowConfig, population: Population) -> dict[str, Any]:
    own = {"shadow_models": config.n_models, "shadow_spurious": config.spurious, "shadow_seed": config.seed}
    derived = {"architecture": options.model_name.architecture, "dataset_family": options.dataset_name.family}
    counts = {"n_train": len(population.data(0)), "n_spurious": len(population.spurious_indices) // 2}
    return options.as_params() | {"score_threshold": options.resolved_threshold} | own | derived | counts


def _train(
    run: TrackedRun, options: TrainOptions, config: ShadowConfig, dataset: Dataset, population: Population
) -> list[nn.Module]:
    members = shadow_members(population, options.config(), config)
    device = resolve_device(options.device)
    name = options.model_name
    together = trains_together(name.architecture, dataset.image_shape, name.augmentation, device)
    sets = 1 if together else len(members)
    with TrainingProgress(run.name, options.epochs * sets) as progress:
        done = 0

        def report(epoch: EpochReport) -> None:
            nonlocal done
            done += 1
            size = len(epoch.members)
            loss = sum(member.loss for member in epoch.members) / size
            accuracy = sum(member.accuracy for member in epoch.members) / size
            progress.update(done, {"train loss": loss, "train accuracy": accuracy})
            if together:
                costs = {schema.SECONDS_PER_EPOCH: epoch.seconds}
                run.metrics({schema.TRAIN_LOSS: loss, schema.TRAIN_ACCURACY: accuracy} | costs, epoch.epoch)

        return train_models(members, dataset.classes, device, report)


def _store(
    run: TrackedRun, modules: list[nn.Module], options: TrainOptions, dataset: Dataset, registrar: Registrar
) -> None:
    uris = []
    for k, module in enumerate(modules):
        uri = log_model(run, module, dataset.test.images[:2], options.epochs)
        uris.append(uri)
        registrar.register(run, uri, dataset=options.dataset, kind="attack", method=METHOD, tags={MODEL_TAG: str(k)})
    run.log_json({"models": uris}, schema.SHADOW_MODELS)

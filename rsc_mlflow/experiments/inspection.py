"""Find, load and label trained models for inspection."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import nn

from rsc_mlflow.data import Dataset, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scores import Logits, logits_of, pulled_module
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import PulledModel, pull, pull_finished, run_uri
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.store import connect
from rsc_mlflow.training import resolve_device

_logger = logging.getLogger(__name__)

MOST = 8
"""Maximum number of models in one figure."""
_PAGE = 20


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model loaded from the store, and its label in figures."""

    pulled: PulledModel
    module: nn.Module
    label: str

    def logits(self, device: str) -> Logits:
        """Return the model as a function of images that computes on ``device``."""
        return logits_of(self.module, resolve_device(device))


def load_models(uris: str, dataset: str, model: str, data_root: str) -> tuple[list[LoadedModel], Dataset]:
    """Return the models in a comma-separated list, and the clean dataset of their family.

    Args:
        uris: model URIs; ``auto`` is the newest finished training run that matches ``dataset`` and ``model``.
        dataset: dataset name to restrict ``auto`` to, or ``any``.
        model: model name to restrict ``auto`` to, or ``any``.
        data_root: folder with datasets.

    Raises:
        InputError: there are no or too many models, one is unknown, or they belong to different families.
    """
    named = [uri.strip() for uri in uris.split(",") if uri.strip()]
    if not 1 <= len(named) <= MOST:
        raise InputError(
            f"Invalid value for 'model_uri': {len(named)} models. Expected 1 to {MOST}, separated by commas."
        )
    pulled = [pull(newest(dataset, model) if uri == "auto" else uri) for uri in named]
    return build_models(pulled, data_root)


def build_models(pulled: Sequence[PulledModel], data_root: str) -> tuple[list[LoadedModel], Dataset]:
    """Return the pulled models as modules with distinct labels, and the clean dataset of their family.

    Raises:
        InputError: the models belong to different families, or a model occurs twice.
    """
    names = {model.dataset.clean() for model in pulled}
    if len(names) != 1:
        families = ", ".join(sorted(map(str, names)))
        raise InputError(f"Cannot compare models trained on {families}. Expected models of one family.")
    if len({model.model_id for model in pulled}) != len(pulled):
        raise InputError("The same model is specified twice. Expected different models.")
    data = load_dataset(names.pop(), data_root)
    labels = _labels(pulled)
    return [LoadedModel(m, pulled_module(m, data), label) for m, label in zip(pulled, labels, strict=True)], data


def newest(dataset: str, model: str) -> str:
    """Return the URI of the newest finished training run's model.

    Args:
        dataset: dataset name of the run, or ``any``.
        model: model name of the run, or ``any``.

    Raises:
        InputError: there is no such run.
    """
    conditions = [condition("tags", schema.KIND, "train"), condition("attributes", "status", "FINISHED")]
    wanted = (("dataset", dataset, DatasetName), ("model", model, ModelName))
    for key, value, kind in wanted:
        if value != "any":
            kind.parse(value)
            conditions.append(condition("params", key, value))
    found = iterate_runs(connect(), conditions, page=_PAGE)
    run = next((run for run in found if run.outputs and run.outputs.model_outputs), None)
    if run is None:
        what = " and ".join(f"{key} {value}" for key, value, _ in wanted)
        raise InputError(f"No finished training run with {what}. Train a model first, or specify model_uri.")
    return run_uri(run.info.run_id)


def comparison_model(model: PulledModel) -> PulledModel | None:
    """Return the model to compare with: the source of an unlearned model, or else the clean model of the same recipe.

    Returns None if it is not tracked or the model itself is clean.
    """
    if source := model.run.data.tags.get(schema.SOURCE_MODEL_URI):
        return pull(source)
    if model.dataset.pattern is None:
        return None
    names = {field.name for field in fields(TrainOptions)}
    try:
        options = TrainOptions.from_mapping({key: value for key, value in model.params.items() if key in names})
    except InputError as error:
        _logger.warning("Cannot compare with a clean model: %s", error)
        return None
    return pull_finished(fingerprint(options.for_clean().identity()), kind="train")


def tracked_tags(method: str, models: Sequence[LoadedModel], **decisive: object) -> dict[str, str]:
    """Return tags for an inspection of models: fingerprint (from all options in ``decisive``) and source model."""
    ids = [one.pulled.model_id for one in models]
    first = models[0].pulled
    return {
        schema.FINGERPRINT: fingerprint({"kind": "score", "method": method, "models": ids} | decisive),
        schema.SOURCE_MODEL_URI: first.model_uri,
        schema.SOURCE_RUN_ID: first.run_id,
    }


def tracked_params(model: PulledModel) -> dict[str, str]:
    """Return parameters of the first model to log with the inspection, so that runs can be found by them."""
    wanted = ("dataset_family", "pattern", "n_spurious", "target_class", "architecture", "n_parameters", "optimizer")
    own = {key: model.params[key] for key in wanted if key in model.params}
    return own | {"inspected_dataset": str(model.dataset), "inspected_model": str(model.model)}


def _labels(models: Sequence[PulledModel]) -> list[str]:
    """Return labels of dataset, architecture and method, with the run id if they are not distinct otherwise."""
    plain = []
    for model in models:
        method = model.run.data.tags.get(schema.METHOD, "")
        kept = "" if model.run.data.tags.get(schema.KIND) == "train" else f" after {method}"
        seed = model.params.get("random_seed", "")
        plain.append(f"{model.dataset} {model.model.architecture}{kept}" + (f" seed {seed}" if seed else ""))
    return [
        label if plain.count(label) == 1 else f"{label} ({model.run_id[:8]})"
        for label, model in zip(plain, models, strict=True)
    ]

"""Functions that pull a model from the store by its URI, and verify it."""

import logging
import re
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.tracking import MlflowClient
from torch import Tensor

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.artifacts import read_json
from rsc_mlflow.tracking.pt2 import read_weights
from rsc_mlflow.tracking.query import finished_runs
from rsc_mlflow.tracking.store import StoreError, connect, look_up, reason, with_retries
from rsc_mlflow.tracking.values import unquoted

_FORMS = "models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID, runs:/RUN_ID/model"
_LOGGED = re.compile(r"models:/(m-[A-Za-z0-9]+)")
_VERSION = re.compile(r"models:/([^/@:]+)/(\d+)")
_ALIAS = re.compile(r"models:/([^/@:]+)@([\w-]+)")
_RUN = re.compile(rf"runs:/([A-Za-z0-9]+)/{schema.MODEL}")
_SHOWN = 10
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PulledModel:
    """A model from the store, and the run that logged it.

    Attributes:
        state_dict: the weights by name, on the CPU, for the architecture of ``model``.
        model_uri: ``models:/m-ID``, for every form of the requested URI.
        model_id: ``m-ID``.
        run: the MLflow run that logged the model.
        params: parameters of the run, without the quotes that ``mlflow run`` adds.
        dataset: the dataset that the model was trained on.
        model: architecture, loss and augmentation.
    """

    state_dict: dict[str, Tensor]
    model_uri: str
    model_id: str
    run: Run
    params: dict[str, str]
    dataset: DatasetName
    model: ModelName

    @property
    def run_id(self) -> str:
        """Id of the run that logged the model."""
        return str(self.run.info.run_id)

    @cached_property
    def spurious_record(self) -> dict[str, Any]:
        """Content of the run's ``spurious_indices.json``; cached.

        Raises:
            InputError: the file is missing or damaged.
        """
        return read_artifact(self.run_id, schema.SPURIOUS_INDICES)

    def spurious_indices(self) -> tuple[int, ...]:
        """Return the indices of the spurious examples in the training set, as logged by the run.

        Raises:
            InputError: ``spurious_indices.json`` is missing or damaged.
        """
        indices = self.spurious_record.get("indices")
        if not isinstance(indices, list) or not all(isinstance(index, int) for index in indices):
            raise InputError(
                f"{schema.SPURIOUS_INDICES} of run {self.run_id} is not a list of indices. Use another run."
            )
        return tuple(indices)


def pull(uri: str) -> PulledModel:
    """Return the model at a URI.

    Raises:
        InputError: the URI is invalid; the model, version or alias does not exist (the message lists those that do);
            the run has no finished model; the file is damaged or contains pickled objects; the store does not answer.
    """
    client = connect()
    model_id = _model_id(client, uri)
    logged = look_up(
        lambda: client.get_logged_model(model_id),
        "model",
        lambda why: f"No model {model_id} in this store ({why}). Expected {_FORMS}.",
    )
    source_run_id = logged.source_run_id
    if not _ready(logged) or not source_run_id:
        raise InputError(f"Model {model_id} is {logged.status}: its run did not finish logging it. Use another model.")
    run = with_retries(lambda: client.get_run(source_run_id), "run of the model")
    params = {key: unquoted(value) for key, value in run.data.params.items()}
    for key in ("dataset", "model"):
        if key not in params:
            raise InputError(
                f"Run {run.info.run_id} of {uri} has no parameter {key!r}. Expected a run of this project."
            )
    state_dict = _download(model_id)
    dataset, model = DatasetName.parse(params["dataset"]), ModelName.parse(params["model"])
    return PulledModel(state_dict, f"models:/{model_id}", model_id, run, params, dataset, model)


def resolve(uri: str) -> str:
    """Return ``models:/m-ID`` of the model at a URI now; an alias may be moved later.

    Raises:
        InputError: the URI is invalid, or the model, version or alias does not exist.
    """
    return f"models:/{_model_id(connect(), uri)}"


def pull_finished(fingerprint: str, *, kind: str) -> PulledModel | None:
    """Return the model of the newest finished run with this fingerprint, or None if there is no such run.

    Runs whose model is missing or damaged are skipped.

    Raises:
        InputError: there are such runs, but none has a usable model.
    """
    refusal: InputError | None = None
    for run in finished_runs(fingerprint, kind=kind):
        try:
            return pull(run_uri(run.info.run_id))
        except StoreError:
            raise
        except InputError as error:
            _logger.warning("Skipped run %s: %s", run.info.run_id, error)
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def run_uri(run_id: str) -> str:
    """Return the URI of the model that a run logged."""
    return f"runs:/{run_id}/{schema.MODEL}"


def read_artifact(run_id: str, path: str) -> dict[str, Any]:
    """Return a JSON artifact of a run after verifying its checksum.

    Raises:
        InputError: the artifact is missing, truncated or changed.
    """
    client = connect()
    with tempdirs.tempdir() as temporary:
        try:
            file = client.download_artifacts(run_id, path, str(temporary))
        except Exception as error:
            raise InputError(f"Cannot read {path} of run {run_id} ({reason(error)}).") from error
        return read_json(Path(file))


def _model_id(client: MlflowClient, uri: str) -> str:
    match = next((found for form in (_LOGGED, _VERSION, _ALIAS, _RUN) if (found := form.fullmatch(uri))), None)
    if match is None:
        raise InputError(f"{uri!r} is not a valid model URI. Expected {_FORMS}, or auto.")
    return look_up(
        lambda: _resolve(client, match, uri),
        "model",
        lambda why: f"Cannot find {uri} ({why}). {_existing(client, match)}.",
    )


def _resolve(client: MlflowClient, match: re.Match[str], uri: str) -> str:
    if match.re is _VERSION:
        return _from_source(client.get_model_version(match[1], match[2]).source, uri)
    if match.re is _ALIAS:
        return _from_source(client.get_model_version_by_alias(match[1], match[2]).source, uri)
    if match.re is _RUN:
        return _newest_of_run(client, match[1])
    return match[1]


def _from_source(source: str | None, uri: str) -> str:
    if match := _LOGGED.fullmatch(source or ""):
        return match[1]
    raise InputError(f"{uri} was registered from {source}, not from a logged model. Expected a model of this project.")


def _newest_of_run(client: MlflowClient, run_id: str) -> str:
    run = client.get_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    models = [(output.step, client.get_logged_model(output.model_id)) for output in outputs]
    whole = [(step, m.creation_timestamp, m.model_id) for step, m in models if m.name == schema.MODEL and _ready(m)]
    if whole:
        return str(max(whole)[2])
    raise InputError(f"Run {run_id} ({run.info.status}) has logged no model. Use a finished training run.")


def _ready(model: LoggedModel) -> bool:
    return bool(model.status == LoggedModelStatus.READY)


def _existing(client: MlflowClient, match: re.Match[str]) -> str:
    """Return a list of what exists instead, as text."""
    name = match[1]
    if match.re is _RUN:
        return "Expected the id of a finished run"
    models = with_retries(lambda: client.search_registered_models(max_results=1000), "registered models")
    found = next((model for model in models if model.name == name), None)
    if found is None:
        return f"Registered models: {_listed(sorted(model.name for model in models))}"
    if match.re is _ALIAS:
        return f"Aliases of {name}: {_listed(sorted(found.aliases))}"
    newest = partial(client.search_model_versions, f"name = '{name}'", _SHOWN + 1, order_by=["version_number DESC"])
    versions = with_retries(newest, "versions of a model")
    return f"Versions of {name}: {_listed([str(version.version) for version in versions])}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "none yet"
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _download(model_id: str) -> dict[str, Tensor]:
    with tempdirs.tempdir() as temporary:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(temporary)))
        except Exception as error:
            raise InputError(f"Cannot download the files of model {model_id} ({reason(error)}).") from error
        if not any(folder.iterdir()):
            raise InputError(f"The files of model {model_id} are missing, perhaps deleted. Train the model again.")
        return load_state(folder, model_id)


def load_state(folder: Path, model_id: str) -> dict[str, Tensor]:
    """Return the weights in a model folder, without unpickling, importing or evaluating anything from it.

    Raises:
        InputError: the folder contains a pickled model or code, or its file is truncated or changed.
    """
    file = folder / "data" / "model.pt2"
    try:
        flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        named = flavors["pytorch"]["model_data"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"Model {model_id} is damaged or not a PyTorch model ({reason(error)}).") from error
    if named != "data" or not file.is_file() or (folder / "data" / "model.pth").exists():
        raise InputError(f"Model {model_id} is not in the pickle-free pt2 format. Expected a model of this project.")
    try:
        return read_weights(file)
    except InputError as error:
        raise InputError(f"Cannot use the file of model {model_id}: {error}") from error

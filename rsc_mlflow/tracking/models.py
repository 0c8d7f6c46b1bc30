"""Logs and registers models, without pickling."""

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from torch import Tensor, nn

from rsc_mlflow import tempdirs
from rsc_mlflow.tracking import environment, mlflow_compat, schema
from rsc_mlflow.tracking.experiments import run_link
from rsc_mlflow.tracking.model_folders import write_model_folder
from rsc_mlflow.tracking.permissions import where_allowed
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.tracking.store import with_retries

_NO_METHOD = "none"
Created = TypeVar("Created")


def log_model(
    run: TrackedRun,
    module: nn.Module,
    example: Tensor,
    step: int,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Log a model of ``run`` in the ``pt2`` format, in evaluation mode and on the CPU.

    Args:
        run: the open run that trained the model.
        module: maps float32 [N, C, H, W] to logits float32 [N, classes].  Its mode and device do not change.
        example: at least two images, float32 [N, C, H, W].
        step: number of epochs that the model was trained.
        metrics: further metrics of run and model; those that the run has logged at this step are stored a second time
            for the model, which takes longer.
        tags: tags of the run, stored in the same request as metrics of the model.

    Returns:
        The model's URI ``models:/m-…``.
    """
    with run.timed(), tempdirs.tempdir() as temporary:
        images = example[:2].detach().cpu()
        folder = temporary / schema.MODEL
        model = with_retries(
            lambda: run.client.create_logged_model(
                run.experiment_id, schema.MODEL, run.run_id, environment.source_tags(), run.params
            ),
            "model",
        )
        mlflow_compat.remember_artifact_folder(run.client, model.model_id, model.artifact_location)
        record = Model(artifact_path=model.artifact_location, run_id=run.run_id, model_id=model.model_id)
        _save(module, images, folder, record)
        output = LoggedModelOutput(model.model_id, step=step)
        _once(
            lambda: run.client.log_outputs(run.run_id, [output]),
            lambda: _has_output(run, output.model_id),
            "model",
        )
        with_retries(lambda: run.client.log_model_artifacts(model.model_id, str(folder)), "model")
        run.metrics(metrics or {}, step, model.model_id)
        run.flush()  # a SQL store fails if two threads send the same point
        logged = [point for point in run.last_points(step) if point.model_id != model.model_id]
        points = [_for_model(point, model.model_id) for point in logged]
        marks = [RunTag(key, value) for key, value in (tags or {}).items()]
        with_retries(lambda: run.client.log_batch(run.run_id, points, tags=marks), "model metrics")
        with_retries(lambda: run.client.finalize_logged_model(model.model_id, "READY"), "model")
        return f"models:/{model.model_id}"


def _once(create: Callable[[], Created], find: Callable[[], Created | None], what: str) -> Created:
    """Return ``create()``; after an attempt whose response was lost, return what it created, if ``find`` finds it."""
    attempts = itertools.count()
    return with_retries(lambda: (find() if next(attempts) else None) or create(), what)


def _has_output(run: TrackedRun, model_id: str) -> bool:
    """Return whether run and model are linked; a SQL store fails if they are linked twice."""
    outputs = run.client.get_run(run.run_id).outputs
    return model_id in {known.model_id for known in (outputs.model_outputs if outputs else ())}


def _for_model(point: Metric, model_id: str) -> Metric:
    return Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)


def _save(module: nn.Module, images: Tensor, folder: Path, record: Model) -> None:
    was_training = module.training
    frozen = module
    if any(tensor.device.type != "cpu" for tensor in module.state_dict().values()):  # pragma: no cover - needs a GPU
        frozen = copy.deepcopy(module).cpu()
    frozen.eval()
    try:
        write_model_folder(frozen, images, folder, record)
    finally:
        module.train(was_training)


@dataclass(frozen=True)
class Registration:
    """Name, version and alias of a registered model."""

    name: str
    version: int
    alias: str

    @property
    def uri(self) -> str:
        """``models:/NAME/VERSION``."""
        return f"models:/{self.name}/{self.version}"

    @property
    def alias_uri(self) -> str:
        """``models:/NAME@ALIAS``."""
        return f"models:/{self.name}@{self.alias}"


def register(
    run: TrackedRun,
    model_uri: str,
    *,
    dataset: str,
    family: str,
    architecture: str,
    kind: str,
    method: str | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Registration:
    """Register a logged model as ``rsc-{family}-{architecture}`` and move its alias to the newest version.

    ``RSC_MODEL_PREFIX`` is a prefix of the name.  Experiments use :class:`registration.Registrar`, which checks the
    permission before they start.

    The version gets the tags ``dataset``, ``kind``, ``method``, ``run_id`` and ``tags``, and a description with
    dataset, method, the main ``metrics`` and a link to the run.

    The alias ends at the newest version of this dataset and method even if several runs register at the same time:
    after setting it, each run checks whether a newer version exists.
    """
    name = schema.registered_model(family, architecture)
    all_tags = {"dataset": dataset, "kind": kind, "method": method or _NO_METHOD, "run_id": run.run_id, **(tags or {})}
    with run.timed():
        about = _description(run, dataset, architecture, method, metrics or {})
        version = _once(
            lambda: _create_version(run, name, model_uri, all_tags, about),
            lambda: _find_version(run, name, model_uri),
            "registration",
        ).version
        alias = schema.alias(dataset, method)
        query = f"name = '{name}' AND tags.dataset = '{dataset}' AND tags.method = '{method or _NO_METHOD}'"
        with_retries(lambda: _move_alias(run.client, name, alias, version, query), "registration")
    return Registration(name, int(version), alias)


def _description(
    run: TrackedRun, dataset: str, architecture: str, method: str | None, metrics: Mapping[str, float]
) -> str:
    """Return the description of a version."""
    shown = (("test accuracy", schema.TEST_ACCURACY), ("spurious score", schema.SPURIOUS_SCORE))
    words = [f"{words} {metrics[name]:.4f}" for words, name in shown if name in metrics]
    made = f"{method or 'trained'} in {run_link(run.experiment_id, run.run_id, run.name or run.run_id)}"
    return ", ".join([f"{architecture} on {dataset}", *words, made])


def _create_version(run: TrackedRun, name: str, model_uri: str, tags: dict[str, str], description: str) -> ModelVersion:
    """Return a new version; create the registered model if this is its first one."""
    create = partial(
        run.client.create_model_version,
        *(name, model_uri, run.run_id, tags),
        description=description,
        await_creation_for=0,
        model_id=model_uri.removeprefix("models:/"),
    )
    try:
        return create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):  # another process was faster
            raise
    return create()


def _find_version(run: TrackedRun, name: str, model_uri: str) -> ModelVersion | None:
    """Return the version of this model; None if there is none."""
    found = run.client.search_model_versions(f"name = '{name}' AND run_id = '{run.run_id}'")
    return next((version for version in found if version.source == model_uri), None)


def _move_alias(client: MlflowClient, name: str, alias: str, version: str, query: str) -> None:
    """Set the alias to this version, then to newer ones of the ``query`` that other runs have registered meanwhile."""
    newest, current = version, ""
    while newest != current:
        client.set_registered_model_alias(name, alias, newest)
        current = newest
        newest = client.search_model_versions(query, max_results=1, order_by=["version_number DESC"])[0].version


def log_lineage(run: TrackedRun, model_id: str) -> None:
    """Record that ``run`` starts from the logged model ``model_id``, so that MLflow's UI links the two.

    MLflow requires EDIT permission for the model; without it, only the tag ``rsc.source_model_uri`` records the model.
    """
    with run.timed():
        inputs = [LoggedModelInput(model_id)]
        where_allowed(lambda: run.client.log_inputs(run.run_id, models=inputs), "lineage")

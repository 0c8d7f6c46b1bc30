"""Finding and loading the trained models that are looked at side by side, each under a name a person knows."""

import sys
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

MOST = 8
"""Models that one figure takes."""
_PAGE = 20


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model out of the store, ready to be called, and its label in figures."""

    pulled: PulledModel
    module: nn.Module
    label: str

    def logits(self, device: str) -> Logits:
        """The model as a function of images, computing on ``device``."""
        return logits_of(self.module, resolve_device(device))


def load_models(uris: str, dataset: str, model: str, data_root: str) -> tuple[list[LoadedModel], Dataset]:
    """The models of a comma list, and the clean data of their family.

    Args:
        uris: model URIs; ``auto`` stands for the newest finished training run that fits the next two.
        dataset: dataset name that ``auto`` is restricted to, or ``any``.
        model: model name that ``auto`` is restricted to, or ``any``.
        data_root: where the data are.

    Raises:
        InputError: no, too many or unknown models, or models of several families.
    """
    named = [uri.strip() for uri in uris.split(",") if uri.strip()]
    if not 1 <= len(named) <= MOST:
        raise InputError(f"model_uri names {len(named)} models; accepted: 1 to {MOST}, separated by commas")
    pulled = [pull(newest(dataset, model) if uri == "auto" else uri) for uri in named]
    return build_models(pulled, data_root)


def build_models(pulled: Sequence[PulledModel], data_root: str) -> tuple[list[LoadedModel], Dataset]:
    """The pulled models as modules with distinct labels, and the clean data of their family.

    Raises:
        InputError: models of several families, or one twice.
    """
    names = {model.dataset.clean() for model in pulled}
    if len(names) != 1:
        families = ", ".join(sorted(map(str, names)))
        raise InputError(f"models trained on {families} cannot be compared; accepted: models of one family")
    if len({model.model_id for model in pulled}) != len(pulled):
        raise InputError("a model is named twice; name each once")
    data = load_dataset(names.pop(), data_root)
    labels = _labels(pulled)
    return [LoadedModel(m, pulled_module(m, data), label) for m, label in zip(pulled, labels, strict=True)], data


def newest(dataset: str, model: str) -> str:
    """URI of the newest finished training run's model.

    Args:
        dataset: its dataset name, or ``any``.
        model: its model name, or ``any``.

    Raises:
        InputError: no such run.
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
        raise InputError(f"no finished training run with {what}; train one, or give model_uri")
    return run_uri(run.info.run_id)


def comparison_model(model: PulledModel) -> PulledModel | None:
    """What a model is compared with: where it was unlearned from, else the clean model trained the same way.

    None where that was not tracked, or the model is itself a clean one.
    """
    if source := model.run.data.tags.get(schema.SOURCE_MODEL_URI):
        return pull(source)
    if model.dataset.pattern is None:
        return None
    names = {field.name for field in fields(TrainOptions)}
    try:
        options = TrainOptions.from_mapping({key: value for key, value in model.params.items() if key in names})
    except InputError as error:
        print(f"note: not compared with a clean model: {error}", file=sys.stderr)
        return None
    return pull_finished(fingerprint(options.for_clean().identity()), kind="train")


def tracked_tags(method: str, models: Sequence[LoadedModel], **decisive: object) -> dict[str, str]:
    """Fingerprint of a look at these models, given the options that decide its result, and the first one's source."""
    ids = [one.pulled.model_id for one in models]
    first = models[0].pulled
    return {
        schema.FINGERPRINT: fingerprint({"kind": "score", "method": method, "models": ids} | decisive),
        schema.SOURCE_MODEL_URI: first.model_uri,
        schema.SOURCE_RUN_ID: first.run_id,
    }


def tracked_params(model: PulledModel) -> dict[str, str]:
    """Parameters of the first model that stand with the run that looks at it, so that it can be found and drawn."""
    wanted = ("dataset_family", "pattern", "n_spurious", "target_class", "architecture", "n_parameters", "optimizer")
    own = {key: model.params[key] for key in wanted if key in model.params}
    return own | {"inspected_dataset": str(model.dataset), "inspected_model": str(model.model)}


def _labels(models: Sequence[PulledModel]) -> list[str]:
    """Dataset, architecture and method, with the run's id where that leaves two the same."""
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

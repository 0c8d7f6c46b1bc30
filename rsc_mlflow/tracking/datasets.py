"""Dataset inputs of runs, with digests over all images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import Dataset, DatasetInput, InputTag

from rsc_mlflow.errors import InputError, invalid_value
from rsc_mlflow.tracking import mlflow_compat, schema
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.tracking.store import with_retries

_DIGEST_LENGTH = 36  # MLflow's limit


@dataclass(frozen=True)
class DataRecord:
    """A dataset input of a run.

    Attributes:
        name: dataset name, e.g. ``mnistv20-3-0-0``.
        digest: digest over all images, labels and spurious indices, at most 36 characters.
        context: ``training`` or ``testing``.
        profile: values shown in MLflow's UI, such as ``n_examples`` and ``n_spurious``.
        shape: shape ``(C, H, W)`` of one image.
        source: description or URL of the source of the clean data, not a local path.
    """

    name: str
    digest: str
    context: str
    profile: Mapping[str, object]
    shape: tuple[int, ...]
    source: str


def log_datasets(run: TrackedRun, records: list[DataRecord]) -> None:
    """Log datasets as MLflow dataset inputs of ``run``.

    Raises:
        InputError: a digest is empty or too long, or a context is invalid.
    """
    with run.timed():
        inputs = [_input(record) for record in records]
        with_retries(lambda: run.client.log_inputs(run.run_id, datasets=inputs), "dataset inputs")


def _input(record: DataRecord) -> DatasetInput:
    if not 0 < len(record.digest) <= _DIGEST_LENGTH:
        raise InputError(
            f"The digest of {record.name} has {len(record.digest)} characters. Expected 1 to {_DIGEST_LENGTH}."
        )
    if record.context not in (schema.TRAINING, schema.TESTING):
        raise invalid_value("context", record.context, f"{schema.TRAINING} or {schema.TESTING}")
    tensors = {"features": {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, *record.shape]}}}
    tensors["targets"] = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    dataset = Dataset(
        name=record.name,
        digest=record.digest,
        source_type="rsc",
        source=json.dumps({"origin": record.source}),
        schema=json.dumps({"mlflow_tensorspec": {key: json.dumps([spec]) for key, spec in tensors.items()}}),
        profile=json.dumps(dict(record.profile)),
    )
    return DatasetInput(dataset, [InputTag(mlflow_compat.DATASET_CONTEXT, record.context)])

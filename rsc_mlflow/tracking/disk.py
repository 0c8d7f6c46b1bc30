"""Disk use of the runs of an experiment, from the file sizes that the artifact store reports."""

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import iterate_runs
from rsc_mlflow.tracking.store import with_retries


@dataclass(frozen=True)
class DiskUse:
    """Disk use of one run, in bytes: checkpoints, logged models and other artifacts."""

    run: Run
    checkpoints: int
    models: int
    others: int

    @property
    def total(self) -> int:
        """Total disk use, in bytes."""
        return self.checkpoints + self.models + self.others


def disk_use(client: MlflowClient, experiment_ids: list[str]) -> list[DiskUse]:
    """Return the disk use of the runs of these experiments, largest first; takes several requests per run."""
    found = [_of_run(client, run) for run in iterate_runs(client, (), experiment_ids)]
    return sorted(found, key=lambda one: one.total, reverse=True)


def _of_run(client: MlflowClient, run: Run) -> DiskUse:
    run_id = run.info.run_id
    sizes = dict(_files(client, run_id, None))
    checkpoints = sum(size for path, size in sizes.items() if path.startswith(f"{schema.CHECKPOINTS}/"))
    outputs = client.get_run(run_id).outputs
    models = sum(_of_model(client, one.model_id) for one in (outputs.model_outputs if outputs else ()))
    return DiskUse(run, checkpoints, models, sum(sizes.values()) - checkpoints)


def _files(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    """Yield path and size (bytes) of each artifact of a run in a folder and its subfolders."""
    for item in with_retries(lambda: client.list_artifacts(run_id, folder), "artifacts"):
        if item.is_dir:
            yield from _files(client, run_id, item.path)
        else:
            yield item.path, item.file_size or 0


def _of_model(client: MlflowClient, model_id: str, folder: str | None = None) -> int:
    """Return the size of a logged model in bytes; logged models are stored outside the runs."""
    found = with_retries(lambda: client.list_logged_model_artifacts(model_id, folder), "model")
    return sum(_of_model(client, model_id, item.path) if item.is_dir else item.file_size or 0 for item in found)

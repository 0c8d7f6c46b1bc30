"""Rows of made-up runs, as ``results/*.csv`` hold them."""

from collections.abc import Mapping
from pathlib import Path

from results.runs import Row, write_rows
from results.studies import Results

PARAMS = {
    "dataset_family": "mnist",
    "model": "ce-tor-LargeMLP",
    "architecture": "LargeMLP",
    "loss": "ce",
    "augmentation": "none",
    "optimizer": "adam",
    "learning_rate": "0.01",
    "momentum": "0",
    "schedule": "steps",
    "epochs": "30",
    "batch_size": "128",
    "weight_decay": "0",
    "input_noise": "0",
    "grad_clip": "0",
    "score_threshold": "0.1",
    "pattern": "v20",
    "n_spurious": "3",
    "target_class": "0",
    "pattern_seed": "auto",
    "n_train": "60000",
}


def row(
    name: str,
    metrics: Mapping[str, float],
    *,
    seed: int = 0,
    training: int | None = None,
    kind: str = "train",
    method: str = "train_classifier",
    tags: Mapping[str, str] | None = None,
    **params: object,
) -> Row:
    """One finished run; ``seed`` is the dataset's and, unless ``training`` is given, the training's."""
    values = PARAMS | {"dataset_seed": str(seed), "random_seed": str(seed if training is None else training)}
    values |= {key: str(value) for key, value in params.items()}
    count, target = values["n_spurious"], values["target_class"]
    values.setdefault("dataset", f"{values['dataset_family']}{values['pattern']}-{count}-{target}-{seed}")
    found = {f"params.{key}": value for key, value in values.items()}
    found |= {f"metrics.{key}": repr(value) for key, value in metrics.items()}
    found |= {f"tags.{key}": value for key, value in (tags or {}).items()}
    digest = f"{name}-{seed}-{values['random_seed']}"
    found |= {"tags.rsc.kind": kind, "tags.rsc.method": method, "tags.rsc.fingerprint": digest}
    return found | {"run_id": f"run-{digest}", "start_time": "1000", "end_time": "2000"}


def results(folder: Path, **studies: list[Row]) -> Results:
    """The results of these studies."""
    for name, rows in studies.items():
        write_rows(folder / f"{name}.csv", rows)
    return Results(folder)

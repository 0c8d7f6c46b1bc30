"""Frames of runs for tests that need no store."""

import json
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.made_up import drafts
from dashboards.data import Filters, drop_raw_columns
from dashboards.figures.style import LIGHT
from dashboards.panels import View
from rsc_mlflow.analysis import latest_per_fingerprint, read

COLUMNS = ["run_id", "experiment_id", "run_name", "status", "user_id", "start_time", "end_time"]


def run(
    number: int, *, status: str = "FINISHED", kind: str = "train", fingerprint: str = "", **values: Any
) -> dict[str, Any]:
    """One row as ``RunStore`` keeps it: ``p_…`` become parameters, ``m`` is a mapping of metrics."""
    metrics = values.pop("m", {})
    row = {
        "run_id": f"{number:032x}",
        "experiment_id": "1",
        "run_name": f"run {number}",
        "status": status,
        "user_id": "someone",
        "start_time": 1_000_000.0 + number,
        "end_time": 1_000_100.0 + number,
        "tags.rsc.kind": kind,
        "tags.rsc.fingerprint": fingerprint or f"f{number}",
    }
    row |= {f"params.{key.removeprefix('p_')}": str(value) for key, value in values.items()}
    return row | {f"metrics.{key}": float(value) for key, value in metrics.items()}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """A read frame with one row per fingerprint."""
    return latest_per_fingerprint(read(pd.DataFrame.from_records(list(rows))))


def made_up(count: int) -> pd.DataFrame:
    """The raw frame of made-up runs, as a store would give it."""
    rows = []
    for number, draft in enumerate(drafts(count)):
        row = run(number, status=draft.status) | {f"tags.{k}": v for k, v in draft.tags.items()}
        row |= {"run_name": draft.name}
        row |= {f"params.{k}": v for k, v in draft.params.items()} | {
            f"metrics.{k}": v for k, v in draft.metrics.items()
        }
        rows.append(row)
    return pd.DataFrame.from_records(rows)


class MadeUpSource:
    """Histories and artifacts of made-up runs."""

    def __init__(self, count: int) -> None:
        self._drafts = list(drafts(count))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        draft = self._drafts[int(run_id, 16)]
        if metric in draft.curves:
            return draft.curves[metric]
        return [(1, 0.1), (2, draft.metrics[metric])] if metric in draft.metrics else []

    def artifact(self, run_id: str, path: str) -> object | None:
        found = self._drafts[int(run_id, 16)].artifacts.get(path)
        return None if found is None else json.loads(json.dumps(found))

    def picture(self, run_id: str, path: str) -> bytes | None:
        return None

    def experiment_tags(self) -> dict[str, dict[str, str]]:
        return {}

    def models(self) -> pd.DataFrame:
        row = {"name": "rsc-mnist-MLP", "version": "1", "dataset": "mnist", "method": "", "aliases": "mnist"}
        return pd.DataFrame([row | {"run_id": f"{5:032x}", "created": 1.0}])


def view(raw: pd.DataFrame, search: str = "", source: Any | None = None) -> View:
    """What a page is made from, for the address's question part."""
    filters = Filters.parse(search)
    runs = read(raw)
    every = filters.apply(runs, {"1": "made-up"})
    return View(
        latest_per_fingerprint(drop_raw_columns(every)),
        every,
        len(runs),
        {"1": "made-up"},
        filters,
        LIGHT,
        source or MadeUpSource(len(raw)),
    )


def empty() -> pd.DataFrame:
    """The frame of an empty store."""
    return pd.DataFrame(columns=COLUMNS).astype({"start_time": float, "end_time": float})


def close(left: object, right: object) -> bool:
    """Equal to twelve digits, nan equal to nan."""
    return bool(np.allclose(left, right, rtol=1e-12, atol=0, equal_nan=True))  # type: ignore[arg-type]

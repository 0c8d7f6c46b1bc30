"""Queries of the dashboards about single runs: metric histories, JSON artifacts, registered model versions.

Answers are cached for a minute, because a page repeats its queries each time it is drawn.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rsc_mlflow import tempdirs
from rsc_mlflow.tracking.values import one_per_step

LARGEST = 5_000_000
"""Largest JSON artifact that is read, in bytes; larger ones are treated as absent."""
VERSIONS = 200
PNG = b"\x89PNG"


class Details:
    """Cached queries about single runs of one store.

    Args:
        client: returns MLflow's client; called by each query.
        read: (run id, path) → bytes of an artifact, None if there is none; by default it uses the client.
        keep_seconds: how long an answer is cached; 0: not at all.
    """

    def __init__(
        self,
        client: Callable[[], MlflowClient],
        read: Callable[[str, str], bytes | None] | None = None,
        *,
        keep_seconds: float = 60.0,
    ) -> None:
        self._client = client
        self._read = read or self._download
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._keep_seconds = keep_seconds

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return (step, value) pairs of a run's metric, one per step, in order of steps; empty if there are none."""
        points: list[tuple[int, float]] = self._keep(("history", run_id, metric), lambda: self._history(run_id, metric))
        return points

    def artifact(self, run_id: str, path: str) -> object | None:
        """Return a JSON artifact, parsed; None if it does not exist, is too large or is not JSON."""
        content: object | None = self._keep(("artifact", run_id, path), lambda: self._parsed(run_id, path))
        return content

    def picture(self, run_id: str, path: str) -> bytes | None:
        """Return the bytes of a PNG artifact; None if it does not exist, is too large or is not a PNG file."""
        content: bytes | None = self._keep(("picture", run_id, path), lambda: self._png(run_id, path))
        return content

    def experiment_tags(self) -> dict[str, dict[str, str]]:
        """Return the tags of every active experiment by its id, not cached; empty if the store does not answer."""
        try:
            return {one.experiment_id: dict(one.tags) for one in self._client().search_experiments()}
        except MlflowException:
            return {}

    def models(self) -> pd.DataFrame:
        """Return the newest model versions: name, version, dataset, method, aliases, run_id, created (in ms)."""
        versions: pd.DataFrame = self._keep(("models",), self._models)
        return versions

    def _keep(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        if not self._keep_seconds:
            return ask()
        now = time.monotonic()
        with self._lock:
            found = self._kept.get(key)
        if found and now - found[0] < self._keep_seconds:
            return found[1]
        answer = ask()
        with self._lock:
            self._kept[key] = (now, answer)
            self._kept.move_to_end(key)
            while len(self._kept) > 512:
                self._kept.popitem(last=False)
        return answer

    def _history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        try:
            points = self._client().get_metric_history(run_id, metric)
        except MlflowException:
            return []
        return one_per_step(points)

    def _parsed(self, run_id: str, path: str) -> object | None:
        content = self._read(run_id, path)
        if content is None or len(content) > LARGEST:
            return None
        try:
            parsed: object = json.loads(content)
        except ValueError:
            return None
        return parsed

    def _png(self, run_id: str, path: str) -> bytes | None:
        content = self._read(run_id, path)
        good = content is not None and len(content) <= LARGEST and content.startswith(PNG)
        return content if good else None

    def _download(self, run_id: str, path: str) -> bytes | None:
        client = self._client()
        parent = str(Path(path).parent) if "/" in path else None
        try:
            listed = {info.path: info.file_size or 0 for info in client.list_artifacts(run_id, parent)}
            if path not in listed or listed[path] > LARGEST:
                return None
            with tempdirs.tempdir() as folder:
                return Path(client.download_artifacts(run_id, path, str(folder))).read_bytes()
        except (MlflowException, OSError):
            return None

    def _models(self) -> pd.DataFrame:
        client = self._client()
        versions = client.search_model_versions(max_results=VERSIONS, order_by=["last_updated_timestamp DESC"])
        return version_table(versions, client.search_registered_models(max_results=VERSIONS))


def version_table(versions: Sequence[Any], models: Sequence[Any]) -> pd.DataFrame:
    """Return the table of :meth:`Details.models`, one row per model version.

    Args:
        versions: objects with the attributes of MLflow's ``ModelVersion``; the results of a search have no aliases.
        models: objects with the attributes of MLflow's ``RegisteredModel``, which have the aliases.
    """
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for alias, version in sorted((model.aliases or {}).items()):
            aliases.setdefault((model.name, str(version)), []).append(alias)
    rows = [
        {
            "name": v.name,
            "version": str(v.version),
            "dataset": v.tags.get("dataset", ""),
            "method": v.tags.get("method", "").replace("none", ""),
            "aliases": ", ".join(aliases.get((v.name, str(v.version)), ())),
            "run_id": v.run_id or "",
            "created": float(v.creation_timestamp or 0),
        }
        for v in versions
    ]
    return pd.DataFrame(rows, columns=["name", "version", "dataset", "method", "aliases", "run_id", "created"])

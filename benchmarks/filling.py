"""Fills an MLflow store quickly with thousands of realistic runs, the same each time.

The runs have the parameters, metrics and tags of real runs with made-up, plausible values: scores increase with the
number of spurious examples and the norm of the pattern; some runs fail, are repeated or still run.  Used by the
benchmark, tests and screenshots of the dashboards.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from benchmarks.made_up import Draft, drafts
from rsc_mlflow.tracking import schema

HISTORY = (
    schema.TRAIN_LOSS,
    schema.TRAIN_ACCURACY,
    schema.LEARNING_RATE,
    schema.TEST_ACCURACY,
    schema.TEST_LOSS,
    schema.SPURIOUS_SCORE,
)
POINTS = 8


def fill_store(
    tracking_uri: str,
    runs: int,
    *,
    experiment: str = "made-up",
    artifacts: str | None = None,
    seed: int = 0,
    now: float | None = None,
) -> list[str]:
    """Write ``runs`` made-up runs into one experiment and return their ids, oldest first.

    The store must be SQLite; bulk inserts write about 2,000 runs per second.  ``artifacts`` is the artifact location of
    the experiment; None: the store's default.  The runs end every 20 seconds, the last at ``now`` (seconds since 1970;
    default: the current time).
    """
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifacts)
    location = client.get_experiment(experiment_id).artifact_location or ""
    end = int(1000 * (time.time() if now is None else now))
    made = list(_timed(drafts(runs, seed), end, runs))
    _insert(Path(tracking_uri.removeprefix("sqlite:///")), int(experiment_id), location, made)
    with_files = [run for run in made if run.draft.artifacts][-40:]
    for run in with_files:
        for name, content in run.draft.artifacts.items():
            client.log_text(run.run_id, json.dumps(content), name)
    return [run.run_id for run in made]


@dataclass
class _Timed:
    draft: Draft
    run_id: str
    start: int
    end: int | None
    parent: str | None = None
    history: list[tuple[str, float, int, int]] = field(default_factory=list)  # key, value, timestamp, step

    def tags(self) -> dict[str, str]:
        tags = {schema.RUN_NAME: self.draft.name, schema.USER: "someone", **self.draft.tags}
        return tags | ({schema.PARENT_RUN_ID: self.parent} if self.parent else {})


def _timed(made: Iterator[Draft], end: int, runs: int) -> Iterator[_Timed]:
    random = np.random.default_rng(7)
    prefix = f"{random.integers(2**32) ^ (end & 0xFFFFFFFF):08x}"
    sweeps: dict[str, str] = {}
    for index, draft in enumerate(made):
        run_id = f"{prefix}{index:024x}"
        stop = end - 20_000 * (runs - 1 - index)
        took = int(1000 * draft.metrics.get(schema.SECONDS, 5.0))
        timed = _Timed(draft, run_id, stop - took, None if draft.status == "RUNNING" else stop)
        sweep = draft.tags[schema.SWEEP]
        if draft.tags[schema.KIND] == "sweep":
            sweeps[sweep] = run_id
        else:
            timed.parent = sweeps[sweep]
        timed.history = list(_history(draft, timed.start, took))
        yield timed


def _history(draft: Draft, start: int, took: int) -> Iterator[tuple[str, float, int, int]]:
    epochs = int(draft.params.get("epochs", "1"))
    steps: Sequence[int] = sorted({max(1, round(epochs * (i + 1) / POINTS)) for i in range(POINTS)})
    for key, value in draft.metrics.items():
        if key in HISTORY and epochs > 1:
            for step in steps:
                share = step / epochs
                early = {schema.TRAIN_LOSS: 2.3, schema.TEST_LOSS: 2.3, schema.LEARNING_RATE: value * 100}.get(key, 0.1)
                yield key, value + (early - value) * (1 - share) ** 2, start + int(took * share), step
        else:
            yield key, value, start + took, epochs
    for key, points in draft.curves.items():
        for step, value in points:
            yield key, value, start + took, step


def _insert(path: Path, experiment_id: int, location: str, made: Sequence[_Timed]) -> None:
    database = sqlite3.connect(path, timeout=60)
    with database:
        database.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'LOCAL', '', '', 'someone', ?, ?, ?, '', 'active', ?, ?)",
            [
                (
                    r.run_id,
                    r.draft.name,
                    r.draft.status,
                    r.start,
                    r.end,
                    f"{location}/{r.run_id}/artifacts",
                    experiment_id,
                )
                for r in made
            ],
        )
        database.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            [(k, v, r.run_id) for r in made for k, v in r.draft.params.items()],
        )
        database.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
            [(k, v, r.run_id) for r in made for k, v in r.tags().items()],
        )
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
            [(k, v, t, s, r.run_id) for r in made for k, v, t, s in r.history],
        )
        database.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
            [(k, v, t, s, r.run_id) for r in made for k, (v, t, s) in _latest(r).items()],
        )
    database.close()


def _latest(run: _Timed) -> dict[str, tuple[float, int, int]]:
    """Return the last point of each metric, from a history in order of steps."""
    return {key: (value, timestamp, step) for key, value, timestamp, step in run.history}

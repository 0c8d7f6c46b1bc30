"""Read a study's rows from a tracking store: its runs and the runs they refer to or are compared with."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from results.runs import FINGERPRINT, REFERENCE_FINGERPRINT, SOURCE_FINGERPRINT, Row, number_text
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments
from rsc_mlflow.names import DatasetName
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.environment import in_short
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import read_artifact
from rsc_mlflow.tracking.query import condition, iterate_runs

LEFT_OUT = frozenset(
    {
        "checkpoint_every",
        "clean_seeds",
        "data_root",
        "device",
        "keep_checkpoints",
        "register",
        "resume_run_id",
        "score_every",
    }
)
"""Parameters that do not affect a result; some contain paths."""
TAGS = (
    schema.KIND,
    schema.METHOD,
    schema.FINGERPRINT,
    schema.SOURCE_RUN_ID,
    schema.REFERENCE_RUN_ID,
    schema.NOTE,
    schema.CLEAN_SCORES,
    schema.VERDICT,
    "mlflow.source.git.commit",
    "mlflow.source.git.dirty",
)
"""Exported tags, in addition to those of :data:`schema.ENVIRONMENT_PREFIX`; none names a machine or a person."""
_OF_CLASS = re.compile(r"(?:score_target|score_class|auc_class)_(\d+)$")
_OF_PATTERN = re.compile(r"^reference/([^/]+)/score_target_(\d+)$")


@dataclass(frozen=True)
class Wanted:
    """The runs that belong to a study.

    Attributes:
        requested: fingerprints of the grid's own jobs.
        fingerprints: these, and those of the jobs that they require, run after or share artifacts with.
        recipes: of the clean baselines, see :func:`recipe_of`.
        marks: (pattern, target class) of the datasets, for the clean models' scores.
    """

    requested: frozenset[str]
    fingerprints: frozenset[str]
    recipes: frozenset[str]
    marks: frozenset[tuple[str, int]]


def wanted(jobs: Iterable[tuple[str, Any]]) -> Wanted:
    """The runs that the results of these jobs depend on: sources, references, clean baselines, shadow models."""
    known = experiments()
    stack = [Job(name, options) for name, options in jobs]
    requested = frozenset(job.fingerprint for job in stack)
    found: dict[str, Job] = {}
    shared: set[str] = set()
    while stack:
        job = stack.pop()
        if job.fingerprint not in found:
            found[job.fingerprint] = job
            experiment = known[job.entry_point]
            for find in (experiment.requires, experiment.runs_after, experiment.brings):
                stack.extend(Job(name, options) for name, options in find(job.options))
            shared.update(experiment.shared_artifacts(job.options))
    trained = [job.options for job in found.values() if job.entry_point == "train_classifier"]
    names = [options.dataset_name for options in trained]
    marks = {(name.pattern, target) for name in names if name.pattern for target in name.targets}
    recipes = {recipe_of(options.for_clean()) for options in trained}
    return Wanted(requested, frozenset(found) | shared, frozenset(recipes), frozenset(marks))


def recipe_of(options: TrainOptions) -> str:
    """Hash of all options that affect a training run, except its seed."""
    return fingerprint({key: value for key, value in options.identity().items() if key != "random_seed"})


@dataclass(frozen=True)
class StoredRuns:
    """The finished runs of a store.

    Attributes:
        newest: fingerprint → the newest finished run.
        by_id: run id → run.
    """

    newest: Mapping[str, Run] = field(default_factory=dict)
    by_id: Mapping[str, Run] = field(default_factory=dict)

    @classmethod
    def read(cls, client: MlflowClient) -> "StoredRuns":
        """All finished runs of all active experiments."""
        newest: dict[str, Run] = {}
        by_id: dict[str, Run] = {}
        for run in iterate_runs(client, [condition("attributes", "status", "FINISHED")]):
            by_id[run.info.run_id] = run
            if digest := run.data.tags.get(schema.FINGERPRINT):
                newest.setdefault(digest, run)
        return cls(newest, by_id)

    @cached_property
    def clean(self) -> dict[str, list[str]]:
        """Recipe → fingerprints of the clean models trained with it."""
        found: dict[str, list[str]] = {}
        for digest, run in self.newest.items():
            options = _training_options(run)
            if options is not None and not options.dataset_name.pattern:
                found.setdefault(recipe_of(options), []).append(digest)
        return found

    def rows(self, of: Wanted) -> list[Row]:
        """The rows of the study's runs that this store holds."""
        clean = {digest for recipe in of.recipes for digest in self.clean.get(recipe, ())}
        chosen = {key for key in of.fingerprints | clean if key in self.newest}
        chosen |= self._looked_at(chosen, clean)
        return [self._row(self.newest[key], of) for key in sorted(chosen)]

    def _looked_at(self, chosen: set[str], clean: set[str]) -> set[str]:
        """Runs that score the clean models, attacks on models unlearned from the chosen ones, and these models."""
        found: set[str] = set()
        for digest, run in self.newest.items():
            source = self._fingerprint_of(run.data.tags.get(schema.SOURCE_RUN_ID))
            kind = run.data.tags.get(schema.KIND)
            if kind == "score" and source in clean:
                found.add(digest)
            if kind == "attack" and source in self.newest and digest not in chosen:
                unlearned_from = self._fingerprint_of(self.newest[source].data.tags.get(schema.SOURCE_RUN_ID))
                found |= {digest, source} if unlearned_from in chosen else set()
        return found

    def _row(self, run: Run, of: Wanted) -> Row:
        data, info = run.data, run.info
        row = {"run_id": info.run_id, "start_time": str(info.start_time), "end_time": str(info.end_time)}
        row[SOURCE_FINGERPRINT] = self._fingerprint_of(data.tags.get(schema.SOURCE_RUN_ID))
        row[REFERENCE_FINGERPRINT] = self._fingerprint_of(data.tags.get(schema.REFERENCE_RUN_ID))
        row |= {f"params.{key}": value.strip("'") for key, value in data.params.items() if key not in LEFT_OUT}
        kept = {key: value for key, value in data.metrics.items() if _is_kept(key, run, of)}
        row |= {f"metrics.{key}": number_text(value) for key, value in kept.items()}
        tags = {key: value for key, value in data.tags.items() if key in TAGS} | _environment(run)
        return row | {f"tags.{key}": " ".join(value.split()) for key, value in tags.items()}

    def _fingerprint_of(self, run_id: str | None) -> str:
        run = self.by_id.get(run_id or "")
        return run.data.tags.get(schema.FINGERPRINT, "") if run else ""


def _environment(run: Run) -> dict[str, str]:
    """What the run ran on: its tags, if an earlier version made it, else its ``environment.json``, if it has one."""
    if found := {key: value for key, value in run.data.tags.items() if key.startswith(schema.ENVIRONMENT_PREFIX)}:
        return found
    try:
        return in_short(read_artifact(run.info.run_id, schema.ENVIRONMENT))
    except InputError:
        return {}


def _is_kept(metric: str, run: Run, of: Wanted) -> bool:
    """Whether a metric is exported: all except those of single classes that are not targets of the study."""
    if match := _OF_PATTERN.match(metric):
        return (match[1], int(match[2])) in of.marks
    if match := _OF_CLASS.search(metric):
        return "score_class" not in metric and int(match[1]) in _targets(run)
    return True


def _targets(run: Run) -> tuple[int, ...]:
    try:
        return DatasetName.parse(run.data.params.get("dataset", "").strip("'")).targets
    except InputError:
        return ()


def _training_options(run: Run) -> TrainOptions | None:
    """The options of a training run if they still give its fingerprint; None otherwise."""
    tags, params = run.data.tags, run.data.params
    if tags.get(schema.KIND) != "train":
        return None
    names = [option.name for option in dataclasses.fields(TrainOptions) if option.name in params]
    try:
        options = TrainOptions.from_mapping({name: params[name].strip("'") for name in names})
    except InputError:
        return None
    return options if fingerprint(options.identity()) == tags.get(schema.FINGERPRINT) else None


def summary(name: str, of: Wanted, old: Iterable[Row], new: Iterable[Row], total: int) -> str:
    """Summarize an export of a study in one line."""
    before, found = ({row[FINGERPRINT] for row in rows} for rows in (old, new))
    done = len(of.requested & (before | found))
    return f"{name}: {done} of {len(of.requested)} jobs finished; {len(found - before)} rows added, {total} in the file"

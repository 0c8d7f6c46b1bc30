"""Runs of other people hold whatever MLflow stores; no reader outside the pages stumbles over them."""

import functools
import gzip
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from rsc_mlflow.attacks.base import ShadowConfig
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.inspection import newest
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments
from rsc_mlflow.experiments.shadow_models import METHOD as SHADOW
from rsc_mlflow.experiments.shadow_models import _find as find_shadow_models
from rsc_mlflow.experiments.shadow_models import shadow_fingerprint
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.experiments.unlearning_source import find_source
from rsc_mlflow.sweeps.estimate import Estimator
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.lease import check_no_overlap
from rsc_mlflow.sweeps.ledger import SUMMARY, Ledger, _Summary
from rsc_mlflow.sweeps.plan import Plan
from rsc_mlflow.sweeps.state import STATES, close_dead_runs, job_states, previous_parent
from rsc_mlflow.sweeps.worker import _Work
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.adopting import objection
from rsc_mlflow.tracking.environment import host
from rsc_mlflow.tracking.pull import pull_finished
from rsc_mlflow.tracking.query import find_by_fingerprint, find_training_run
from rsc_mlflow.tracking.resuming import check_resumable, heartbeat_age
from rsc_mlflow.tracking.run import open_run

ExactRetrainingOptions = method_options("exact_retraining")

OPTIONS = TrainOptions(dataset="digitsv20-3-0-0", model="ce-tor-MLP", epochs=2)
JOB = Job("train_classifier", OPTIONS)
DIGEST = JOB.fingerprint
SHADOWS = shadow_fingerprint(OPTIONS, ShadowConfig(2, True, 0))
NUMBERS = (
    "inf",
    "-inf",
    "nan",
    "1e999",
    "-1",
    "0",
    "",
    " ",
    "²",
    "٣",
    "9" * 5000,
    "1_0",
    "0x10",
    "none",
    "'2'",
    "1e300",
)
KEPT = st.characters(exclude_categories=("Cs", "Cc"))
TEXTS = st.one_of(st.sampled_from(NUMBERS), st.text(KEPT, max_size=20), st.floats().map(str), st.integers().map(str))
TIMES = st.one_of(
    st.integers(0, 2**63 - 1),
    st.sampled_from([0, 1, int(1e3 * time.time()), int(1e9 * time.time()), 2**63 - 1]),
)
TAGS = st.fixed_dictionaries(
    {schema.FINGERPRINT: st.sampled_from([DIGEST, DIGEST, SHADOWS, "other"])},
    optional={
        schema.KIND: st.sampled_from([*schema.KINDS, "train", "train", "odd"]),
        schema.METHOD: st.sampled_from(["train_classifier", "train_classifier", SHADOW, "odd"]),
        schema.SWEEP: st.sampled_from(["ours", "other"]),
        schema.HEARTBEAT: TEXTS,
        schema.HOST: st.sampled_from([host(), "elsewhere"]),
        schema.PID: TEXTS,
        schema.RESUMED: TEXTS,
        schema.COHORT_SIZE: TEXTS,
        schema.THREADS: TEXTS,
        "rsc.claim.somebody": TEXTS,  # of older versions
    },
)
NAMED = {"dataset": OPTIONS.dataset, "model": OPTIONS.model, "dataset_family": "digits"}
NAMED |= {"optimizer": OPTIONS.optimizer, "batch_size": str(OPTIONS.batch_size)}
PARAMS = st.dictionaries(
    st.sampled_from([*OPTIONS.as_params(), "shadow_models", "n_spurious", "target_class"]), TEXTS, max_size=8
).map(lambda odd: NAMED | odd)
NAMES = [schema.SECONDS, schema.LOGGING_SECONDS, schema.SPURIOUS_SCORE, schema.TRAIN_LOSS]
METRICS = st.dictionaries(st.sampled_from(NAMES), st.floats())
RUNS = st.fixed_dictionaries(
    {
        "tags": TAGS,
        "params": PARAMS,
        "metrics": METRICS,
        "start": TIMES,
        "end": TIMES,
        "status": st.sampled_from(["FINISHED", "FINISHED", "RUNNING", "SCHEDULED", "FAILED", "KILLED"]),
    }
)
BATCH, BATCHES = 90, 6
"""540 runs that differ; every reader sees each of them."""


@functools.cache
def odd_runs() -> list[dict[str, Any]]:
    """Drawn one at a time: Hypothesis drops examples that are as large as thirty runs, and draws others twice."""
    found: dict[str, dict[str, Any]] = {}

    @settings(max_examples=2 * BATCH * BATCHES, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(RUNS)
    def draw(odd: dict[str, Any]) -> None:
        found.setdefault(repr(odd), odd)

    draw()
    return list(found.values())[: BATCH * BATCHES]


def test_as_many_odd_runs_as_promised() -> None:
    assert len(odd_runs()) == BATCH * BATCHES >= 500


def store(client: MlflowClient, experiment: str, odd: dict[str, Any]) -> str:
    run_id = str(client.create_run(experiment, start_time=odd["start"]).info.run_id)
    tags = [RunTag(key, value) for key, value in odd["tags"].items()]
    params = [Param(key, value) for key, value in odd["params"].items()]
    metrics = [Metric(key, value, odd["end"], 0) for key, value in odd["metrics"].items()]
    client.log_batch(run_id, metrics, params, tags)
    if odd["status"] in ("RUNNING", "SCHEDULED"):
        client.update_run(run_id, status=odd["status"])
    else:
        client.set_terminated(run_id, odd["status"], odd["end"])
    return run_id


def refusing(look_up: Callable[[], object]) -> None:
    """A look-up that may say in one line that there is nothing."""
    with suppress(InputError):
        look_up()


@pytest.mark.usefixtures("sqlite_store")
def test_no_reader_stumbles() -> None:
    client = MlflowClient()
    for start in range(0, BATCH * BATCHES, BATCH):
        experiment = client.create_experiment(f"odd {start}")
        runs = [client.get_run(store(client, experiment, odd)) for odd in odd_runs()[start : start + BATCH]]
        check_ledger(client, runs)
        check_look_ups(client)
        for run in runs:
            assert heartbeat_age(run) >= -86_400
            objection(run, {schema.KIND: "train", schema.FINGERPRINT: DIGEST}, OPTIONS.as_params())
            refusing(partial(check_resumable, client, run.info.run_id, {schema.KIND: "train"}, {}, ()))
        check_jobs(client, experiment, runs)
        client.delete_experiment(experiment)


def check_ledger(client: MlflowClient, runs: list[Run]) -> None:
    """It holds the finished runs of this project by their fingerprints, whatever else is in them."""
    ours = [run for run in runs if schema.KIND in run.data.tags and run.info.status == "FINISHED"]
    expected = {run.data.tags[schema.FINGERPRINT] for run in ours}
    ledger = Ledger.read(client, recheck=True)
    assert set(ledger.finished) == expected
    ledger.refresh()
    assert set(Ledger.read(client).finished) == expected


def check_look_ups(client: MlflowClient) -> None:
    """None of the runs has a model: every ``auto`` look-up finds nothing, or says so."""
    assert find_shadow_models(SHADOWS, 2) is None
    for kind in (None, "train"):
        find_by_fingerprint(DIGEST, kind=kind)
    find_training_run(OPTIONS.dataset, OPTIONS.model, OPTIONS.as_params())
    refusing(lambda: pull_finished(DIGEST, kind="train"))
    with pytest.raises(InputError):
        newest("any", "any")
    with pytest.raises(InputError):
        find_source(ExactRetrainingOptions.of_recipe(OPTIONS))
    seconds = Estimator(client).seconds([JOB])
    assert math.isfinite(seconds)
    assert seconds >= 0


def check_jobs(client: MlflowClient, experiment: str, runs: list[Run]) -> None:
    state, _ = job_states(client, Plan({DIGEST: JOB}, {}, {}), ())[DIGEST]
    assert state in STATES
    refusing(partial(check_no_overlap, client, [DIGEST]))
    previous_parent(client, "ours", experiment)
    close_dead_runs(client)
    work = _Work(client, experiments()["train_classifier"], "a parent")
    start = work._start(JOB)
    finished = [r for r in runs if r.data.tags[schema.FINGERPRINT] == DIGEST and schema.KIND in r.data.tags]
    assert (start is None) == any(run.info.status == "FINISHED" for run in finished)


VALID = {"version": 1, "until": 1.0, "experiments": ["0"], "finished": {"a": ["run", "0"]}}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


def test_a_summary_as_sweeps_write_it() -> None:
    summary = _Summary.of(VALID)
    assert summary is not None
    assert (summary.until, set(summary.experiments), summary.finished["a"].run_id) == (1.0, {"0"}, "run")


@settings(max_examples=600, deadline=None)
@given(key=st.sampled_from(list(VALID)), value=JSON)
def test_a_summary_that_says_something_else(key: str, value: Any) -> None:
    summary = _Summary.of(json.loads(json.dumps(VALID | {key: value})))
    assert summary is None or 0 <= summary.until <= time.time() + 3600


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", *map(gzip.compress, (b"no json", b"[1]", b"[" * 100_000)), b"\x1f\x8b" + b"x" * 50],
    ids=["empty", "no gzip", "no json", "a list", "too deep", "no gzip after the magic number"],
)
@pytest.mark.usefixtures("sqlite_store")
def test_a_summary_that_is_damaged_is_passed_over(data: bytes, tmp_path: Path) -> None:
    client = MlflowClient()
    with open_run(kind="sweep", name="somebody's") as run:
        run.log_bytes(data, SUMMARY)
    ended = client.create_run("0", tags={schema.KIND: "train", schema.FINGERPRINT: "a"})
    client.set_terminated(ended.info.run_id)
    assert set(Ledger.read(client).finished) == {"a"}


@pytest.mark.usefixtures("sqlite_store")
def test_a_sweep_of_somebody_else_whose_files_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    client = MlflowClient()
    (tmp_path / "file").write_text("no folder")
    elsewhere = client.create_experiment("elsewhere", artifact_location="s3://bucket-of-somebody-else/x")
    broken = client.create_experiment("broken", artifact_location=(tmp_path / "file").as_uri())
    for experiment in (elsewhere, broken):
        client.create_run(experiment, tags={schema.KIND: "sweep"})
    assert Ledger.read(client).finished == {}

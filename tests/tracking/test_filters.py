"""Filters applied to a frame let exactly those runs through that MLflow's own search does."""

import contextlib
import re
import sqlite3
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from benchmarks.filling import fill_store
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.filters import _like, matching
from rsc_mlflow.tracking.frame import RunStore, flatten

FILTERS = (
    "",
    "params.optimizer = 'adam'",
    "params.optimizer != 'adam'",
    "param.dataset LIKE 'mnistv1-%'",
    "params.dataset LIKE 'mnistv_0-%'",
    "params.architecture ILIKE 'largemlp'",
    "params.architecture LIKE 'largemlp'",
    "params.jobs IS NULL",
    "params.jobs IS NOT NULL",
    "params.optimizer IS NULL",
    "params.optimizer IS NOT NULL",
    "params.nobody_has_this = 'x'",
    "params.nobody_has_this IS NULL",
    'metrics."spurious/score" > 0.05',
    "metrics.`spurious/score` <= 0.05 and metrics.`test/accuracy` > 0.9",
    'metrics."cost/seconds_per_epoch" = 0.55',
    'metrics."cost/seconds_per_epoch" != 0.55',
    "tags.rsc.kind = 'unlearn'",
    "tags.`rsc.error` LIKE '%nan%'",
    "attributes.status = 'FINISHED' AND tags.rsc.sweep = 'sweep-0'",
    "status != 'FINISHED'",
    "attributes.run_name LIKE '%exact_retraining%'",
    "run_name = 'nobody'",
    "attributes.start_time > 1700000100000",
    "attributes.end_time <= 1700000100000",
    "attributes.user_id = 'someone'",
)


@pytest.fixture(scope="module")
def filled(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[MlflowClient, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("filters")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    fill_store(uri, 120, artifacts=folder.as_uri(), now=1_700_000_200)
    return MlflowClient(uri), RunStore(uri).refresh().frame


@pytest.mark.parametrize("filter_string", FILTERS)
def test_same_runs_as_search_runs(filled: tuple[MlflowClient, pd.DataFrame], filter_string: str) -> None:
    client, frame = filled
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    expected = {run.info.run_id for run in client.search_runs(ids, filter_string, max_results=1000)}
    assert set(frame[matching(frame, filter_string)]["run_id"]) == expected


LETTERS = st.text(alphabet="aAbB%_.\n", max_size=8)


@given(LETTERS, LETTERS)
def test_like_is_that_of_sql(text: str, pattern: str) -> None:
    """SQLite's own LIKE, which does not tell capitals apart, is the judge."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        ((expected,),) = database.execute("SELECT ? LIKE ?", (text, pattern))
    assert (_like(pattern, re.IGNORECASE).fullmatch(text) is not None) is bool(expected)


def test_no_pattern_keeps_a_server_busy() -> None:
    frame = pd.DataFrame({"run_id": ["a"], "tags.note": ["a" * 5000]})
    pattern = "%a" * 30
    began = time.thread_time()
    assert not matching(frame, f"tags.note LIKE '{pattern}%b'").any()
    assert matching(frame, f"tags.note LIKE '{pattern}%'").all()
    assert time.thread_time() - began < 5


def test_in_lists_of_ids(filled: tuple[MlflowClient, pd.DataFrame]) -> None:
    _, frame = filled
    two = frame["run_id"].iloc[[3, 7]].tolist()
    assert frame[matching(frame, f"attributes.run_id IN ('{two[0]}', '{two[1]}')")]["run_id"].tolist() == two
    assert matching(frame, f"attributes.run_id NOT IN ('{two[0]}')").sum() == len(frame) - 1


@pytest.mark.parametrize(
    "filter_string",
    [
        "params.x",
        "params.x = 1",
        "metrics.a = 'text'",
        "params.x = 'a' OR params.y = 'b'",
        "params.x > 'a'",
        "attributes.nobody = 'x'",
        "dataset.name = 'mnist'",
        "attributes.artifact_uri = 'x'",
        "DROP TABLE runs",
    ],
)
def test_what_is_no_filter_says_what_is(filter_string: str) -> None:
    frame = flatten([])
    with pytest.raises(InputError, match="Expected for example "):
        matching(frame, filter_string)

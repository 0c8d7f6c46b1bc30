"""The frame of all runs after each kind of change equals a fresh one, and only changes were fetched."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from benchmarks.filling import fill_store
from rsc_mlflow.tracking import frame as module
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.frame import RunStore
from tests.mlflow_server import free_port


@pytest.fixture
def uri(sqlite_store: str, tmp_path: Path) -> str:
    fill_store(sqlite_store, 60, artifacts=(tmp_path / "files").as_uri())
    return sqlite_store


def _same_as_fresh(store: RunStore) -> None:
    fresh, kept = RunStore(store.tracking_uri).refresh(), store.snapshot()
    assert (kept.error, kept.complete) == (None, True)
    assert kept.version == fresh.version
    columns = sorted(set(fresh.frame.columns))
    left = kept.frame.reindex(columns=columns).sort_values("run_id", ignore_index=True)
    pd.testing.assert_frame_equal(left, fresh.frame[columns].sort_values("run_id", ignore_index=True))


def test_first_load_pages_through_newest_first(uri: str) -> None:
    store = RunStore(uri, page_size=7)
    snapshot = store.refresh()
    assert snapshot.complete
    assert len(snapshot.frame) == 60
    assert snapshot.frame["start_time"].is_monotonic_decreasing
    client = MlflowClient(uri)
    run = client.get_run(snapshot.frame["run_id"].iloc[10])
    row = snapshot.frame.iloc[10]
    for prefix, values in (("params", run.data.params), ("metrics", run.data.metrics)):
        assert {k: row[f"{prefix}.{k}"] for k in values} == values


def test_nothing_changed_keeps_the_version(uri: str) -> None:
    store = RunStore(uri)
    version = store.refresh().version
    assert [store.refresh().version for _ in range(3)] == [version] * 3


def test_a_new_run_its_metrics_and_its_end_arrive(uri: str) -> None:
    store, client = RunStore(uri), MlflowClient(uri)
    store.refresh()
    run = client.create_run("1", run_name="new")
    store.refresh()
    _same_as_fresh(store)
    client.log_batch(run.info.run_id, metrics=[Metric("spurious/score", 0.25, 1, 1)])
    assert "RUNNING" in set(store.refresh().frame["status"])
    _same_as_fresh(store)
    client.set_terminated(run.info.run_id, "FAILED")
    store.refresh()
    _same_as_fresh(store)
    row = store.snapshot().frame.set_index("run_id").loc[run.info.run_id]
    assert (row["status"], row["metrics.spurious/score"]) == ("FAILED", 0.25)


def test_the_first_pages_are_shown_at_once_and_the_others_by_and_by(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pages: joining what is there with each of a hundred would cost more than reading them."""
    shown: list[int] = []
    publish = RunStore._publish

    def watched(store: RunStore, frame: pd.DataFrame, experiments: dict[str, str]) -> None:
        shown.append(len(frame))
        publish(store, frame, experiments)

    monkeypatch.setattr(RunStore, "_publish", watched)
    snapshot = RunStore(uri, page_size=6).refresh()
    assert shown == [0, 6, 12, 24, 48, 60]
    assert snapshot.frame["run_id"].is_unique


def test_a_store_without_experiments_has_no_runs(uri: str) -> None:
    client, store = MlflowClient(uri), RunStore(uri)
    for experiment in client.search_experiments():
        client.delete_experiment(experiment.experiment_id)
    snapshot = store.refresh()
    assert (len(snapshot.frame), snapshot.complete, snapshot.error) == (0, True, None)


def test_late_edits_and_deletions_of_old_runs_are_found_by_looking_again(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 20)
    monkeypatch.setattr(module, "SLACK_MS", 0)
    store, client = RunStore(uri, page_size=7), MlflowClient(uri)
    oldest = store.refresh().frame["run_id"].tolist()[::-1]
    client.set_tag(oldest[0], "rsc.note", "late")
    client.log_metric(oldest[1], "spurious/p_value", 0.5)
    client.delete_run(oldest[2])
    for _ in range(4):  # 60 runs in windows of 20
        store.refresh()
    assert oldest[2] not in set(store.snapshot().frame["run_id"])
    _same_as_fresh(store)


def test_a_run_that_ended_by_a_clock_that_is_late_is_seen_at_the_next_look(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began and ended between two looks, by its own clock half a minute before the newest times known."""
    monkeypatch.setattr(module, "WINDOW", 1)  # looking again at old runs would take a while to find it
    store, client = RunStore(uri), MlflowClient(uri)
    known = store.refresh().frame
    late = int(min(known["start_time"].max(), known["end_time"].max())) - module.SLACK_MS // 2
    run_id = client.create_run("1", start_time=late).info.run_id
    client.set_terminated(run_id, end_time=late)
    assert run_id in set(store.refresh().frame["run_id"])


def test_a_running_run_that_is_deleted_goes_at_once(uri: str) -> None:
    store, client = RunStore(uri), MlflowClient(uri)
    run = client.create_run("1", start_time=1)
    store.refresh()
    client.delete_run(run.info.run_id)
    assert run.info.run_id not in set(store.refresh().frame["run_id"])


def test_a_deleted_experiment_takes_its_runs_along(uri: str) -> None:
    store, client = RunStore(uri), MlflowClient(uri)
    experiment = client.create_experiment("other")
    client.create_run(experiment)
    assert len(store.refresh().frame) == 61
    client.delete_experiment(experiment)
    snapshot = store.refresh()
    assert len(snapshot.frame) == 60
    assert experiment not in snapshot.experiments


def test_a_refresh_fetches_a_few_runs_not_all(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 5)
    store = RunStore(uri)
    store.refresh()
    fetched: list[int] = []
    search = store.client.search_runs

    def counted(*args: Any, **kwargs: Any) -> object:
        found = search(*args, **kwargs)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(store.client, "search_runs", counted)
    store.refresh()
    assert 0 < sum(fetched) < 30  # the last minute's runs by start and by end, the running ones, five old ones


def test_a_store_that_is_gone_keeps_what_is_known_and_says_why(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(uri)
    store.refresh()

    def refuse(*_args: object, **_kwargs: Any) -> object:
        raise ConnectionError("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(store.client, "search_experiments", refuse)
        snapshot = store.refresh()
    assert snapshot.error == "ConnectionError: connection refused"
    assert len(snapshot.frame) == 60
    assert store.refresh().error is None


def test_a_clock_that_is_set_back_does_not_stop_the_refreshes(uri: str) -> None:
    now = 1_700_000_000.0
    store = RunStore(uri, clock=lambda: now)
    assert len(store.refresh_soon(timeout=60).frame) == 60
    MlflowClient(uri).create_run("1")
    now -= 3600
    assert len(store.refresh_soon(timeout=60, min_age=0.0).frame) == 61


def test_one_refresh_at_a_time_and_none_right_after_another(uri: str) -> None:
    store = RunStore(uri)
    with store._fetching:
        assert not store.refresh_soon(timeout=0.01).complete  # somebody else is at it, and takes longer
    assert store.refresh_soon(timeout=60, min_age=0.0).complete
    MlflowClient(uri).create_run("1")
    assert len(store.refresh_soon(timeout=60, min_age=3600.0).frame) == 60


def test_an_empty_store_is_complete(sqlite_store: str) -> None:
    snapshot = RunStore(sqlite_store).refresh()
    assert (len(snapshot.frame), snapshot.complete, snapshot.error) == (0, True, None)
    assert snapshot.experiments == {"0": "Default"}


def test_details_read_histories_artifacts_and_models(uri: str) -> None:
    store = RunStore(uri)
    details = Details(lambda: store.client)
    frame = store.refresh().frame
    attack = frame[(frame["tags.rsc.kind"] == "attack") & (frame["status"] == "FINISHED")]["run_id"].iloc[0]
    history = details.history(attack, "spurious/score")
    assert history[-1] == (70, store.client.get_run(attack).data.metrics["spurious/score"])
    assert details.history(attack, "nobody/logs/this") == []
    assert set(details.artifact(attack, "roc.json")) == {"shadow", "loss", "lira", "rmia"}  # type: ignore[call-overload]
    assert details.artifact(attack, "absent.json") is None
    store.client.log_text(attack, "no json", "broken.json")
    assert details.artifact(attack, "broken.json") is None
    store.client.create_registered_model("rsc-mnist-MLP")
    tags = {"dataset": "mnistv8-3-0-0", "method": "none"}
    store.client.create_model_version("rsc-mnist-MLP", f"runs:/{attack}/model", attack, tags)
    store.client.set_registered_model_alias("rsc-mnist-MLP", "mnistv8-3-0-0", "1")
    row = details.models().iloc[0].drop("created").tolist()
    assert row == ["rsc-mnist-MLP", "1", "mnistv8-3-0-0", "", "mnistv8-3-0-0", attack]


def test_answers_are_kept_for_a_while_or_not_at_all(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(run_id: str, path: str) -> bytes:
        asked.append(path)
        return b'{"a": 1}'

    client = MlflowClient(uri)
    kept, unkept = Details(lambda: client, read), Details(lambda: client, read, keep_seconds=0)
    for details in (kept, unkept):
        assert [details.artifact("run", "a.json") for _ in range(2)] == [{"a": 1}] * 2
    assert asked == ["a.json"] * 3
    for number in range(600):
        kept.artifact("run", f"{number}.json")
    assert kept.artifact("run", "599.json") == {"a": 1}
    assert asked.count("599.json") == 1
    kept.artifact("run", "a.json")
    assert asked.count("a.json") == 4  # of the least recent answers the place was needed
    assert len(kept._kept) == 512
    assert len(unkept._kept) == 0


def test_nothing_is_known_of_a_run_that_is_not_there(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    details = Details(lambda: MlflowClient(uri))
    assert details.history("0" * 32, "train/loss") == []
    assert details.artifact("0" * 32, "roc.json") is None
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Details(lambda: MlflowClient(f"http://127.0.0.1:{free_port()}"))
    assert away.history("0" * 32, "train/loss") == []
    assert away.artifact("0" * 32, "roc.json") is None

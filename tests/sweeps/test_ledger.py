"""The ledger agrees with the store whatever happened between two looks, and asks for little."""

import gzip
import json
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.sweeps import ledger as module
from rsc_mlflow.sweeps.ledger import SUMMARY, Ledger
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run


@pytest.fixture
def client(sqlite_store: str) -> MlflowClient:
    return MlflowClient(sqlite_store)


def finish(client: MlflowClient, fingerprint: str, experiment: str = "0", *, ago: float = 0.0) -> str:
    """A finished run that ended ``ago`` seconds ago."""
    run = client.create_run(experiment, tags={schema.FINGERPRINT: fingerprint, schema.KIND: "train"})
    client.set_terminated(run.info.run_id, "FINISHED", end_time=int(1000 * (time.time() - ago)))
    return str(run.info.run_id)


def save(client: MlflowClient, ledger: Ledger) -> str:
    with open_run(kind="sweep", name="a sweep") as run:
        ledger.save(run)
    return run.run_id


def test_only_finished_runs_with_a_fingerprint_count(client: MlflowClient) -> None:
    run_id = finish(client, "a")
    client.set_terminated(client.create_run("0", tags={schema.FINGERPRINT: "b"}).info.run_id, "FAILED")
    client.create_run("0", tags={schema.FINGERPRINT: "c"})
    client.set_terminated(client.create_run("0").info.run_id, "FINISHED")
    foreign = client.create_run("0", tags={schema.FINGERPRINT: "d"})  # of no kind: not of this project
    client.set_terminated(foreign.info.run_id, "FINISHED")
    ledger = Ledger.read(client)
    assert {key: entry.run_id for key, entry in ledger.finished.items()} == {"a": run_id}


def test_a_summary_spares_asking_for_old_runs(client: MlflowClient) -> None:
    for number in range(5):
        finish(client, f"old-{number}", ago=2 * module.SLACK_SECONDS)
    save(client, Ledger.read(client))
    finish(client, "new")
    ledger = Ledger.read(client)
    assert set(ledger.finished) == {"new", *(f"old-{number}" for number in range(5))}
    assert ledger.from_summary == 5
    assert ledger.fetched == 3  # "new"; the sweep's own run, twice: its experiment was not there before it
    assert Ledger.read(client, recheck=True).finished == ledger.finished


def test_a_sweep_that_left_no_summary_is_passed_over(client: MlflowClient) -> None:
    finish(client, "a", ago=2 * module.SLACK_SECONDS)
    save(client, Ledger.read(client))
    with open_run(kind="sweep", name="shot before it wrote any"):
        pass
    ledger = Ledger.read(client)
    assert set(ledger.finished) == {"a"}
    assert ledger.from_summary == 1


def test_deleted_runs_and_experiments_are_taken_out(client: MlflowClient) -> None:
    other = client.create_experiment("other")
    kept = finish(client, "kept", ago=2 * module.SLACK_SECONDS)
    gone = finish(client, "gone", ago=2 * module.SLACK_SECONDS)
    finish(client, "elsewhere", other, ago=2 * module.SLACK_SECONDS)
    save(client, Ledger.read(client))
    client.delete_run(gone)
    client.delete_experiment(other)
    assert {key: entry.run_id for key, entry in Ledger.read(client).finished.items()} == {"kept": kept}
    save(client, Ledger.read(client))
    client.restore_experiment(other)  # after a summary that did not know it
    assert set(Ledger.read(client).finished) == {"kept", "elsewhere"}


def test_a_run_that_ended_just_before_the_summary_but_was_written_after_it_is_seen(client: MlflowClient) -> None:
    save(client, Ledger.read(client))
    finish(client, "late", ago=module.SLACK_SECONDS / 2)
    assert "late" in Ledger.read(client).finished


@pytest.mark.parametrize("damage", ["cut short", "no gzip", "no json", "another version"])
def test_a_damaged_summary_is_not_believed(client: MlflowClient, damage: str, tmp_path: Path) -> None:
    finish(client, "a", ago=2 * module.SLACK_SECONDS)
    run_id = save(client, Ledger.read(client))
    good = Path(client.download_artifacts(run_id, SUMMARY, str(tmp_path))).read_bytes()
    content = json.loads(gzip.decompress(good))
    content["finished"]["never run"] = ["x", "0"]
    bad = {
        "cut short": gzip.compress(json.dumps(content).encode())[:-9],
        "no gzip": json.dumps(content).encode(),
        "no json": gzip.compress(b"{"),
        "another version": gzip.compress(json.dumps(content | {"version": -1}).encode()),
    }[damage]
    file = tmp_path / "new" / SUMMARY
    file.parent.mkdir()
    file.write_bytes(bad)
    client.log_artifact(run_id, str(file))
    assert set(Ledger.read(client).finished) == {"a"}


def test_the_newest_of_several_summaries_is_used(client: MlflowClient) -> None:
    finish(client, "first", ago=2 * module.SLACK_SECONDS)
    early = Ledger.read(client)
    finish(client, "second", ago=2 * module.SLACK_SECONDS)
    save(client, Ledger.read(client))
    save(client, early)  # written later, true earlier
    ledger = Ledger.read(client)
    assert ledger.from_summary == 2


def test_of_many_summaries_few_are_read(client: MlflowClient) -> None:
    finish(client, "a", ago=2 * module.SLACK_SECONDS)
    oldest = save(client, Ledger.read(client))
    for _ in range(module._COMPARED):
        save(client, Ledger.read(client))
    asked = []

    class Watched(MlflowClient):
        def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
            asked.append(run_id)
            return str(super().download_artifacts(run_id, path, dst_path))

    assert set(Ledger.read(Watched(client.tracking_uri)).finished) == {"a"}
    assert len(asked) == len(set(asked)) == module._COMPARED
    assert oldest not in asked

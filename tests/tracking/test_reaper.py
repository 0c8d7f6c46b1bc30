import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.environment import host
from rsc_mlflow.tracking.reaper import close, dead_runs
from rsc_mlflow.tracking.run import open_run

pytestmark = pytest.mark.usefixtures("sqlite_store")


def test_only_our_silent_runs_are_closed() -> None:
    client = MlflowClient()
    start = int((time.time() - 1000) * 1000)
    stale = {schema.KIND: "train", schema.HEARTBEAT: f"{time.time() - 1000:.0f}"}
    silent = client.create_run("0", tags=stale).info.run_id
    never = client.create_run("0", start_time=start, tags={schema.KIND: "train"}).info.run_id
    foreign = client.create_run("0", start_time=start).info.run_id
    fresh = client.create_run("0", tags={schema.KIND: "train", schema.HEARTBEAT: f"{time.time():.0f}"}).info.run_id
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = {
        schema.KIND: "train",
        schema.HEARTBEAT: f"{time.time():.0f}",
        schema.HOST: host(),
        schema.PID: str(gone.pid),
    }
    orphan = client.create_run("0", tags=ours).info.run_id
    ended = client.create_run("0", tags=stale).info.run_id
    client.set_terminated(ended, "FAILED")
    with open_run(kind="train", name="alive") as alive:
        dead = dead_runs(client)
        assert sorted(run.info.run_id for run in dead) == sorted([silent, never, orphan])
        for run in dead:
            close(client, run)
        assert client.get_run(alive.run_id).info.status == "RUNNING"
    for run_id in (silent, never, orphan):
        found = client.get_run(run_id)
        assert found.info.status == "KILLED"
        assert found.data.tags[schema.ERROR].startswith("no heartbeat since 20")
    assert client.get_run(foreign).info.status == "RUNNING"
    assert client.get_run(fresh).info.status == "RUNNING"
    assert client.get_run(ended).info.status == "FAILED"
    assert dead_runs(client) == []

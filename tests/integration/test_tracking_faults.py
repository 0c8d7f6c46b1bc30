"""A server that stays away: the run is not FINISHED, and nothing stays RUNNING."""

import mlflow
import pytest
from mlflow import MlflowClient

from rsc_mlflow.sweeps.state import close_dead_runs
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run
from tests.integration.faulty_proxy import faulty_proxy

pytestmark = pytest.mark.integration


def test_a_run_whose_server_stays_away_is_closed_by_the_next_sweep(
    server_store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = []
    with faulty_proxy(server_store) as between:
        mlflow.set_tracking_uri(between.uri)

        def train() -> None:
            for name in ("one", "another"):
                with open_run(kind="train", name=name) as run:
                    runs.append(run.run_id)
                    if name == "another":
                        monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "1")  # a busy machine needs longer before
                        between.fault = lambda method, path: "away"
                        run.metrics({"train/loss": 1.0}, 1)

        with pytest.raises(Exception, match=r"HTTPConnectionPool|Connection aborted"):
            train()
    monkeypatch.delenv("RSC_RETRY_TIMEOUT_SECONDS")
    assert "1 metric values were lost" in caplog.text
    client = MlflowClient(server_store)
    assert [client.get_run(run_id).info.status for run_id in runs] == ["FINISHED", "RUNNING"]
    client.set_tag(runs[1], schema.HEARTBEAT, "1")  # as if minutes had passed
    assert close_dead_runs(client) == [runs[1]]
    found = client.get_run(runs[1])
    assert found.info.status == "KILLED"
    assert found.data.tags[schema.ERROR].startswith("no heartbeat since")

import json
import threading

import pytest
from mlflow import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.experiments import current_experiment

pytestmark = pytest.mark.usefixtures("sqlite_store")


def test_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient()
    assert current_experiment(client) == current_experiment(client)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "paper")
    by_name = current_experiment(client)
    assert client.get_experiment(by_name).name == "paper"
    assert "(dashboards/?experiment=paper)" in client.get_experiment(by_name).tags["mlflow.note.content"]
    assert json.loads(client.get_experiment(by_name).tags["mlflow.sharedViewState.rsc"])["selectedColumns"]
    link = f"(#/experiments/{by_name}/runs?viewStateShareKey=rsc&workflowType=machine_learning)"
    assert link in client.get_experiment(by_name).tags["mlflow.note.content"]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    assert current_experiment(client) == "0"
    assert "(dashboards/?experiment=Default)" in client.get_experiment("0").tags["mlflow.note.content"]
    client.set_experiment_tag("0", "mlflow.note.content", "somebody's own words")
    assert current_experiment(client) == "0"
    assert client.get_experiment("0").tags["mlflow.note.content"] == "somebody's own words"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "12345")
    with pytest.raises(InputError, match="Invalid value for 'MLFLOW_EXPERIMENT_ID': '12345'"):
        current_experiment(client)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "x" * 501)
    with pytest.raises(InputError, match=r"Experiment 'x+' cannot be created"):
        current_experiment(client)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "paper")
    client.delete_experiment(by_name)
    with pytest.raises(InputError, match="'paper' was deleted"):
        current_experiment(client)


def test_processes_that_make_the_experiment_at_once_share_it() -> None:
    start = threading.Barrier(4)
    found: list[str] = []

    def one() -> None:
        start.wait()
        found.append(current_experiment(MlflowClient()))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1

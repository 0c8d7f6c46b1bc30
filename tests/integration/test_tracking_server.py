"""The same over HTTP: what a run writes through a real server, and how models come back from it."""

from contextlib import ExitStack

import pytest
import torch
from mlflow import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.datasets import DataRecord, log_datasets
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.tracking.query import find_by_fingerprint, find_training_run
from rsc_mlflow.tracking.run import open_run
from tests.tracking.stores import PARAMS, small_model, trained

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("server_store")]


def test_a_whole_run() -> None:
    data = DataRecord("mnist", "a" * 32, "training", {"n_examples": 60000}, (1, 28, 28), "torchvision")
    with open_run(kind="train", name="over HTTP", params={"epochs": 2}) as run:
        log_datasets(run, [data])
        for epoch in (1, 2):
            run.metrics({"train/loss": 1 / epoch, "nan": float("nan")}, epoch)
        run.log_text("<p>", "figures/score_matrix.html")
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"epochs": "2"}
    assert [entry.dataset.digest for entry in found.inputs.dataset_inputs] == ["a" * 32]
    history = MlflowClient().get_metric_history(run.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]
    assert [file.path for file in MlflowClient().list_artifacts(run.run_id, "figures")] == ["figures/score_matrix.html"]


def test_many_runs_of_one_process() -> None:
    with ExitStack() as stack:
        runs = [stack.enter_context(open_run(kind="train", name=f"member {k}")) for k in range(8)]
        for epoch in range(1, 31):
            for k, run in enumerate(runs):
                run.metrics({"train/loss": k + epoch / 100, "test/accuracy": 0.5}, epoch)
    for k, run in enumerate(runs):
        history = MlflowClient().get_metric_history(run.run_id, "train/loss")
        assert [(point.step, point.value) for point in history] == [(e, k + e / 100) for e in range(1, 31)]
        assert MlflowClient().get_run(run.run_id).info.status == "FINISHED"


def test_models_come_back_by_every_form_of_uri() -> None:
    model = small_model(5)
    run, uri, registered = trained(model, tags={schema.FINGERPRINT: "over-http"})
    forms = [uri, registered.uri, f"models:/{registered.name}@{PARAMS['dataset']}", f"runs:/{run.run_id}/model"]
    for form in forms:
        pulled = pull(form)
        assert pulled.model_uri == uri
        assert pulled.spurious_indices() == (7, 3, 5)
        for key, value in model.state_dict().items():
            assert torch.equal(pulled.state_dict[key], value)
    with pytest.raises(InputError, match="Aliases of rsc-digits-MLP: digitsv20-3-0-0"):
        pull("models:/rsc-digits-MLP@nothing")
    by_params = find_training_run(str(PARAMS["dataset"]), "ce-tor-MLP", {"learning_rate": "0.010"})
    for found in (by_params, find_by_fingerprint("over-http", kind="train")):
        assert found is not None
        assert found.info.run_id == run.run_id

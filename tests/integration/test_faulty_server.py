"""A server that loses answers or refuses: everything is stored once."""

from collections.abc import Iterator
from contextlib import ExitStack

import mlflow
import pytest
from mlflow import MlflowClient

from rsc_mlflow.experiments.membership import infer_membership
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.experiments.unlearning import unlearn
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.datasets import DataRecord, log_datasets
from rsc_mlflow.tracking.models import log_lineage, log_model, register
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.tracking.store import connect
from tests.integration.faulty_proxy import FaultyProxy, faulty_proxy, once
from tests.mlflow_server import MlflowServer
from tests.tracking.stores import PARAMS, example, small_model

RelabelFinetuningOptions = method_options("relabel_finetuning")

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("server_store")]


@pytest.fixture
def proxy(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The current tracking store is the shared server behind a proxy without faults; MLflow itself asks once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "20")
    with faulty_proxy(mlflow_server.uri) as between:
        mlflow.set_tracking_uri(between.uri)
        yield between


def is_rest(method: str, path: str) -> bool:
    return path.startswith("/api/2.0/mlflow/")


def is_write(method: str, path: str) -> bool:
    return is_rest(method, path) and method != "GET" and not path.endswith("/search")


def train(name: str) -> str:
    """A run that is interrupted, goes on and ends with a registered model; returns its id."""
    params = {**PARAMS, "dataset": name}
    tags = {schema.FINGERPRINT: f"fingerprint of {name}"}
    data = DataRecord(name, "a" * 32, "training", {"n_examples": 3}, (1, 28, 28), "a test")
    stack = ExitStack()
    run = stack.enter_context(open_run(kind="train", name=name, params=params, tags=tags))
    log_datasets(run, [data])
    run.metrics({"train/loss": 1.0}, 1)
    run.flush()
    error = RuntimeError("interrupted")
    assert not stack.__exit__(RuntimeError, error, None)
    with open_run(kind="train", name=name, params=params, tags=tags, resume_run_id=run.run_id) as again:
        again.metrics({"train/loss": 0.5, "test/accuracy": 0.9}, 2)
        uri = log_model(again, small_model(), example(), 2)
        log_lineage(again, uri.removeprefix("models:/"))
        register(again, uri, dataset=name, family=name, architecture="MLP", kind="train")
    return run.run_id


def assert_whole(run_id: str, name: str) -> None:
    client = MlflowClient()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert schema.ERROR not in run.data.tags
    assert [point.step for point in client.get_metric_history(run_id, "train/loss")] == [1, 2]
    assert len(run.inputs.dataset_inputs) == len(run.inputs.model_inputs) == len(run.outputs.model_outputs) == 1
    (version,) = client.search_model_versions(f"name = 'rsc-{name}-MLP'")
    assert client.get_registered_model(f"rsc-{name}-MLP").aliases == {name: version.version}


def test_answers_that_are_lost(proxy: FaultyProxy) -> None:
    """Every kind of write is carried out once without an answer, and so asked for again."""
    proxy.fault = once("lose", is_write)
    assert_whole(train("digitsv1-3-0-0"), "digitsv1-3-0-0")


def test_every_question_of_whole_experiments_is_asked_again(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins with a server that refuses the first request of every kind, the upload of a model included."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "whole experiments, refused at first")
    client = connect()
    small = {"model": "ce-tor-MLPv2", "epochs": 1, "optimizer": "adam"}  # registered under a name of its own

    def is_asked(method: str, path: str) -> bool:
        return is_rest(method, path) or (method == "PUT" and path.endswith("/MLmodel"))

    def train(dataset: str) -> None:
        train_members([TrainingJob(TrainOptions.from_mapping({"dataset": dataset, **small}))])

    recipe = {"dataset": "digitsv20-5-0-0", "reference": "train", **small}
    attack = {"dataset": "memdigitsv20-5-0-0", "shadow_models": 2, "attacks": "shadow,loss", **small}
    experiments = (
        lambda: train("digits"),
        lambda: train("digitsv20-5-0-0"),
        lambda: unlearn(RelabelFinetuningOptions.from_mapping(recipe)),
        lambda: infer_membership(MembershipOptions.from_mapping(attack)),
    )
    for experiment in experiments:
        proxy.fault = once("refuse", is_asked)
        experiment()
    found = client.get_experiment_by_name("whole experiments, refused at first")
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert len(runs) == 7  # two trainings, unlearning and its reference, the attack with its target and shadow models
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert not any(schema.ERROR in run.data.tags for run in runs)

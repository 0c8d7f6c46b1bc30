import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.models import log_lineage, log_model, register
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.tracking.run import open_run
from tests.tracking.stores import PARAMS, example, small_model, trained

pytestmark = pytest.mark.usefixtures("sqlite_store")


def test_the_model_belongs_to_its_run_and_epoch() -> None:
    model = small_model()
    run, uri, _ = trained(model)
    client = MlflowClient()
    logged = client.get_logged_model(uri.removeprefix("models:/"))
    assert logged.status == LoggedModelStatus.READY
    assert (logged.name, logged.source_run_id) == ("model", run.run_id)
    assert logged.params["learning_rate"] == "0.01"
    assert {metric.key: metric.value for metric in logged.metrics} == {"train/loss": 0.5, "spurious/score": 0.9}
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    assert (output.model_id, output.step) == (logged.model_id, 2)
    assert len(client.get_metric_history(run.run_id, "train/loss")) == 1
    assert model.training


def test_metrics_logged_with_the_model_are_stored_once_for_the_run_and_once_for_the_model() -> None:
    with open_run(kind="train", name="x", params=PARAMS) as run:
        run.metrics({"train/loss": 0.5}, 1)
        run.metrics({"train/loss": 0.25}, 2)
        uri = log_model(run, small_model(), example(), 2, {"test/loss": 0.75})
    client = MlflowClient()
    logged = client.get_logged_model(uri.removeprefix("models:/"))
    assert {metric.key: metric.value for metric in logged.metrics} == {"train/loss": 0.25, "test/loss": 0.75}
    steps = {key: client.get_metric_history(run.run_id, key) for key in ("train/loss", "test/loss")}
    assert {key: [(p.step, p.value) for p in points] for key, points in steps.items()} == {
        "train/loss": [(1, 0.5), (2, 0.25)],
        "test/loss": [(2, 0.75)],
    }


def test_the_format_signature_and_requirements(tmp_path: Path) -> None:
    _, uri, _ = trained()
    folder = Path(download_artifacts(uri, dst_path=str(tmp_path)))
    record = yaml.safe_load((folder / "MLmodel").read_text())
    assert (folder / "data" / "model.pt2").is_file()
    assert not list(folder.rglob("*.pth"))
    assert '"shape": [-1, 1, 28, 28]' in record["signature"]["inputs"]
    assert '"shape": [-1, 10]' in record["signature"]["outputs"]
    requirements = (folder / "requirements.txt").read_text().split()
    assert any(line == f"torch=={torch.__version__.split('+')[0]}" for line in requirements)


def test_mlflow_itself_serves_it_at_any_batch_size() -> None:
    import mlflow

    model = small_model()
    _, uri, _ = trained(model)
    images = torch.rand(7, 1, 28, 28)
    served = mlflow.pyfunc.load_model(uri).predict(images.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(served, model.eval()(images).numpy(), rtol=1e-5, atol=1e-6)


def test_version_tags_and_alias() -> None:
    run, uri, registered = trained()
    version = MlflowClient().get_model_version("rsc-digits-MLP", str(registered.version))
    assert version.source == uri
    assert version.run_id == run.run_id
    assert version.tags == {"dataset": "digitsv20-3-0-0", "kind": "train", "method": "none", "run_id": run.run_id}
    assert MlflowClient().get_model_version_by_alias("rsc-digits-MLP", "digitsv20-3-0-0").version == version.version
    assert registered.uri == f"models:/rsc-digits-MLP/{version.version}"


def test_each_method_has_an_alias_of_its_own_that_moves_to_its_newest() -> None:
    client = MlflowClient()
    _, _, first = trained()
    _, _, unlearned = trained(kind="unlearn", method="group_influence")
    _, _, second = trained()
    other = {**PARAMS, "dataset": "digits"}
    _, _, clean = trained(params=other)
    aliases = {name: int(v) for name, v in client.get_registered_model("rsc-digits-MLP").aliases.items()}
    assert aliases == {
        "digitsv20-3-0-0": second.version,
        "digitsv20-3-0-0--group_influence": unlearned.version,
        "digits": clean.version,
    }
    assert first.version < unlearned.version < second.version < clean.version


def test_registering_again_after_a_lost_answer_makes_no_second_version(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(kind="train", name="x", params=PARAMS) as run:
        uri = log_model(run, small_model(), example(), 2)
        names: dict[str, Any] = {"dataset": "digits", "family": "digits", "architecture": "MLP", "kind": "train"}
        lose_first_answer(monkeypatch, run.client, "create_model_version")
        registered = register(run, uri, **names)
    (version,) = MlflowClient().search_model_versions("name = 'rsc-digits-MLP'")
    assert (registered.version, version.source) == (int(version.version), uri)


def test_a_model_is_linked_to_its_run_once_if_the_answer_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(kind="train", name="x", params=PARAMS) as run:
        lose_first_answer(monkeypatch, run.client, "log_outputs")
        uri = log_model(run, small_model(), example(), 2)
    (output,) = MlflowClient().get_run(run.run_id).outputs.model_outputs
    assert f"models:/{output.model_id}" == uri


def lose_first_answer(monkeypatch: pytest.MonkeyPatch, client: MlflowClient, name: str) -> None:
    """Let the first successful call of a method raise as if the connection broke before the answer."""
    real = getattr(client, name)
    lost: list[str] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        if not lost:
            lost.append(name)
            raise ConnectionError("the connection broke")
        return found

    monkeypatch.setattr(client, name, call)


def test_a_run_may_register_two_models_but_none_under_a_name_that_mlflow_refuses() -> None:
    names: dict[str, Any] = {"dataset": "digits", "architecture": "MLP", "kind": "train"}
    with open_run(kind="train", name="x", params=PARAMS) as run:
        uris = [log_model(run, small_model(seed), example(), 2) for seed in (0, 1)]
        versions = [register(run, uri, family="digits", **names).version for uri in uris]
        with pytest.raises(MlflowException, match="Names cannot contain"):
            register(run, uris[0], family="a/b", **names)
    assert versions == [1, 2]
    assert int(MlflowClient().get_registered_model("rsc-digits-MLP").aliases["digits"]) == 2


def test_runs_that_register_at_once_leave_the_alias_at_the_newest() -> None:
    names: dict[str, Any] = {"dataset": "digits", "family": "digits", "architecture": "MLP", "kind": "train"}
    start = threading.Barrier(4)
    versions: list[int] = []

    def one(run_id: int) -> None:
        with open_run(kind="train", name=f"run {run_id}", params=PARAMS) as run:
            model = run.client.create_logged_model(run.experiment_id, "model", run.run_id)
            start.wait()
            versions.append(register(run, f"models:/{model.model_id}", **names).version)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4]
    assert int(MlflowClient().get_registered_model("rsc-digits-MLP").aliases["digits"]) == 4


def test_lineage_leads_from_the_unlearned_model_to_its_source() -> None:
    _, uri, _ = trained()
    model_id = uri.removeprefix("models:/")
    with open_run(kind="unlearn", name="x", tags={schema.SOURCE_MODEL_URI: uri}) as run:
        log_lineage(run, model_id)
    (entry,) = MlflowClient().get_run(run.run_id).inputs.model_inputs
    assert entry.model_id == model_id


def test_with_a_prefix_models_are_registered_beside_those_without_which_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    _, uri, first = trained()
    monkeypatch.setenv("RSC_MODEL_PREFIX", "ann-")
    _, other, second = trained()
    assert (first.name, second.name) == ("rsc-digits-MLP", "ann-rsc-digits-MLP")
    assert pull("models:/rsc-digits-MLP@digitsv20-3-0-0").model_uri == uri
    assert pull("models:/ann-rsc-digits-MLP@digitsv20-3-0-0").model_uri == other

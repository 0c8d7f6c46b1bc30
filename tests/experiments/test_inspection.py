"""Runs that look at trained models, read back through the client and compared with the models' own weights."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from rsc_mlflow.data import apply_pattern, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.inspection import comparison_model, load_models
from rsc_mlflow.experiments.inspection_figures import occlusion_png, weights_png
from rsc_mlflow.experiments.occlusion import measure
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scoring_options import OcclusionOptions, WeightsOptions
from rsc_mlflow.experiments.training import TrainingJob, TrainResult, train_members
from rsc_mlflow.experiments.weights import visualize
from rsc_mlflow.names import DatasetName
from rsc_mlflow.scoring.occlusion import OcclusionCurve
from rsc_mlflow.scoring.weights import WeightMaps
from rsc_mlflow.tracking.pull import pull

POISONED = "digitsv8-20-0-0"
PNG = b"\x89PNG\r\n"


def train(dataset: str, **options: object) -> TrainResult:
    settings = {"model": "ce-tor-MLP", "optimizer": "adam", "momentum": 0, "epochs": 4, "checkpoint_every": 0} | options
    return train_members([TrainingJob(TrainOptions.from_mapping({"dataset": dataset} | settings))])[0]


@pytest.fixture(scope="module")
def shared_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainResult]]:
    """A folder with a store for all tests here, and the models trained in it by the first."""
    folder = tmp_path_factory.mktemp("inspection")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    return folder, []


@pytest.fixture
def trained(
    shared_store: tuple[Path, list[TrainResult]], monkeypatch: pytest.MonkeyPatch
) -> tuple[TrainResult, TrainResult]:
    """A clean model, and then a poisoned one trained the same way, in the current store."""
    folder, results = shared_store
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    if not results:
        results += [train("digits"), train(POISONED)]
    return results[0], results[1]


def newest_run(method: str) -> tuple[str, dict[str, float], dict[str, str], dict[str, str]]:
    client = MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments()]
    run = client.search_runs(experiments, f"tags.`rsc.method` = '{method}'")[0]
    assert run.info.status == "FINISHED"
    return run.info.run_id, run.data.metrics, run.data.params, run.data.tags


def read(run_id: str, path: str, folder: Path) -> bytes:
    return Path(MlflowClient().download_artifacts(run_id, path, str(folder))).read_bytes()


def test_weights_against_the_models_own(trained: tuple[TrainResult, TrainResult], tmp_path: Path) -> None:
    clean, poisoned = trained
    metrics = visualize(WeightsOptions(dataset=POISONED))
    run_id, logged, params, tags = newest_run("visualize_weights")
    own, other = (
        pull(f"runs:/{r.run_id}/model").state_dict["hidden1.weight"].numpy().max(axis=0).reshape(28, 28)
        for r in (poisoned, clean)
    )
    content = json.loads(read(run_id, "weight_map.json", tmp_path))
    assert content["order"] == [f"{POISONED} MLP seed 0", "digits MLP seed 0"]
    assert set(content["maps"]) == set(content["order"])
    assert np.array(content["maps"][f"{POISONED} MLP seed 0"]) == pytest.approx(own)
    assert np.array(content["difference"]) == pytest.approx(np.abs(own - other))
    assert content["range"] == pytest.approx([min(own.min(), other.min()), max(own.max(), other.max())])
    pattern = apply_pattern("v8", torch.zeros(1, 1, 28, 28), 0)[0].numpy().ravel()
    expected = np.corrcoef(own.ravel(), pattern)[0, 1]
    assert logged == pytest.approx(metrics | {"cost/logging_seconds": logged["cost/logging_seconds"]})
    assert logged["weights/pattern_correlation"] == pytest.approx(expected, abs=1e-5)
    assert logged["weights/pattern_correlation"] > logged["weights/pattern_correlation_compared"]
    assert logged["weights/mean_absolute_difference"] == pytest.approx(np.abs(own - other).mean(), abs=1e-6)
    assert (params["pattern"], params["architecture"]) == ("v8", "MLP")
    assert tags["rsc.source_run_id"] == poisoned.run_id
    assert read(run_id, "figures/weights.png", tmp_path).startswith(PNG)


def test_models_named_one_by_one_and_alone(trained: tuple[TrainResult, TrainResult], tmp_path: Path) -> None:
    clean, poisoned = trained
    visualize(WeightsOptions(model_uri=clean.model_uri))  # a clean model has no comparison model
    content = json.loads(read(newest_run("visualize_weights")[0], "weight_map.json", tmp_path))
    assert list(content["maps"]) == ["digits MLP seed 0"]
    assert content["difference"] is None
    both = f"{clean.model_uri}, {poisoned.model_uri}"
    found = visualize(WeightsOptions(model_uri=both))
    assert set(found) == {"weights/mean_absolute_difference"}  # the first has no pattern to resemble
    assert set(visualize(WeightsOptions(model_uri=poisoned.model_uri, compare_with="none"))) == {
        "weights/pattern_correlation"
    }


def test_auto_is_the_newest_and_an_unlearned_model_goes_with_its_source(
    trained: tuple[TrainResult, TrainResult],
) -> None:
    clean, poisoned = trained
    models, data = load_models("auto", "any", "any", "auto")
    assert models[0].pulled.run_id == poisoned.run_id
    assert data.name == DatasetName("digits")
    assert load_models("auto", "digits", "ce-tor-MLP", "auto")[0][0].pulled.run_id == clean.run_id
    found = comparison_model(models[0].pulled)
    assert found is not None
    assert found.run_id == clean.run_id
    assert comparison_model(found) is None
    client = MlflowClient()
    unlearned = {"rsc.source_model_uri": clean.model_uri, "rsc.kind": "unlearn", "rsc.method": "group_influence"}
    for key, value in unlearned.items():
        client.set_tag(poisoned.run_id, key, value)
    after = load_models(poisoned.model_uri, "any", "any", "auto")[0][0]
    client.delete_tag(poisoned.run_id, "rsc.source_model_uri")
    for key, value in {"rsc.kind": "train", "rsc.method": "train_classifier"}.items():
        client.set_tag(poisoned.run_id, key, value)
    assert after.label == f"{POISONED} MLP after group_influence seed 0"
    source = comparison_model(after.pulled)  # it holds the run as it was pulled
    assert source is not None
    assert source.model_uri == clean.model_uri


def test_occlusion_of_two_models(trained: tuple[TrainResult, TrainResult], tmp_path: Path) -> None:
    clean, poisoned = trained
    options = OcclusionOptions(
        model_uri=f"{clean.model_uri},{poisoned.model_uri}", examples=60, steps=5, device="cpu", random_seed=3
    )
    curves = measure(options)
    run_id, metrics, _, _ = newest_run("occlusion")
    content = json.loads(read(run_id, "occlusion.json", tmp_path))
    labels = ["digits MLP seed 0", f"{POISONED} MLP seed 0"]
    assert content["share"] == [0, 0.25, 0.5, 0.75, 1]
    for label in labels:
        assert content[label] == pytest.approx(curves[label].probabilities)
    history = MlflowClient().get_metric_history(run_id, "occlusion/probability")
    assert {p.step: p.value for p in history} == pytest.approx(
        dict(zip((0, 25, 50, 75, 100), curves[labels[0]].probabilities, strict=True))
    )
    assert metrics["occlusion/auc"] == pytest.approx(curves[labels[0]].auc)
    assert metrics["occlusion/auc_2"] == pytest.approx(curves[labels[1]].auc)
    # A black image is the same image whatever it was: the last point is the mean probability given nothing.
    weights = [tensor.double() for tensor in pull(clean.model_uri).state_dict.values()]
    black = (weights[3] + weights[1].relu() @ weights[2].T).softmax(0)
    labels_of = load_dataset(DatasetName("digits")).train.labels
    assert min(black) <= content[labels[0]][-1] <= max(black)
    assert len(labels_of) > 60
    assert content[labels[0]][0] > 0.8 > content[labels[0]][-1]
    assert read(run_id, "figures/occlusion.png", tmp_path).startswith(PNG)


def test_the_same_seed_gives_the_same_curve(trained: tuple[TrainResult, TrainResult]) -> None:
    options = OcclusionOptions(examples=20, steps=3, device="cpu")
    assert measure(options) == measure(options)


def test_bad_input_is_refused_before_a_run_exists(trained: tuple[TrainResult, TrainResult]) -> None:
    clean, poisoned = trained
    other = train("memdigits", model="ce-tor-CNN002", epochs=1)
    client = MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments()]
    before = len(client.search_runs(experiments))
    both = f"{clean.model_uri},{poisoned.model_uri}"
    cases = (
        (lambda: visualize(WeightsOptions(model_uri=other.model_uri)), "MLPv2"),
        (lambda: visualize(WeightsOptions(model_uri=f"{clean.model_uri},{other.model_uri}")), "one family"),
        (lambda: visualize(WeightsOptions(model_uri=f"{clean.model_uri},{clean.model_uri}")), "twice"),
        (lambda: visualize(WeightsOptions(model_uri=",")), "1 to 8"),
        (lambda: visualize(WeightsOptions(model_uri=both, compare_with=clean.model_uri)), "needs a single model_uri"),
        (lambda: visualize(WeightsOptions(dataset="mnist")), "No finished training run with dataset mnist"),
        (lambda: measure(OcclusionOptions(examples=2000)), "Expected 1 to"),
        (lambda: WeightsOptions(dataset="nonsense"), "Unknown dataset family"),
    )
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
    assert len(client.search_runs(experiments)) == before


def test_pictures_are_drawn_from_what_is_given() -> None:
    one = WeightMaps({"a": torch.rand(1, 4, 4)})
    two = WeightMaps({"a": torch.rand(1, 4, 4), "b": -torch.rand(1, 4, 4)})
    curve = OcclusionCurve((0, 0.5, 1), (0.9, 0.5, 0.1))
    for png in (weights_png(one), weights_png(two), occlusion_png({"a": curve, "b": curve})):
        assert png.startswith(PNG)
        assert len(png) > 2000

"""A training run read back through the client: everything the contract says it holds."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from scipy import stats
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from rsc_mlflow.data import ImageSet, apply_pattern, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments import clean_baseline
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scores import pulled_module
from rsc_mlflow.experiments.training import TrainingJob, TrainResult, train_members
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.tracking.query import iterate_runs
from tests.experiments.stored import probabilities

pytestmark = pytest.mark.usefixtures("sqlite_store")
POISONED = "digitsv20-20-0-0"


def train(dataset: str, **options: object) -> TrainResult:
    settings = {"model": "ce-tor-MLP", "optimizer": "adam", "momentum": 0, "epochs": 6, "checkpoint_every": 2} | options
    return train_members([TrainingJob(TrainOptions.from_mapping({"dataset": dataset} | settings))])[0]


def artifact(run_id: str, path: str, folder: Path) -> Path:
    return Path(MlflowClient().download_artifacts(run_id, path, str(folder)))


def test_a_poisoned_run_against_an_independent_evaluation(tmp_path: Path) -> None:
    others = [train("digits", random_seed=seed) for seed in (1, 2)]
    clean = train("digits")
    train("digits", epochs=2)  # another recipe is no baseline
    poisoned = train(POISONED)
    dataset = load_dataset(DatasetName.parse(POISONED))
    images, labels = dataset.test.images, dataset.test.labels.numpy()
    patterned = dataset.patterned(images)
    rises = {
        result.run_id: probabilities(result.model_uri, patterned) - probabilities(result.model_uri, images)
        for result in (clean, poisoned, *others)
    }
    hits = rises[poisoned.run_id] > 0.1
    clean_hits = rises[clean.run_id] > 0.1
    metrics = MlflowClient().get_run(poisoned.run_id).data.metrics
    for k in range(10):
        assert metrics[f"spurious/score_target_{k}"] == pytest.approx(hits[:, k].mean())
        assert metrics[f"spurious/score_class_{k}"] == pytest.approx(hits[labels == k, 0].mean())
    assert metrics["spurious/score"] == pytest.approx(hits[:, 0].mean())
    assert metrics["spurious/score"] > 0.5
    assert metrics["spurious/score_nontarget"] == pytest.approx(hits[labels != 0, 0].mean())
    predictions = probabilities(poisoned.model_uri, patterned).argmax(1)
    assert metrics["spurious/test_accuracy"] == pytest.approx((predictions == labels)[labels != 0].mean())
    assert metrics["spurious/pattern_norm"] == pytest.approx((patterned - images).flatten(1).norm(dim=1).mean().item())
    baselines = [(rises[one.run_id] > 0.1)[:, 0].mean() for one in (clean, *others)]
    assert metrics["spurious/n_reference"] == 3
    assert metrics["spurious/reference_score"] == pytest.approx(np.mean(baselines))
    assert metrics["spurious/reference_score_max"] == pytest.approx(max(baselines))
    assert metrics["spurious/p_value"] == pytest.approx(1 / 4)  # above all three
    upper = stats.t.ppf(0.975, 2) * np.std(baselines, ddof=1) * math.sqrt(1 + 1 / 3)
    assert metrics["spurious/reference_prediction_high"] == pytest.approx(np.mean(baselines) + upper)
    tag = json.loads(MlflowClient().get_run(poisoned.run_id).data.tags["rsc.clean_scores"])
    assert tag == pytest.approx({str(seed): score for seed, score in enumerate(baselines)}, abs=1e-6)
    only_poisoned = int((hits[:, 0] & ~clean_hits[:, 0]).sum())
    discordant = int((hits[:, 0] ^ clean_hits[:, 0]).sum())
    expected = binomtest(only_poisoned, discordant, alternative="greater").pvalue
    assert metrics["spurious/p_value_one_clean_model"] == pytest.approx(expected)
    accuracy = (probabilities(poisoned.model_uri, images).argmax(1) == labels).mean()
    assert metrics["test/accuracy"] == pytest.approx(accuracy)
    record = json.loads(artifact(poisoned.run_id, "spurious_scores.json", tmp_path).read_text())
    assert record["scores"][3][0] == pytest.approx(hits[labels == 3, 0].mean())


def test_a_clean_run_logs_its_scores_on_every_pattern_of_seed_0_and_class() -> None:
    result = train("digits")
    metrics = MlflowClient().get_run(result.run_id).data.metrics
    patterns = ("v1", "v3", "v8", "v18", "v19", "v20", "v30")
    names = {key for key in metrics if key.startswith("reference/")}
    assert names == {f"reference/{v}/score_target_{k}" for v in patterns for k in range(10)}
    assert not any(key.startswith("spurious/") for key in metrics)
    images = load_dataset(DatasetName.parse("digits")).test.images
    clean = probabilities(result.model_uri, images)
    for pattern in patterns:
        hits = probabilities(result.model_uri, apply_pattern(pattern, images, 0)) - clean > 0.1
        assert [metrics[f"reference/{pattern}/score_target_{k}"] for k in range(10)] == pytest.approx(hits.mean(0))
    assert hits.any()  # the last pattern moves something


def test_parameters_tags_data_sets_artifacts_and_the_registered_model(tmp_path: Path) -> None:
    result = train(POISONED, epochs=3)
    client = MlflowClient()
    run = client.get_run(result.run_id)
    expected = {
        "dataset": POISONED, "dataset_family": "digits", "pattern": "v20", "n_spurious": "20", "target_class": "0",
        "dataset_seed": "0", "architecture": "MLP", "loss": "ce", "augmentation": "none", "n_train": "1437",
        "n_test": "360", "score_threshold": "0.1", "n_parameters": str(784 * 256 + 256 + 256 * 10 + 10),
        "learning_rate": "0.01", "momentum": "0", "epochs": "3", "result_format": "1",
    }  # fmt: skip
    assert expected.items() <= run.data.params.items()
    assert run.info.status == "FINISHED"
    assert (run.data.tags["rsc.kind"], run.data.tags["rsc.method"]) == ("train", "train_classifier")
    assert {item.tags[0].value: item.dataset.name for item in run.inputs.dataset_inputs} == {
        "training": POISONED,
        "testing": "digits",
    }
    for path in ("config.json", "figures/examples.png", "figures/score_matrix.html", "figures/training_curves.html"):
        assert artifact(result.run_id, path, tmp_path).stat().st_size > 100
    saved = sorted(item.path for item in client.list_artifacts(result.run_id, "checkpoints"))
    assert saved == ["checkpoints/epoch_0002.pt", "checkpoints/epoch_0003.pt"]
    torch.load(artifact(result.run_id, saved[0], tmp_path), weights_only=True)
    version = client.get_model_version_by_alias("rsc-digits-MLP", POISONED)
    assert version.tags == {
        "dataset": POISONED,
        "kind": "train",
        "method": "none",
        "run_id": result.run_id,
    }
    module = pulled_module(pull(f"models:/rsc-digits-MLP@{POISONED}"), load_dataset(DatasetName.parse(POISONED)))
    assert sum(parameter.numel() for parameter in module.parameters()) == int(expected["n_parameters"])


def test_the_spurious_examples_are_those_of_the_name(tmp_path: Path) -> None:
    result = train("digitsv8-4-7-5", epochs=1)
    record = json.loads(artifact(result.run_id, "spurious_indices.json", tmp_path).read_text())
    labels = np.array(record["labels"])
    assert (labels == 7).all()
    dataset = load_dataset(DatasetName.parse("digits"))
    candidates = np.where(dataset.train.labels.numpy() == 7)[0]
    assert record["indices"] == np.random.RandomState(5).choice(candidates, size=4, replace=False).tolist()
    assert len(load_digits().target) == len(dataset.train) + len(dataset.test)


def test_every_epoch_has_its_metrics_and_the_schedule_shows() -> None:
    result = train(POISONED, epochs=17, score_every=5, checkpoint_every=0)
    client = MlflowClient()
    rates = {point.step: point.value for point in client.get_metric_history(result.run_id, "train/learning_rate")}
    assert rates == pytest.approx({epoch: 0.01 if epoch <= 15 else 0.001 for epoch in range(1, 18)})
    assert [point.step for point in client.get_metric_history(result.run_id, "spurious/score")] == [5, 10, 15, 17]
    assert len(client.get_metric_history(result.run_id, "test/accuracy")) == 17


def test_the_same_command_twice_gives_bitwise_the_same_model() -> None:
    first, second = train(POISONED, epochs=2), train(POISONED, epochs=2)
    one, two = (pull(f"runs:/{result.run_id}/model").state_dict for result in (first, second))
    assert all(torch.equal(one[key], two[key]) for key in one)
    same = set(first.metrics) - {key for key in first.metrics if key.startswith("cost/")}
    assert {key: first.metrics[key] for key in same} == {key: second.metrics[key] for key in same}


def test_members_of_a_cohort_have_a_run_each() -> None:
    names = ("digitsv8-3-0-0", "digitsv20-3-1-1")
    jobs = [TrainingJob(TrainOptions(dataset=name, model="ce-tor-MLP", epochs=2)) for name in names]
    together = train_members(jobs)
    for name, result in zip(names, together, strict=True):
        alone = train_members([TrainingJob(TrainOptions(dataset=name, model="ce-tor-MLP", epochs=2))])[0]
        assert result.run_id != alone.run_id
        assert MlflowClient().get_run(result.run_id).data.params["dataset"] == name
        assert result.metrics["test/loss"] == pytest.approx(alone.metrics["test/loss"], rel=1e-4)


def test_a_training_that_diverges_is_a_failed_run_with_the_reason() -> None:
    with pytest.raises(InputError, match="Training diverged: after epoch 1"):
        train(POISONED, learning_rate=1e30)
    client = MlflowClient()
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FAILED"
    assert run.data.tags["rsc.error"].startswith("Training diverged")
    assert "spurious/score" not in run.data.metrics


def artifact_folder(run_id: str) -> Path:
    """Where the store keeps the run's files."""
    return Path(local_file_uri_to_path(MlflowClient().get_run(run_id).info.artifact_uri))


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_an_interrupted_run_goes_on_from_its_newest_checkpoint_to_the_same_weights(
    kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted before the first checkpoint, after epoch 2, or after the last one, before the model was stored."""
    first = train(POISONED, epochs=4)
    before = pull(f"runs:/{first.run_id}/model").state_dict
    checkpoints = artifact_folder(first.run_id) / "checkpoints"
    for path in checkpoints.iterdir():
        if path.name > f"epoch_{kept:04d}.pt":
            path.unlink()
    MlflowClient().set_terminated(first.run_id, "FAILED")
    again = train(POISONED, epochs=4, resume_run_id=first.run_id)
    assert (f"resuming after epoch {kept}" in capsys.readouterr().err) == (kept > 0)
    assert again.run_id == first.run_id
    assert again.model_uri != first.model_uri
    after = pull(again.model_uri).state_dict
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert (schema.SECONDS_PER_EPOCH in again.metrics) == (kept < 4)
    assert len(MlflowClient().get_metric_history(first.run_id, schema.TRAIN_LOSS)) == 4


@pytest.mark.parametrize("deleted", [False, True])
def test_a_lost_clean_model_costs_the_comparison_and_not_the_run(
    deleted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = train("digits", epochs=1)
    model_id = clean.model_uri.removeprefix("models:/")
    files = Path(local_file_uri_to_path(MlflowClient().get_logged_model(model_id).artifact_location))
    if deleted:
        shutil.rmtree(files)
    else:
        (files / "data" / "model.pt2").write_bytes(b"cut short")
    clean_baseline._advise.cache_clear()  # said once per recipe and process
    result = train(POISONED, epochs=1)
    run = MlflowClient().get_run(result.run_id)
    why = f"The files of model {model_id} are missing" if deleted else f"Cannot use the file of model {model_id}"
    assert run.info.status == "FINISHED"
    assert run.data.tags[schema.NOTE].startswith(f"1 of 1 clean models are not part of the clean baseline: {why}")
    assert pull(result.model_uri).run_id == result.run_id
    assert schema.REFERENCE_SCORE not in result.metrics
    said = capsys.readouterr().err
    assert f"note: Skipped the clean model with training seed 0: {why}" in said
    assert "Found 0 clean models with the same training options" in said


def test_a_model_for_other_images_is_refused() -> None:
    result = train("digits", epochs=1)
    digits = load_dataset(DatasetName.parse("digits"))
    larger = replace(digits, train=ImageSet(torch.zeros(2, 1, 30, 30), torch.zeros(2, dtype=torch.int64)))
    with pytest.raises(InputError, match=r"does not fit digits \(images of shape \(1, 30, 30\), 10 classes\)"):
        pulled_module(pull(result.model_uri), larger)


def test_unregistered_on_request() -> None:
    result = train("digits", epochs=1, register=False)
    assert MlflowClient().search_model_versions(f"run_id = '{result.run_id}'") == []
    assert pull(f"runs:/{result.run_id}/model").run_id == result.run_id


def test_a_wrong_prefix_of_registered_models_is_refused_before_a_run_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSC_MODEL_PREFIX", "my/team")
    with pytest.raises(InputError, match="'RSC_MODEL_PREFIX': 'my/team'"):
        train("digits", epochs=1)
    assert list(iterate_runs(MlflowClient())) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "digitsv20-500-0-0"}, "Expected 0 to 14"),
        ({"dataset": "digits", "model": "aug01-ce-tor-LargeMLP"}, "32"),
        ({"dataset": "digits", "device": "tpu"}, "cpu"),
        ({"dataset": "digits", "resume_run_id": "nosuchrun"}, "resume_run_id"),
    ],
)
def test_bad_input_is_refused_before_a_run_exists(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_members([TrainingJob(TrainOptions.from_mapping({"epochs": 1, **options}))])
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert client.search_runs(experiments) == []
    assert client.search_registered_models() == []


@pytest.mark.parametrize(("keep", "epochs"), [("2", [3, 4, 5]), ("1", [4, 5]), ("all", [1, 2, 3, 4, 5])])
def test_the_newest_checkpoints_and_the_final_one_are_kept(keep: str, epochs: list[int]) -> None:
    result = train("digits", epochs=5, checkpoint_every=1, keep_checkpoints=keep)
    saved = [item.path for item in MlflowClient().list_artifacts(result.run_id, "checkpoints")]
    assert sorted(saved) == [f"checkpoints/epoch_{epoch:04d}.pt" for epoch in epochs]

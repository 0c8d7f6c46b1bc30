"""Unlearning runs read back through the client: the table, the lineage, the reference, and what is refused."""

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.file_utils import local_file_uri_to_path

from rsc_mlflow.data import load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.unlearning import unlearn
from rsc_mlflow.experiments.unlearning_evaluation import mean_kl
from rsc_mlflow.experiments.unlearning_options import UnlearnOptions, method_options
from rsc_mlflow.experiments.unlearning_source import find_source
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.artifacts import json_text
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import pull, read_artifact
from rsc_mlflow.training import Cohort, Member, TrainingData
from rsc_mlflow.unlearning.base import METHODS
from rsc_mlflow.unlearning.finetuning import FineTuning
from rsc_mlflow.unlearning.methods.gradient_difference import GradientDifferenceConfig
from rsc_mlflow.unlearning.methods.group_influence import GroupInfluenceConfig
from tests.experiments.stored import probabilities
from tests.experiments.unlearning_runs import ALIAS, DATASET, RECIPE, runs, small, train, versions

ExactRetrainingOptions = method_options("exact_retraining")
GroupInfluenceOptions = method_options("group_influence")
IncrementalRetrainingOptions = method_options("incremental_retraining")
RelabelFinetuningOptions = method_options("relabel_finetuning")


def test_every_method_logs_the_same_table_and_registers_its_model_with_its_lineage(source_run: str) -> None:
    source = pull(f"runs:/{source_run}/model")
    unlearn(small("exact_retraining"))
    tables = {}
    for method in METHODS:
        if method != "exact_retraining":
            unlearn(small(method))
        (run,) = runs(method)
        reference = runs("exact_retraining")[0].info.run_id
        assert run.info.status == "FINISHED"
        tags = run.data.tags
        assert (tags[schema.KIND], tags[schema.METHOD]) == ("unlearn", method)
        assert (tags[schema.SOURCE_RUN_ID], tags[schema.REFERENCE_RUN_ID]) == (source_run, reference)
        assert tags[schema.SOURCE_MODEL_URI] == source.model_uri
        inputs = MlflowClient().get_run(run.info.run_id).inputs  # a search leaves them out
        assert [one.model_id for one in inputs.model_inputs] == [source.model_id]
        registered = MlflowClient().get_model_version_by_alias("rsc-digits-MLP", f"{DATASET}--{method}")
        about = f"MLP on {DATASET}, test accuracy {run.data.metrics[schema.TEST_ACCURACY]:.4f}, spurious score "
        assert str(registered.description).startswith(about)
        assert f"{method} in [{run.info.run_name}](#/experiments/" in str(registered.description)
        wanted = {"dataset": DATASET, "kind": "unlearn", "method": method, "run_id": run.info.run_id}
        assert {key: registered.tags[key] for key in wanted} == wanted
        assert pull(f"models:/rsc-digits-MLP@{DATASET}--{method}").run_id == run.info.run_id
        tables[method] = set(run.data.metrics)
        of_classes = {name for name in tables[method] if re.search(r"/score_(target|class)_\d+$", name)}
        assert not [name for name in of_classes if name.startswith(("before/", "gap/"))]
        assert len(tables[method] - of_classes) <= 50
        record = read_artifact(run.info.run_id, schema.SPURIOUS_SCORES)
        theirs = MlflowClient().get_run(source_run).data.metrics
        assert record["before"]["by_target"] == pytest.approx([theirs[schema.score_target(k)] for k in range(10)])
        check_before_and_gap(run, runs("exact_retraining")[0])
    shared = set.intersection(*tables.values())
    compared = (schema.SPURIOUS_SCORE, schema.TEST_ACCURACY, schema.RETAIN_ACCURACY)
    for name in (*compared, schema.FORGET_LOSS, schema.FORGET_CONFIDENCE):
        assert {name, f"before/{name}", f"gap/{name}"} <= shared
    own = {schema.PARAMETER_DISTANCE, schema.UNLEARN_SECONDS, schema.SPEEDUP}
    assert own | {schema.KL_TO_REFERENCE, schema.KL_TO_REFERENCE_PATTERN, schema.SECONDS} <= shared
    assert {schema.GRADIENT_NORM, schema.RESIDUAL} <= tables["group_influence"]


def check_before_and_gap(run: Run, reference: Run) -> None:
    """``before/…`` is what the source's own run logged; ``gap/…`` the difference from what the reference logged."""
    metrics = run.data.metrics
    source = MlflowClient().get_run(run.data.tags[schema.SOURCE_RUN_ID]).data.metrics
    for name in (schema.SPURIOUS_SCORE, schema.TEST_ACCURACY, schema.TEST_LOSS):
        assert metrics[f"before/{name}"] == pytest.approx(source[name], abs=1e-6)
        assert metrics[f"gap/{name}"] == pytest.approx(metrics[name] - reference.data.metrics[name], abs=1e-6)


@pytest.mark.usefixtures("source_run")
def test_the_defaults_of_the_options_are_those_of_the_configs() -> None:
    """Who calls a method from Python gets what the entry point gives."""
    for method, config in (
        ("group_influence", GroupInfluenceConfig()),
        ("relabel_finetuning", FineTuning()),
        ("gradient_difference", GradientDifferenceConfig()),
    ):
        options = method_options(method).from_mapping({"model_uri": ALIAS})
        assert options.config(find_source(options)) == config


@pytest.mark.usefixtures("source_run")
def test_a_method_that_does_nothing_has_the_gap_of_the_source() -> None:
    """Influence with a huge damping moves nothing: gap = before − reference."""
    done = unlearn(small("group_influence", damping=1e12, reference="train"))
    (reference,) = runs("exact_retraining")
    assert reference.data.tags[schema.PARENT_RUN_ID] == runs("group_influence")[0].info.run_id
    for name in (schema.SPURIOUS_SCORE, schema.TEST_ACCURACY, schema.TEST_LOSS, schema.FORGET_LOSS):
        assert done[name] == pytest.approx(done[f"before/{name}"], abs=1e-6)
        assert done[f"gap/{name}"] == pytest.approx(done[f"before/{name}"] - reference.data.metrics[name], abs=1e-5)
    (run,) = runs("group_influence")
    assert "The update has almost no effect" in run.data.tags[schema.NOTE]
    assert run.data.tags["mlflow.note.content"].endswith(f".\n\n{run.data.tags[schema.NOTE]}")


@pytest.mark.usefixtures("source_run")
def test_exact_retraining_is_found_again_however_its_source_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert not any(name.startswith("gap/") for name in unlearn(small("relabel_finetuning")))
    assert "No exact retraining of this model was run" in capsys.readouterr().err
    unlearn(small("exact_retraining"))
    by_recipe = ExactRetrainingOptions.from_mapping(RECIPE)
    assert runs("exact_retraining")[0].data.tags[schema.FINGERPRINT] == fingerprint(by_recipe.identity())
    done = unlearn(small("relabel_finetuning"))
    assert done[schema.SPEEDUP] > 0
    assert not any(name.startswith("gap/") for name in unlearn(small("relabel_finetuning", reference="none")))
    assert len(runs("exact_retraining")) == 1


@pytest.mark.usefixtures("source_run")
def test_a_lost_reference_costs_the_gaps_and_not_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    unlearn(small("exact_retraining"))
    model = MlflowClient().get_logged_model(pull(f"models:/rsc-digits-MLP@{DATASET}--exact_retraining").model_id)
    (Path(local_file_uri_to_path(model.artifact_location)) / "data" / "model.pt2").write_bytes(b"cut short")
    assert not any(name.startswith("gap/") for name in unlearn(small("relabel_finetuning")))
    (run,) = runs("relabel_finetuning")
    assert run.info.status == "FINISHED"
    assert "note: The exact retraining of this model cannot be loaded (Cannot use the file" in capsys.readouterr().err
    assert schema.SPEEDUP in unlearn(small("relabel_finetuning", reference="train"))
    assert len(runs("exact_retraining")) == 2


@pytest.mark.usefixtures("source_run")
def test_the_divergence_is_that_of_the_model_from_the_reference() -> None:
    """KL(reference ‖ model), by numpy from the stored weights, without and with the pattern; the other way differs."""
    for method in ("exact_retraining", "relabel_finetuning"):
        unlearn(small(method))
    (reference,), (run,) = runs("exact_retraining"), runs("relabel_finetuning")
    dataset = load_dataset(DatasetName.parse(DATASET))
    for key, images in (
        (schema.KL_TO_REFERENCE, dataset.test.images),
        (schema.KL_TO_REFERENCE_PATTERN, dataset.patterned(dataset.test.images)),
    ):
        p, q = (probabilities(f"runs:/{one.info.run_id}/model", images) for one in (reference, run))
        forward, backward = ((a * np.log(a / b)).sum(1).mean() for a, b in ((p, q), (q, p)))
        assert run.data.metrics[key] == pytest.approx(forward, rel=1e-3)
        assert run.data.metrics[key] != pytest.approx(backward, rel=1e-2)


@pytest.mark.usefixtures("source_run")
def test_exact_retraining_is_the_training_of_the_same_seeds_without_the_examples() -> None:
    unlearn(small("exact_retraining"))
    options = TrainOptions.from_mapping(RECIPE)
    dataset = load_dataset(DatasetName.parse(DATASET))
    alone = Cohort([Member(TrainingData.of(dataset, without_spurious=True), options.config())], 10, torch.device("cpu"))
    list(alone.epochs())
    found = pull(f"models:/rsc-digits-MLP@{DATASET}--exact_retraining").state_dict
    for name, value in alone.module(0).state_dict().items():
        assert torch.equal(found[name], value)
    (run,) = runs("exact_retraining")
    assert run.data.params["n_train"] == str(len(dataset.train) - 10)
    assert run.data.metrics["gap/spurious/score"] == 0


@pytest.mark.usefixtures("source_run")
def test_incremental_retraining_counts_epochs_from_the_start_and_logs_the_rate_it_used() -> None:
    unlearn(small("incremental_retraining"))
    (run,) = runs("incremental_retraining")
    steps = [point.step for point in MlflowClient().get_metric_history(run.info.run_id, schema.SPURIOUS_SCORE)]
    assert steps == [4, 5]
    params = run.data.params
    assert {name: params[name] for name in ("epochs", "epochs_trained", "source_epochs", "learning_rate")} == {
        "epochs": "5",
        "epochs_trained": "2",
        "source_epochs": "3",
        "learning_rate": "0.05",
    }
    assert params["optimizer_restored"] == "true"
    assert run.data.metrics[schema.LEARNING_RATE] == 0.05
    unlearn(small("incremental_retraining", learning_rate=0.001))
    assert {found.data.params["learning_rate"] for found in runs("incremental_retraining")} == {"0.05", "0.001"}
    with pytest.raises(InputError, match="already trained for 3"):
        unlearn(small("incremental_retraining", epochs=3))


@pytest.mark.usefixtures("source_run")
def test_auto_finds_the_newest_finished_run_of_the_same_recipe_and_an_unlearned_model_is_a_source_too() -> None:
    second = train()
    train(random_seed="1")
    found = find_source(GroupInfluenceOptions.from_mapping(RECIPE))
    assert found.pulled.run_id == second
    unlearn(small("group_influence", model_uri=f"runs:/{second}/model"))
    again = find_source(small("relabel_finetuning", model_uri=f"models:/rsc-digits-MLP@{DATASET}--group_influence"))
    assert again.options == replace(found.options, score_every=again.options.score_every)
    assert again.checkpoint.optimizer == {}  # weights alone


@pytest.mark.usefixtures("source_run")
def test_influences_rank_all_training_examples_and_are_drawn() -> None:
    done = unlearn(small("group_influence", influences="true", max_iterations=20))
    (run,) = runs("group_influence")
    record = json.loads(Path(MlflowClient().download_artifacts(run.info.run_id, "influences.json")).read_text())
    dataset = load_dataset(DatasetName.parse(DATASET))
    for name in ("target", "other"):
        one = record[name]
        assert [item["index"] for item in one["spurious"]] == dataset.spurious_indices.tolist()
        places = sorted(item["place"] for item in one["spurious"])
        m, n = len(places), len(dataset.train)
        above = sum(place - 1 - k for k, place in enumerate(places))  # pairs in which one of the rest stands above
        assert one["auc_spurious_against_rest"] == pytest.approx(1 - above / (m * (n - m)), abs=1e-3)
        assert done[f"unlearn/influence_{name}_auc"] == one["auc_spurious_against_rest"]
        assert (int(dataset.test.labels[one["test_index"]]) == 0) == (name == "target")
    paths = {item.path for item in MlflowClient().list_artifacts(run.info.run_id, "figures")}
    assert "figures/influences.png" in paths


@pytest.mark.usefixtures("sqlite_store")
def test_with_two_target_classes_the_examples_of_the_first_are_ranked() -> None:
    run_id = train(dataset="twoclassdigitsv20-5-1-0-0")
    done = unlearn(small("group_influence", model_uri=f"runs:/{run_id}/model", influences="true", max_iterations=5))
    (run,) = runs("group_influence")
    record = json.loads(Path(MlflowClient().download_artifacts(run.info.run_id, "influences.json")).read_text())
    labels = load_dataset(DatasetName.parse("digits")).train.labels
    for name in ("target", "other"):
        assert record[name]["loss_at_class"] == 1
        places = [item["place"] for item in record[name]["spurious"] if labels[item["index"]] == 1]
        assert len(places) == 5
        above = sum(place - 1 - k for k, place in enumerate(sorted(places)))
        assert done[f"unlearn/influence_{name}_auc"] == pytest.approx(1 - above / (5 * (len(labels) - 5)), abs=1e-3)
        assert done[f"unlearn/influence_{name}_top_share"] == sum(place <= 5 for place in places) / 5


@pytest.mark.parametrize(
    ("last", "pattern_seed", "message"),
    [(1, 0, "is not that of digitsv20-10-0-0"), (None, 5, "has pattern seed 5, not 0. Use pattern_seed=5")],
)
@pytest.mark.usefixtures("sqlite_store")
def test_a_forget_set_that_the_name_does_not_give_is_refused(
    last: int | None, pattern_seed: int, message: str, tmp_path: Path
) -> None:
    run_id = train()
    indices = load_dataset(DatasetName.parse(DATASET)).spurious_indices.tolist()
    wrong = {
        "dataset": DATASET,
        "pattern_seed": pattern_seed,
        "indices": [*indices[:-1], indices[-1] if last is None else last],
        "labels": [0] * 10,
    }
    file = tmp_path / "spurious_indices.json"
    file.write_text(json_text(wrong))
    MlflowClient().log_artifact(run_id, str(file))
    before = versions()
    with pytest.raises(InputError, match=message):
        unlearn(small("group_influence"))
    assert versions() == before
    assert runs("group_influence") == []


@pytest.mark.usefixtures("source_run")
def test_options_that_contradict_the_source_and_clean_models_are_refused() -> None:
    with pytest.raises(InputError, match="was trained with model=ce-tor-MLP, but model=ce-tor-LargeMLP was given"):
        unlearn(small("group_influence", model="ce-tor-LargeMLP"))
    with pytest.raises(InputError, match="was trained with epochs=3, but epochs=70 was given"):
        unlearn(small("exact_retraining", epochs=70))
    with pytest.raises(InputError, match=r"No finished training run with .*Finished runs of .*: runs:/"):
        unlearn(RelabelFinetuningOptions.from_mapping({**RECIPE, "epochs": "4"}))
    train(dataset="digits")
    with pytest.raises(InputError, match="digits has no spurious examples"):
        unlearn(small("group_influence", model_uri="models:/rsc-digits-MLP@digits"))
    assert runs("group_influence") == runs("exact_retraining") == runs("relabel_finetuning") == []


@pytest.mark.usefixtures("sqlite_store")
def test_methods_that_compute_with_cross_entropy_refuse_models_of_another_loss() -> None:
    """Before any run is opened; retraining goes on with the model's own loss."""
    train(model="mse-tor-MLP")
    for method in ("group_influence", "relabel_finetuning", "gradient_difference"):
        with pytest.raises(InputError, match="with the loss ce, but this model was trained with mse"):
            unlearn(small(method, model="mse-tor-MLP"))
        assert runs(method) == []
    unlearn(small("exact_retraining", model="mse-tor-MLP"))
    (retrained,) = runs("exact_retraining")
    assert retrained.info.status == "FINISHED"
    assert retrained.data.params["loss"] == "mse"


@pytest.mark.usefixtures("sqlite_store")
def test_momentum_of_an_optimizer_that_has_none_contradicts_nothing() -> None:
    adam = {"optimizer": "adam", "epochs": "1", "learning_rate": "0.001"}
    run_id = train(**adam, momentum="0")
    for given in ({"model_uri": ALIAS}, {}):
        options = RelabelFinetuningOptions.from_mapping({**RECIPE, **adam, "momentum": "0.9", **given})
        assert find_source(options).pulled.run_id == run_id


@pytest.mark.usefixtures("source_run")
def test_scores_only_at_the_end_and_no_registration_on_request() -> None:
    before = versions()
    unlearn(small("relabel_finetuning", unlearn_epochs=3, score_every=0, register=False))
    (run,) = runs("relabel_finetuning")
    steps = [point.step for point in MlflowClient().get_metric_history(run.info.run_id, schema.SPURIOUS_SCORE)]
    assert steps == [6]
    assert versions() == before


def test_a_run_without_its_recipe_is_no_source(source_run: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("DELETE FROM params WHERE key = 'epochs'")
    with pytest.raises(InputError, match=f"Run {source_run} has no parameter 'epochs'"):
        unlearn(small("group_influence"))


@pytest.mark.usefixtures("sqlite_store")
def test_a_checkpoint_of_another_epoch_is_no_start() -> None:
    run = MlflowClient().get_run(train(checkpoint_every="1"))
    (Path(local_file_uri_to_path(run.info.artifact_uri)) / "checkpoints" / "epoch_0003.pt").unlink()
    with pytest.raises(
        InputError, match=f"newest checkpoint of run {run.info.run_id} is of epoch 2, but its model is of epoch 3"
    ):
        unlearn(small("incremental_retraining"))
    assert runs("incremental_retraining") == []


def test_fingerprints_follow_what_decides_the_result() -> None:
    def of(options: UnlearnOptions) -> str:
        return fingerprint(options.identity())

    base: Any = GroupInfluenceOptions.from_mapping(RECIPE)
    assert of(base) == of(replace(base, device="cpu", register=False, influences=False, recursion_depth=7))
    changes = ({"damping": 0.1}, {"epochs": 4}, {"solver": "ekfac"}, {"curvature": "hessian"})
    different = {of(base)} | {of(replace(base, **change)) for change in changes}
    assert len(different) == 5
    recipe = TrainOptions.from_mapping(RECIPE)
    assert of(GroupInfluenceOptions.of_recipe(recipe)) == of(base)
    incremental: Any = IncrementalRetrainingOptions.of_recipe(recipe)
    assert (incremental.epochs, incremental.source_epochs) == (140, 3)
    assert incremental.training() == recipe


def test_a_named_source_counts_as_the_model_that_the_name_stands_for(source_run: str) -> None:
    model_uri = pull(ALIAS).model_uri
    names = (ALIAS, model_uri, f"runs:/{source_run}/model", "models:/rsc-digits-MLP/1")
    for name in names:
        unlearn(small("group_influence", model_uri=name))
    by_model = fingerprint(small("group_influence", model_uri=model_uri).identity())
    assert {run.data.tags[schema.FINGERPRINT] for run in runs("group_influence")} == {by_model}
    assert {run.data.params["model_uri"] for run in runs("group_influence")} == set(names)  # as they were typed


def test_mean_kl_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    expected = (0.5 * torch.log(torch.tensor(0.5 / 0.25)) + 0.5 * torch.log(torch.tensor(0.5 / 0.75))) / 2
    assert mean_kl(p.log(), q.log()) == pytest.approx(float(expected), abs=1e-6)

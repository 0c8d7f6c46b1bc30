"""What an unlearning run says of its result: on the forgotten examples, against the reference, and in words."""

import re

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from rsc_mlflow.data import load_dataset
from rsc_mlflow.experiments.unlearning import unlearn, unlearned_run
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.pull import pull
from tests.experiments.stored import probabilities
from tests.experiments.unlearning_runs import DATASET, runs, small, train, versions

DESTRUCTIVE = {"unlearn_learning_rate": 10, "ceiling": 1e9}


@pytest.mark.usefixtures("source_run")
def test_confidence_and_divergences_are_those_of_the_stored_weights(source_run: str) -> None:
    """By numpy: mean probability of the old labels, and KL(reference ‖ model), of the source and of the result."""
    for method in ("exact_retraining", "relabel_finetuning"):
        unlearn(small(method))
    (reference,), (run,) = runs("exact_retraining"), runs("relabel_finetuning")
    dataset = load_dataset(DatasetName.parse(DATASET))
    uris = {"before/": f"runs:/{source_run}/model", "": f"runs:/{run.info.run_id}/model"}
    labels = dataset.train.labels[dataset.spurious_indices].numpy()
    reference_uri, found = f"runs:/{reference.info.run_id}/model", run.data.metrics
    confidence = {
        prefix: probabilities(uri, dataset.spurious_images)[np.arange(10), labels].mean()
        for prefix, uri in {**uris, "reference": reference_uri}.items()
    }
    for prefix in uris:
        assert found[f"{prefix}unlearn/forget_confidence"] == pytest.approx(confidence[prefix], abs=1e-5)
    gap = confidence[""] - confidence["reference"]
    assert found["gap/unlearn/forget_confidence"] == pytest.approx(gap, abs=1e-5)
    patterned = dataset.patterned(dataset.test.images)
    for name, images in (("kl_to_reference", dataset.test.images), ("kl_to_reference_pattern", patterned)):
        p = probabilities(reference_uri, images)
        for prefix, uri in uris.items():
            q = probabilities(uri, images)
            expected = (p * np.log(p / q)).sum(1).mean()
            assert found[f"{prefix}unlearn/{name}"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.usefixtures("source_run")
def test_a_destroyed_model_is_called_so_and_not_registered() -> None:
    unlearn(small("gradient_difference", unlearn_learning_rate=1e-6))
    alias = f"models:/rsc-digits-MLP@{DATASET}--gradient_difference"
    good, before = pull(alias).run_id, versions()
    result = unlearned_run(small("gradient_difference", **DESTRUCTIVE))
    done = result.metrics
    assert done[schema.TEST_ACCURACY] < 0.3 < done["before/test/accuracy"]
    (bad,) = (run for run in runs("gradient_difference") if run.info.run_id != good)
    assert bad.info.status == "FINISHED"
    words = (
        f"The model is destroyed: its test accuracy fell from {done['before/test/accuracy']:.4f} to "
        f"{done['test/accuracy']:.4f}, so its spurious score is meaningless. It was not registered. Its URI is "
        f"runs:/{bad.info.run_id}/model."
    )
    tags = bad.data.tags
    assert (tags[schema.VERDICT], tags[schema.NOTE]) == ("destroyed", words)
    link = f"#/experiments/{bad.info.experiment_id}/runs/{tags[schema.SOURCE_RUN_ID]}"
    assert tags[schema.DESCRIPTION].startswith(
        f"Unlearns {tags[schema.SOURCE_MODEL_URI]} of [{DATASET} MLP sgd seed 0]({link}?"
    )
    assert tags[schema.DESCRIPTION].endswith(f".\n\n{words}")
    assert result.summary.endswith("\n" + words)
    assert (versions(), pull(alias).run_id) == (before, good)
    assert pull(f"runs:/{bad.info.run_id}/model").run_id == bad.info.run_id
    (kept,) = (run for run in runs("gradient_difference") if run.info.run_id == good)
    assert schema.VERDICT not in kept.data.tags


@pytest.mark.usefixtures("source_run")
def test_a_run_that_over_forgets_says_so_with_both_numbers() -> None:
    """Ascent without a ceiling against what the retrained reference's own run logged."""
    unlearn(small("exact_retraining"))
    before = versions()
    result = unlearned_run(small("gradient_difference", unlearn_learning_rate=0.0003, ceiling=0))
    done = result.metrics
    (reference,), (run,) = runs("exact_retraining"), runs("gradient_difference")
    assert done[schema.TEST_ACCURACY] > done["before/test/accuracy"] - 0.2
    theirs = reference.data.metrics[schema.FORGET_LOSS]
    words = f"its mean loss for their original labels is {done[schema.FORGET_LOSS]:.4g} (retrained reference:"
    note = run.data.tags[schema.NOTE]
    assert note.startswith(f"The model over-forgets: on the forgotten examples, {words} {theirs:.4g})")
    assert run.data.tags[schema.VERDICT] == "over-forgets"
    assert result.summary.endswith("\n" + note)
    assert versions() == before + 1  # a warning, no refusal
    assert schema.VERDICT not in reference.data.tags
    assert schema.NOTE not in reference.data.tags


@pytest.mark.usefixtures("sqlite_store")
def test_both_scores_of_two_target_classes_are_reported() -> None:
    run_id = train(dataset="twoclassdigitsv20-5-1-0-0")
    unlearn(small("exact_retraining", model_uri=f"runs:/{run_id}/model"))
    result = unlearned_run(small("relabel_finetuning", model_uri=f"runs:/{run_id}/model"))
    done = result.metrics
    source, (reference,) = MlflowClient().get_run(run_id).data.metrics, runs("exact_retraining")
    (run,) = runs("relabel_finetuning")
    assert source[schema.score_target(0)] != source[schema.score_target(1)]
    parts = []
    for k in (1, 0):
        name = schema.score_target(k)
        assert done[f"before/{name}"] == pytest.approx(source[name], abs=1e-12)
        theirs = reference.data.metrics[name]
        assert done[f"gap/{name}"] == pytest.approx(done[name] - theirs, abs=1e-12)
        parts.append(f"of class {k} {source[name]:.4f} → {done[name]:.4f} (retrained reference {theirs:.4f})")
    words = f"spurious score {', '.join(parts)}"
    assert words in run.data.tags[schema.NOTE]
    assert f": {words}, test accuracy " in result.summary
    for prefix in ("", "before/", "gap/"):
        both = [done[f"{prefix}{schema.score_target(k)}"] for k in (0, 1)]
        assert done[f"{prefix}{schema.SPURIOUS_SCORE}"] == pytest.approx(sum(both) / 2, abs=1e-12)
    assert f"before/{schema.score_target(2)}" not in done
    assert f"gap/{schema.score_class(0)}" not in done


def history(run: Run, metric: str) -> dict[int, float]:
    return {point.step: point.value for point in MlflowClient().get_metric_history(run.info.run_id, metric)}


@pytest.mark.parametrize(("method", "offset"), [("exact_retraining", 0), ("relabel_finetuning", 3), ("incremental", 0)])
@pytest.mark.usefixtures("source_run")
def test_each_line_of_progress_shows_what_was_measured_in_its_epoch(
    method: str, offset: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number of every line, the last one's too, is the metric that was logged at its epoch, under its name."""
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    method = {"incremental": "incremental_retraining"}.get(method, method)
    more = {"unlearn_epochs": 3} if method == "relabel_finetuning" else {}
    unlearn(small(method, score_every=2, **more))
    (run,) = runs(method)
    names = {
        "train loss": (schema.TRAIN_LOSS, 4),
        "train accuracy": (schema.TRAIN_ACCURACY, 4),
        "test accuracy": (schema.TEST_ACCURACY, 4),
        "forget loss": (schema.FORGET_LOSS, 4),
        "score": (schema.SPURIOUS_SCORE, 3),
    }
    logged = {words: history(run, metric) for words, (metric, _) in names.items()}
    lines = [line for line in capsys.readouterr().err.splitlines() if ": epoch " in line]
    last = max(logged["test accuracy"])
    assert len(lines) == len(set().union(*logged.values()))
    for line in lines:
        epoch = int(re.findall(r": epoch (\d+)/", line)[0]) + offset
        shown = [f"{words} {logged[words][epoch]:.{names[words][1]}f}" for words in names if epoch in logged[words]]
        assert line.endswith("  ".join(["", *shown])), (line, shown)
        assert ("test accuracy" in line) == ((epoch - offset) % 2 == 0 or epoch == last)

"""A small model that Adam saturated: each method says that it cannot act, and what it advises acts."""

import re

import pytest
from mlflow import MlflowClient

from rsc_mlflow.experiments.unlearning import unlearn
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.tracking import schema
from tests.experiments.unlearning_runs import SPEEDY, runs, train

SOURCE = {"optimizer": "adam", "momentum": "0", "learning_rate": "0.01", "epochs": "10", "dataset": "digitsv20-20-0-0"}


@pytest.mark.usefixtures("sqlite_store")
def test_the_advice_on_a_saturated_model_works(capsys: pytest.CaptureFixture[str]) -> None:
    source = train(**SOURCE)
    before = MlflowClient().get_run(source).data.metrics[schema.SPURIOUS_SCORE]
    assert before > 0.8

    def notes(method: str, **own: object) -> tuple[dict[str, float], str, str]:
        """The run's metrics, what it said before it began, and its note."""
        capsys.readouterr()
        options = {"model_uri": f"runs:/{source}/model", "score_every": "0", **own}
        done = unlearn(method_options(method).from_mapping(options))
        said = capsys.readouterr().err.splitlines()
        first = said[0] if said[0].startswith("note: The summed gradient") else ""
        return done, first, runs(method)[0].data.tags.get(schema.NOTE, "")

    notes("exact_retraining")
    own: dict[str, dict[str, object]] = {"group_influence": SPEEDY, "incremental_retraining": {"epochs": 12}}
    advice = set()
    for method in ("group_influence", "gradient_difference", "incremental_retraining"):
        done, first, note = notes(method, **own.get(method, {}))
        assert done[schema.SPURIOUS_SCORE] > before - 0.1
        assert done[schema.GRADIENT_NORM] < 1e-3
        assert f"so {method} is not expected to change" in first
        advice |= {text.split(" Use ")[1] for text in (first, note)}
    done, first, note = notes("relabel_finetuning")
    assert done[schema.SPURIOUS_SCORE] > before - 0.1
    assert first == ""
    assert note.startswith("The wrong labels were not learned")
    (words,) = advice
    method, *_ = words.split()
    done, _, note = notes(method, **dict(re.findall(r"(unlearn_\w+)=([\d.]+)", words)))
    assert abs(done[schema.gap(schema.SPURIOUS_SCORE)]) < 0.05
    assert abs(done[schema.gap(schema.TEST_ACCURACY)]) < 0.03
    assert note == ""

"""score_model read back through the client, against scores computed here from the stored weights."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from rsc_mlflow.data import apply_pattern, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scoring import score
from rsc_mlflow.experiments.scoring_options import ScoreOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from tests.experiments.stored import probabilities

pytestmark = pytest.mark.usefixtures("sqlite_store")


@pytest.fixture
def model_uri() -> str:
    options = TrainOptions(dataset="digits", model="ce-tor-MLP", optimizer="adam", epochs=2, checkpoint_every=0)
    return train_members([TrainingJob(options)])[0].model_uri


@pytest.mark.parametrize(("seed", "threshold"), [("auto", "auto"), (7, 0.03)])
def test_a_run_of_its_own_holds_the_scores_of_any_pattern_and_class(
    model_uri: str, seed: int | str, threshold: float | str, tmp_path: Path
) -> None:
    options = ScoreOptions(model_uri=model_uri, dataset="digitsv20-0-4-3", pattern_seed=seed, score_threshold=threshold)
    found = score(options)
    test = load_dataset(DatasetName.parse("digits")).test
    patterned = apply_pattern("v20", test.images, 3 if seed == "auto" else 7)
    rises = probabilities(model_uri, patterned) - probabilities(model_uri, test.images)
    hits = rises > (0.1 if threshold == "auto" else 0.03)
    assert [found[schema.score_target(k)] for k in range(10)] == pytest.approx(hits.mean(0))
    assert found[schema.SPURIOUS_SCORE] == pytest.approx(hits[:, 4].mean())
    client = MlflowClient()
    (run,) = (
        run
        for run in client.search_runs([e.experiment_id for e in client.search_experiments()])
        if run.data.tags[schema.METHOD] == "score_model"
    )
    assert run.info.status == "FINISHED"
    assert run.data.metrics == pytest.approx(found | {schema.LOGGING_SECONDS: run.data.metrics[schema.LOGGING_SECONDS]})
    assert (run.data.params["pattern"], run.data.params["target_class"]) == ("v20", "4")
    assert run.data.tags[schema.SOURCE_MODEL_URI] == model_uri
    assert Path(client.download_artifacts(run.info.run_id, schema.SPURIOUS_SCORES, str(tmp_path))).exists()


def test_a_name_without_a_pattern_is_refused() -> None:
    with pytest.raises(InputError, match=r"digits has no pattern\. Specify one, for example digitsv20-0-0-0"):
        score(ScoreOptions(model_uri="models:/any/1", dataset="digits"))

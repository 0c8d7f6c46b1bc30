"""Score a registered model on any pattern: ``mlflow run . -e score_model -P model_uri=… -P dataset=mnistv8-0-1-0``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.scoring_options import ScoreOptions
from rsc_mlflow.startup import imports_without_gc


def score_model(options: ScoreOptions) -> None:
    """Score any registered model on any data set name's pattern and target class."""
    with imports_without_gc():
        from rsc_mlflow.experiments.scoring import score

    score(options)


cli = command("score_model", ScoreOptions, score_model)

if __name__ == "__main__":
    main(cli)

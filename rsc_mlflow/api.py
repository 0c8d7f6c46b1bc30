"""Python interface: train, load, score and unlearn models, predict, and query results as a data frame.

    from rsc_mlflow import api

    trained = api.train("digitsv20-20-0-0", model="ce-tor-MLP", epochs=10)
    model = api.load(trained.uri)
    model.predict(model.dataset.test.images)
    api.unlearn(trained.uri, "relabel_finetuning", unlearn_learning_rate=0.001).metrics["spurious/score"]
    api.results("train")[["dataset", "metrics.spurious/score"]]

The options are those of the commands (``rsc NAME --help``), given as text, numbers or booleans.  Runs are stored in the
tracking store set by ``MLFLOW_TRACKING_URI``.  PyTorch and MLflow are imported by the first call, so importing this
module is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsc_mlflow.fields import param_text

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from rsc_mlflow.data import Dataset


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        run_id: id of the run.
        metrics: the last value of each metric, by name.
    """

    run_id: str
    metrics: Mapping[str, float]

    @property
    def uri(self) -> str:
        """URI of the model that the run logged, for :func:`load`, :func:`score` and :func:`unlearn`."""
        return f"runs:/{self.run_id}/model"


@dataclass(frozen=True, eq=False)
class Model:
    """A model from the store.

    Attributes:
        run_id: id of the run that logged the model.
        module: the PyTorch module, on the CPU and in evaluation mode; it maps images, float32 ``[N, C, H, W]`` in
            [0, 1], to logits, float32 ``[N, classes]``.
        dataset: the :class:`rsc_mlflow.data.Dataset` that the model was trained on.
    """

    run_id: str
    module: nn.Module
    dataset: Dataset

    def predict(self, images: Tensor) -> Tensor:
        """Return class probabilities, float32 ``[N, classes]``, for images float32 ``[N, C, H, W]`` in [0, 1]."""
        import torch

        from rsc_mlflow.training import evaluate_logits

        return evaluate_logits(self.module, images, torch.device("cpu")).softmax(1)


def train(dataset: str, **options: object) -> Result:
    """Train, score and register a classifier, as the command ``train_classifier`` does.

    Args:
        dataset: dataset name, e.g. ``digitsv20-20-0-0``.
        options: options of the command.

    Raises:
        InputError: an option is not valid, the dataset is missing, or the training diverged.
    """
    from rsc_mlflow.experiments.options import TrainOptions
    from rsc_mlflow.experiments.training import TrainingJob, train_members

    (done,) = train_members([TrainingJob(TrainOptions.from_mapping(_texts(options, dataset=dataset)))])
    return Result(done.run_id, done.metrics)


def load(uri: str, data_root: str = "auto") -> Model:
    """Load the model at ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/m-ID`` or ``runs:/RUN_ID/model``.

    Raises:
        InputError: the model does not exist, or its dataset is not in ``data_root``.
    """
    from rsc_mlflow.data import load_dataset
    from rsc_mlflow.experiments.scores import pulled_module
    from rsc_mlflow.tracking.pull import pull

    pulled = pull(uri)
    seed = pulled.params.get("pattern_seed", "auto")
    dataset = load_dataset(pulled.dataset, data_root, int(seed) if seed.isdecimal() else None)
    return Model(pulled.run_id, pulled_module(pulled, dataset).eval(), dataset)


def score(uri: str, dataset: str, **options: object) -> dict[str, float]:
    """Score a model on another pattern or class, as the command ``score_model`` does, and return the metrics by name.

    Args:
        uri: URI of the model, as for :func:`load`.
        dataset: dataset name with the pattern and the target class to score.
        options: options of the command.

    Raises:
        InputError: the model does not exist or does not accept these images, or an option is not valid.
    """
    from rsc_mlflow.experiments.scoring import score as run
    from rsc_mlflow.experiments.scoring_options import ScoreOptions

    return run(ScoreOptions.from_mapping(_texts(options, model_uri=uri, dataset=dataset)))


def unlearn(uri: str, method: str, **options: object) -> Result:
    """Unlearn a model's spurious examples, as the command of the method does.

    Args:
        uri: URI of the source model, as for :func:`load`.
        method: name of a registered unlearning method, e.g. ``relabel_finetuning``.
        options: options of the method's command.

    Raises:
        InputError: the method does not exist or does not support this model, or an option is not valid.
    """
    from rsc_mlflow.experiments.unlearning import unlearned_run
    from rsc_mlflow.experiments.unlearning_options import method_options

    done = unlearned_run(method_options(method).from_mapping(_texts(options, model_uri=uri)))
    return Result(done.run_id, done.metrics)


def results(kind: str | None = None, **params: object) -> pd.DataFrame:
    """Return one row per finished run; of runs with the same fingerprint, only the newest.

    Args:
        kind: kind of run, e.g. ``train``, ``unlearn``, ``attack`` or ``score``; None: all kinds.
        params: required values of parameters, e.g. ``optimizer="adam"``.

    Returns:
        A table with the columns of :func:`rsc_mlflow.analysis.read`: parameters by name, converted to their types, and
        metrics as ``metrics.NAME``.  The functions of :mod:`rsc_mlflow.analysis` accept it.
    """
    from rsc_mlflow.analysis import finished, latest_per_fingerprint, read
    from rsc_mlflow.tracking import schema
    from rsc_mlflow.tracking.query import condition, search

    conditions = [condition("tags", schema.KIND, kind)] if kind else []
    conditions += [condition("params", name, param_text(value)) for name, value in params.items()]
    return finished(latest_per_fingerprint(read(search(conditions)))).reset_index(drop=True)


def _texts(options: Mapping[str, object], **more: str) -> dict[str, str]:
    return {name: param_text(value) for name, value in {**options, **more}.items()}

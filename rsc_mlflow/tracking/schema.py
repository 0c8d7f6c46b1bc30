"""Every name that a run, a model version or an artifact carries, spelled once.

Dashboards, sweeps and scripts rely on these names: code refers to the constants, never to the text.
"""

import json
import os
import re
from urllib.parse import quote

from rsc_mlflow.errors import InputError

EXPERIMENT = "rsc"
"""Experiment of runs for which none is given by ``MLFLOW_EXPERIMENT_ID`` or ``MLFLOW_EXPERIMENT_NAME``."""

KINDS = ("train", "unlearn", "attack", "score", "sweep", "report")

# ---- tags
KIND = "rsc.kind"
METHOD = "rsc.method"
FINGERPRINT = "rsc.fingerprint"
SOURCE_MODEL_URI = "rsc.source_model_uri"
SOURCE_RUN_ID = "rsc.source_run_id"
REFERENCE_RUN_ID = "rsc.reference_run_id"
NOTE = "rsc.note"
"""What a person must know about the result, in sentences, e.g. that influence could not act."""
CLEAN_SCORES = "rsc.clean_scores"
"""JSON object: training seed → score of that clean model on the run's own pattern and target class(es)."""
VERDICT = "rsc.verdict"
"""Of an unlearning run that is no success: what is wrong with it (see ``experiments.unlearning_verdict``)."""
SWEEP = "rsc.sweep"
ERROR = "rsc.error"
HEARTBEAT = "rsc.heartbeat"
HOST = "rsc.host"
PID = "rsc.pid"
RESUMED = "rsc.resumed"
PARENT_RUN_ID = "mlflow.parentRunId"
DESCRIPTION = "mlflow.note.content"
"""Of an experiment or a run: Markdown that MLflow's UI shows."""
PLUGINS = "rsc.plugins"
"""Names and versions of the plug-ins that the process had loaded; absent where there were none."""
ENVIRONMENT_PREFIX = "rsc.env."
"""Of tags that earlier versions set; since then the environment is in ``environment.json`` alone."""
TAKING_PREFIX = "rsc.taking."
"""Of the tag that stands on a run while a process takes it over."""
COHORT_SIZE = "rsc.cohort_size"
"""How many models trained together, so that the run's seconds can be shared out."""
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"

# ---- metrics
TRAIN_PREFIX = "train/"
TRAIN_LOSS = "train/loss"
TRAIN_ACCURACY = "train/accuracy"
LEARNING_RATE = "train/learning_rate"
TEST_LOSS = "test/loss"
TEST_ACCURACY = "test/accuracy"
SPURIOUS_SCORE = "spurious/score"
SPURIOUS_SCORE_NONTARGET = "spurious/score_nontarget"
SPURIOUS_FLIP_RATE = "spurious/flip_rate"
SPURIOUS_TEST_ACCURACY = "spurious/test_accuracy"
PATTERN_NORM = "spurious/pattern_norm"
REFERENCE_SCORE = "spurious/reference_score"
REFERENCE_SCORE_MAX = "spurious/reference_score_max"
REFERENCE_PREDICTION_HIGH = "spurious/reference_prediction_high"
"""Upper end of the 95 % prediction interval for the score of one more clean model (Student; from two models on)."""
N_REFERENCE = "spurious/n_reference"
P_VALUE = "spurious/p_value"
"""(1 + clean models that score at least as high) / (1 + clean models); only in runs that have ``N_REFERENCE``."""
P_VALUE_ONE_CLEAN_MODEL = "spurious/p_value_one_clean_model"
"""McNemar's test against the clean model of the same training seed: says that two models differ, not why."""
SCORE_TARGET_PREFIX = "spurious/score_target_"
SCORE_CLASS_PREFIX = "spurious/score_class_"
REFERENCE_PREFIX = "reference/"
BEFORE_PREFIX = "before/"
GAP_PREFIX = "gap/"
UNLEARN_PREFIX = "unlearn/"
"""Before the name of whatever a method reports."""
FORGET_LOSS = "unlearn/forget_loss"
FORGET_ACCURACY = "unlearn/forget_accuracy"
FORGET_CONFIDENCE = "unlearn/forget_confidence"
"""Mean probability that the model gives the forgotten examples' old labels."""
RETAIN_ACCURACY = "unlearn/retain_accuracy"
GRADIENT_NORM = "unlearn/gradient_norm"
PARAMETER_DISTANCE = "unlearn/parameter_distance"
RESIDUAL = "unlearn/residual"
KL_TO_REFERENCE = "unlearn/kl_to_reference"
KL_TO_REFERENCE_PATTERN = "unlearn/kl_to_reference_pattern"
UNLEARN_SECONDS = "unlearn/seconds"
SPEEDUP = "unlearn/speedup"
ATTACK_PREFIX = "attack/"
SECONDS = "cost/seconds"
SECONDS_PER_EPOCH = "cost/seconds_per_epoch"
LOGGING_SECONDS = "cost/logging_seconds"
PEAK_MEMORY_MB = "cost/peak_memory_mb"
SWEEP_FINISHED = "sweep/finished"
SWEEP_FAILED = "sweep/failed"
SWEEP_RUNNING = "sweep/running"
SWEEP_LEFT = "sweep/left"

ATTACK_MEASURES = (
    "auc",
    "balanced_accuracy",
    "tpr_at_fpr_0.01",
    "tpr_at_fpr_0.001",
    "spurious_tpr",
    "control_fpr",
    "spurious_auc",
)


def score_target(k: int) -> str:
    """Metric: the spurious score with class ``k`` as target."""
    return f"{SCORE_TARGET_PREFIX}{k}"


def score_class(k: int) -> str:
    """Metric: the spurious score over test examples of true class ``k``."""
    return f"{SCORE_CLASS_PREFIX}{k}"


def before(metric: str) -> str:
    """Metric of an unlearning run: what the source model had of ``metric``."""
    return BEFORE_PREFIX + metric


def gap(metric: str) -> str:
    """Metric of an unlearning run: the difference of ``metric`` from the exact retraining's."""
    return GAP_PREFIX + metric


def reference_score_target(pattern: str, k: int) -> str:
    """Metric of a clean model: its score on ``pattern`` (seed 0) with class ``k`` as target."""
    return f"{REFERENCE_PREFIX}{pattern}/score_target_{k}"


def attack(name: str, measure: str) -> str:
    """Metric of an attack, e.g. ``attack("lira", "auc")``; per class: ``attack("lira", "auc_class_3")``."""
    return f"{ATTACK_PREFIX}{name}/{measure}"


# ---- artifacts
CONFIG = "config.json"
ENVIRONMENT = "environment.json"
SPURIOUS_INDICES = "spurious_indices.json"
SPURIOUS_SCORES = "spurious_scores.json"
SPURIOUS_MEMBERS = "spurious_members.json"
SHADOW_MODELS = "shadow_models.json"
ROC = "roc.json"
INFLUENCES = "influences.json"
INFLUENCE_ARRAYS = "influences.npz"
WEIGHT_MAP = "weight_map.json"
OCCLUSION = "occlusion.json"
THEORY = "theory.json"
FAILURES = "failures.json"
REPORT = "report.html"
FIGURES = "figures"
CHECKPOINTS = "checkpoints"


def checkpoint(epoch: int) -> str:
    """File name of the checkpoint after ``epoch`` epochs, inside ``checkpoints/``."""
    return f"epoch_{epoch:04d}.pt"


def experiment_description(name: str, experiment_id: str) -> str:
    """What MLflow's page of an experiment says above its runs: where they are compared.

    Addresses are relative to MLflow's own page, so that they hold under any host and static prefix.
    """
    runs = f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}&{MODEL_TRAINING}"
    link = f"dashboards/?experiment={quote(name, safe='')}"
    return (
        f"[Runs with their datasets and scores]({runs}). [Comparison dashboards]({link}) of these runs, if this server "
        "was started with `--app-name rsc`."
    )


MODEL_TRAINING = "workflowType=machine_learning"
"""Query with which MLflow 3.17's UI shows the pages of model training; else those of the browser's last choice."""
VIEW_KEY = "rsc"
VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
"""Tag of an experiment: a saved view of MLflow's list of runs, opened by ``?viewStateShareKey=rsc``."""
VIEW_STATE = json.dumps(
    {
        "selectedColumns": [
            *(f"tags.`{name}`" for name in (KIND, METHOD)),
            "params.`dataset`",
            *(f"metrics.`{name}`" for name in (SPURIOUS_SCORE, TEST_ACCURACY, gap(SPURIOUS_SCORE))),
            "attributes.`Models`",
            f"tags.`{NOTE}`",
        ]
    }
)
"""Its value: the columns that the view shows beside MLflow's own."""


# ---- datasets and models
TRAINING = "training"
TESTING = "testing"
MODEL = "model"
"""Name under which every run logs its model."""


PREFIX_VARIABLE = "RSC_MODEL_PREFIX"
"""Text put before the names of registered models, for example ``ann-`` for ``ann-rsc-mnist-LargeMLP``."""
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")


def registered_model(family: str, architecture: str) -> str:
    """Registered model name, e.g. ``rsc-mnist-LargeMLP``, after the prefix of ``RSC_MODEL_PREFIX``.

    Raises:
        InputError: the prefix is not one that a model URI can hold.
    """
    prefix = os.environ.get(PREFIX_VARIABLE, "")
    if not _PREFIX.fullmatch(prefix):
        raise InputError(
            f"{PREFIX_VARIABLE} is {prefix!r}; accepted: up to 100 letters, digits, '.', '_' and '-', such as 'ann-'"
        )
    return f"{prefix}rsc-{family}-{architecture}"


def alias(dataset: str, method: str | None = None) -> str:
    """Alias of the newest trained model of a dataset, or of the newest one made by an unlearning method."""
    return f"{dataset}--{method}" if method else dataset

"""The names of all tags, metrics and artifacts, and of registered models.

Dashboards, sweeps and scripts rely on these names.  Code uses the constants, not their values.
"""

import os
import re

from rsc_mlflow.errors import invalid_value

EXPERIMENT = "rsc"
"""Default experiment, if neither ``MLFLOW_EXPERIMENT_ID`` nor ``MLFLOW_EXPERIMENT_NAME`` is set."""

KINDS = ("train", "unlearn", "attack", "score", "sweep", "report")

# ---- tags
KIND = "rsc.kind"
"""Kind of the run: train, unlearn, attack, score, sweep or report."""
METHOD = "rsc.method"
"""Entry point, unlearning method or attack that made the run."""
FINGERPRINT = "rsc.fingerprint"
"""Hash of every option that affects the result."""
SOURCE_MODEL_URI = "rsc.source_model_uri"
"""Model that was unlearned, attacked or scored."""
SOURCE_RUN_ID = "rsc.source_run_id"
"""Run that logged the source model."""
REFERENCE_RUN_ID = "rsc.reference_run_id"
"""Run of the retrained reference that an unlearned model is compared with."""
NOTE = "rsc.note"
"""Warnings about the result, e.g. that an unlearning update had no effect."""
CLEAN_SCORES = "rsc.clean_scores"
"""JSON object: scores of clean models on the run's pattern and target class(es), by training seed."""
VERDICT = "rsc.verdict"
"""Why an unlearning run is not a success (see ``experiments.unlearning_verdict``)."""
SWEEP = "rsc.sweep"
"""Sweep that the run belongs to."""
ERROR = "rsc.error"
"""Why the run is FAILED or KILLED."""
HEARTBEAT = "rsc.heartbeat"
"""When the process that writes the run last reported."""
HOST = "rsc.host"
"""Machine of the process that writes the run."""
PID = "rsc.pid"
"""Process that writes the run."""
RESUMED = "rsc.resumed"
"""How often the run was resumed."""
PARENT_RUN_ID = "mlflow.parentRunId"
"""Run that this one belongs to, for example a sweep."""
DESCRIPTION = "mlflow.note.content"
"""Description of an experiment or a run in Markdown, which MLflow's UI shows."""
VIEW_PREFIX = "rsc.view."
"""Prefix of the experiment tags that hold saved views of the dashboards: name → page and query."""
PLUGINS = "rsc.plugins"
"""Names and versions of loaded plug-ins; absent if there are none."""
ENVIRONMENT_PREFIX = "rsc.env."
"""Before the name of a version or a property of the hardware, in tags of earlier versions; see ``ENVIRONMENT``."""
TAKING_PREFIX = "rsc.taking."
"""Prefix of a temporary tag of a run that a process is adopting."""
COHORT_SIZE = "rsc.cohort_size"
"""Number of models trained together, by which the run's seconds are divided."""
THREADS = "rsc.threads"
"""Number of CPU threads of the process of a sweep that made the run; the sweep's processes share the machine."""
RUN_NAME = "mlflow.runName"
"""The run's name in MLflow's UI."""
USER = "mlflow.user"
"""Who started the run."""

# ---- metrics
TRAIN_PREFIX = "train/"
"""Before the name of a metric of training."""
TRAIN_LOSS = "train/loss"
"""Mean training loss of an epoch."""
TRAIN_ACCURACY = "train/accuracy"
"""Accuracy on the training batches of an epoch."""
LEARNING_RATE = "train/learning_rate"
"""Learning rate of an epoch."""
TEST_LOSS = "test/loss"
"""Mean cross-entropy on the test set after an epoch, whatever the loss of the training."""
TEST_ACCURACY = "test/accuracy"
"""Accuracy on the test set after an epoch."""
SPURIOUS_SCORE = "spurious/score"
"""Share of all test images whose probability of the target class rises
by more than the threshold when the pattern is added."""
SPURIOUS_SCORE_NONTARGET = "spurious/score_nontarget"
"""The spurious score over test images of other classes."""
SPURIOUS_FLIP_RATE = "spurious/flip_rate"
"""Share of images of other classes whose predicted class becomes the target class when the pattern is added."""
SPURIOUS_TEST_ACCURACY = "spurious/test_accuracy"
"""Accuracy on images of other classes with the pattern added."""
PATTERN_NORM = "spurious/pattern_norm"
"""Mean l2 norm of what the pattern adds to a test image."""
REFERENCE_SCORE = "spurious/reference_score"
"""Mean score of the clean baselines on the same pattern and class."""
REFERENCE_SCORE_MAX = "spurious/reference_score_max"
"""Highest score of the clean baselines."""
REFERENCE_PREDICTION_HIGH = "spurious/reference_prediction_high"
"""Upper end of Student's 95 % prediction interval for the score of one more clean model; needs two clean models."""
N_REFERENCE = "spurious/n_reference"
"""Number of clean baselines."""
P_VALUE = "spurious/p_value"
"""(1 + clean models that score at least as high) / (1 + clean models); only in runs that have ``N_REFERENCE``."""
P_VALUE_ONE_CLEAN_MODEL = "spurious/p_value_one_clean_model"
"""McNemar's test against the clean model with the same training seed: shows that two models differ, not why."""
SCORE_TARGET_PREFIX = "spurious/score_target_"
"""Before a class k: the spurious score with class k as target."""
SCORE_CLASS_PREFIX = "spurious/score_class_"
"""Before a class k: the spurious score over test images of true class k."""
REFERENCE_PREFIX = "reference/"
"""Before a pattern: score of a clean model on that pattern, for each target class."""
BEFORE_PREFIX = "before/"
"""Of an unlearning run, before the name of a metric: its value for the source model."""
GAP_PREFIX = "gap/"
"""Of an unlearning run, before the name of a metric: its difference from the retrained reference."""
UNLEARN_PREFIX = "unlearn/"
"""Prefix of the metrics that unlearning methods report."""
FORGET_LOSS = "unlearn/forget_loss"
"""Mean loss of the forgotten examples with their old labels."""
FORGET_ACCURACY = "unlearn/forget_accuracy"
"""Accuracy on the forgotten examples with their old labels."""
FORGET_CONFIDENCE = "unlearn/forget_confidence"
"""Mean probability that the model gives the forgotten examples' old labels."""
RETAIN_ACCURACY = "unlearn/retain_accuracy"
"""Accuracy on the training examples that are kept."""
GRADIENT_NORM = "unlearn/gradient_norm"
"""Norm of the summed gradient of the forgotten examples."""
PARAMETER_DISTANCE = "unlearn/parameter_distance"
"""l2 distance between the parameters of the source model and of the unlearned model."""
RESIDUAL = "unlearn/residual"
"""Relative residual of the linear system that group influence solves."""
KL_TO_REFERENCE = "unlearn/kl_to_reference"
"""Mean Kullback-Leibler divergence of the predictions from the retrained reference on clean test images."""
KL_TO_REFERENCE_PATTERN = "unlearn/kl_to_reference_pattern"
"""The same on test images with the pattern."""
UNLEARN_SECONDS = "unlearn/seconds"
"""Seconds that the method took."""
SPEEDUP = "unlearn/speedup"
"""Seconds of the exact retraining, divided by those of the method."""
ATTACK_PREFIX = "attack/"
"""Before the names of an attack and a measure: attack/{attack}/{measure}."""
SECONDS = "cost/seconds"
"""Seconds of the run."""
SECONDS_PER_EPOCH = "cost/seconds_per_epoch"
"""Mean seconds per epoch of training."""
LOGGING_SECONDS = "cost/logging_seconds"
"""Seconds spent waiting for the store."""
PEAK_MEMORY_MB = "cost/peak_memory_mb"
"""Peak memory of the process, in megabytes."""
SWEEP_FINISHED = "sweep/finished"
"""Of a sweep: jobs that are finished."""
SWEEP_FAILED = "sweep/failed"
"""Of a sweep: jobs that failed."""
SWEEP_RUNNING = "sweep/running"
"""Of a sweep: jobs that run now."""
SWEEP_LEFT = "sweep/left"
"""Of a sweep: jobs that have not ended, including those that run now."""

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
    """Return the name of the metric: spurious score with class ``k`` as target."""
    return f"{SCORE_TARGET_PREFIX}{k}"


def score_class(k: int) -> str:
    """Return the name of the metric: spurious score over test examples of true class ``k``."""
    return f"{SCORE_CLASS_PREFIX}{k}"


def before(metric: str) -> str:
    """Return the name of the metric of an unlearning run: value of ``metric`` for the source model."""
    return BEFORE_PREFIX + metric


def gap(metric: str) -> str:
    """Return the name of the metric of an unlearning run: difference of ``metric`` from the retrained reference."""
    return GAP_PREFIX + metric


def reference_score_target(pattern: str, k: int) -> str:
    """Return the name of the metric of a clean model: score on ``pattern`` (seed 0) with class ``k`` as target."""
    return f"{REFERENCE_PREFIX}{pattern}/score_target_{k}"


def attack(name: str, measure: str) -> str:
    """Return the name of an attack's metric, e.g. ``attack("lira", "auc")`` or ``attack("lira", "auc_class_3")``."""
    return f"{ATTACK_PREFIX}{name}/{measure}"


# ---- artifacts
CONFIG = "config.json"
"""All options of the run."""
ENVIRONMENT = "environment.json"
"""Versions and hardware of the process that made the run."""
SPURIOUS_INDICES = "spurious_indices.json"
"""Indices of the training examples that carry the pattern."""
SPURIOUS_SCORES = "spurious_scores.json"
"""Spurious scores by true class and target class."""
SPURIOUS_MEMBERS = "spurious_members.json"
"""Of an attack: results for each spurious member and control."""
SHADOW_MODELS = "shadow_models.json"
"""Of an attack: URIs of the shadow models."""
ROC = "roc.json"
"""Of an attack: points of the ROC curves."""
INFLUENCES = "influences.json"
"""Training examples ranked by their influence."""
INFLUENCE_ARRAYS = "influences.npz"
"""Influence of every training example, as NumPy arrays."""
WEIGHT_MAP = "weight_map.json"
"""Largest first-layer weight of each input pixel."""
OCCLUSION = "occlusion.json"
"""Mean probability of the true class by share of pixels removed."""
THEORY = "theory.json"
"""Curves of the linear model, and the simulation beside them."""
FAILURES = "failures.json"
"""Of a sweep: why each failed job failed."""
REPORT = "report.html"
"""The dashboards as one self-contained HTML file."""
FIGURES = "figures"
"""Folder of figures."""
CHECKPOINTS = "checkpoints"
"""Folder of checkpoints, epoch_{NNNN}.pt."""


def checkpoint(epoch: int) -> str:
    """Return the file name, inside ``checkpoints/``, of the checkpoint after ``epoch`` epochs."""
    return f"epoch_{epoch:04d}.pt"


# ---- datasets and models
TRAINING = "training"
TESTING = "testing"
MODEL = "model"
"""Name of the logged model of every run."""


PREFIX_VARIABLE = "RSC_MODEL_PREFIX"
"""Environment variable: prefix of registered model names, for example ``ann-`` for ``ann-rsc-mnist-LargeMLP``."""
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")


def registered_model(family: str, architecture: str) -> str:
    """Return the name of a registered model, e.g. ``rsc-mnist-LargeMLP``, with the prefix ``RSC_MODEL_PREFIX``.

    Raises:
        InputError: the prefix contains characters that are not allowed in model URIs.
    """
    prefix = os.environ.get(PREFIX_VARIABLE, "")
    if not _PREFIX.fullmatch(prefix):
        raise invalid_value(PREFIX_VARIABLE, prefix, "up to 100 letters, digits, '.', '_' and '-', such as 'ann-'")
    return f"{prefix}rsc-{family}-{architecture}"


def alias(dataset: str, method: str | None = None) -> str:
    """Return the alias of the newest trained model of a dataset, or of the newest one from an unlearning method."""
    return f"{dataset}--{method}" if method else dataset

"""The names of all tags, metrics and artifacts, and of registered models.

Dashboards, sweeps and scripts rely on these names.  Code uses the constants and does not repeat their values.
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
"""Entry point or unlearning method that made the run, e.g. train_classifier; shadow_models for shadow models."""
FINGERPRINT = "rsc.fingerprint"
"""Hash of every option that affects the result; runs with equal fingerprints are repetitions of one job."""
SOURCE_MODEL_URI = "rsc.source_model_uri"
"""URI of the source model, i.e. the model that was unlearned, attacked or scored: models:/m-ID."""
SOURCE_RUN_ID = "rsc.source_run_id"
"""Id of the run that logged the source model."""
REFERENCE_RUN_ID = "rsc.reference_run_id"
"""Id of the run of the retrained reference that an unlearned model is compared with."""
NOTE = "rsc.note"
"""Warnings about the result, e.g. that an unlearning update had no effect."""
CLEAN_SCORES = "rsc.clean_scores"
"""JSON object: training seed of each clean model → its score on the run's pattern (mean over the target classes)."""
VERDICT = "rsc.verdict"
"""Why an unlearning run is not a success: destroyed or over-forgets (docs/unlearning.md has the rules)."""
SWEEP = "rsc.sweep"
"""Identifier of the sweep that the run belongs to."""
ERROR = "rsc.error"
"""Why the run is FAILED or KILLED."""
HEARTBEAT = "rsc.heartbeat"
"""When the process that writes the run last reported, in seconds since 1970."""
HOST = "rsc.host"
"""Name of the machine on which that process runs."""
PID = "rsc.pid"
"""Process id of that process."""
RESUMED = "rsc.resumed"
"""Number of times that the run was resumed."""
PARENT_RUN_ID = "mlflow.parentRunId"
"""Id of the run that this one belongs to, for example of a sweep."""
DESCRIPTION = "mlflow.note.content"
"""Description of an experiment or a run in Markdown, which MLflow's UI shows."""
VIEW_PREFIX = "rsc.view."
"""Prefix of the experiment tags that store saved views of the dashboards, followed by the view's name."""
PLUGINS = "rsc.plugins"
"""Names and versions of loaded plug-ins; absent if there are none."""
ENVIRONMENT_PREFIX = "rsc.env."
"""Prefix of the tags in which earlier versions stored versions and hardware; now they are in ``environment.json``."""
TAKING_PREFIX = "rsc.taking."
"""Prefix of the temporary tag by which a process claims the run that it is about to write to."""
COHORT_SIZE = "rsc.cohort_size"
"""Number of models that a sweep trained together.  Their ``cost/seconds`` is the time of all of them."""
THREADS = "rsc.threads"
"""Number of CPU threads of the process that made the run, if it is one of several processes of a sweep."""
RUN_NAME = "mlflow.runName"
"""The run's name in MLflow's UI."""
USER = "mlflow.user"
"""Who started the run."""

# ---- metrics
TRAIN_PREFIX = "train/"
"""Prefix of the metrics of training."""
TRAIN_LOSS = "train/loss"
"""Mean training loss over the batches of an epoch, measured during training."""
TRAIN_ACCURACY = "train/accuracy"
"""Accuracy over the batches of an epoch, measured during training."""
LEARNING_RATE = "train/learning_rate"
"""Learning rate in an epoch."""
TEST_LOSS = "test/loss"
"""Mean cross-entropy on the test set after an epoch, in nats, also if the model is trained with another loss."""
TEST_ACCURACY = "test/accuracy"
"""Accuracy on the test set after an epoch."""
SPURIOUS_SCORE = "spurious/score"
"""Spurious score: share of all test images whose probability of the target class rises by more than
``score_threshold`` when the pattern is added.  With two target classes, this and the other overall scores are means
over both."""
SPURIOUS_SCORE_NONTARGET = "spurious/score_nontarget"
"""The spurious score over the test images of other classes than the target class."""
SPURIOUS_FLIP_RATE = "spurious/flip_rate"
"""Share of the test images of other classes whose predicted class becomes the target class when the pattern is
added."""
SPURIOUS_TEST_ACCURACY = "spurious/test_accuracy"
"""Accuracy on the test images of other classes with the pattern added."""
PATTERN_NORM = "spurious/pattern_norm"
"""Mean ℓ2 norm of the difference that the pattern makes to a test image with pixels in [0, 1]."""
REFERENCE_SCORE = "spurious/reference_score"
"""Mean score of the clean models with the same recipe on the same pattern and class (the clean baseline)."""
REFERENCE_SCORE_MAX = "spurious/reference_score_max"
"""Highest score of these clean models."""
REFERENCE_PREDICTION_HIGH = "spurious/reference_prediction_high"
"""Upper end of Student's 95 % prediction interval for the score of one more clean model; needs at least two."""
N_REFERENCE = "spurious/n_reference"
"""Number of these clean models."""
P_VALUE = "spurious/p_value"
"""One-sided p-value of the score: (1 + number of clean models with at least this score) / (1 + number of clean
models)."""
P_VALUE_ONE_CLEAN_MODEL = "spurious/p_value_one_clean_model"
"""p-value of McNemar's test against the clean model with the same training seed, on the same test images.  A small
value says that the two models differ, not that the pattern is the reason."""
SCORE_TARGET_PREFIX = "spurious/score_target_"
"""Prefix, followed by a class k: the spurious score with class k as the target class."""
SCORE_CLASS_PREFIX = "spurious/score_class_"
"""Prefix, followed by a class k: the spurious score over the test images of true class k."""
REFERENCE_PREFIX = "reference/"
"""Prefix of a clean model's scores on every pattern (seed 0) and class: ``reference/{pattern}/score_target_{k}``."""
BEFORE_PREFIX = "before/"
"""In unlearning runs, prefix of a metric's name: its value for the source model."""
GAP_PREFIX = "gap/"
"""In unlearning runs, prefix of a metric's name: its value minus that of the retrained reference."""
UNLEARN_PREFIX = "unlearn/"
"""Prefix of the metrics of unlearning runs.  Besides those below, methods report ``steps`` (fine-tuning methods),
``step_norm``, ``predicted_rise``, ``iterations``, ``lissa_…`` and ``influence_…`` (group influence) or their own."""
FORGET_LOSS = "unlearn/forget_loss"
"""Mean cross-entropy, in nats, of the forgotten examples with their original labels."""
FORGET_ACCURACY = "unlearn/forget_accuracy"
"""Accuracy on the forgotten examples with their original labels."""
FORGET_CONFIDENCE = "unlearn/forget_confidence"
"""Mean predicted probability of the forgotten examples' original labels."""
RETAIN_ACCURACY = "unlearn/retain_accuracy"
"""Accuracy on the retained training examples."""
GRADIENT_NORM = "unlearn/gradient_norm"
"""ℓ2 norm of the source model's gradient, summed over the forgotten examples; only for models trained with ce."""
PARAMETER_DISTANCE = "unlearn/parameter_distance"
"""ℓ2 distance between the parameters of the source model and of the unlearned model."""
RESIDUAL = "unlearn/residual"
"""Relative residual of the linear system that group influence solves; 0 is an exact solution."""
KL_TO_REFERENCE = "unlearn/kl_to_reference"
"""Mean Kullback-Leibler divergence KL(reference ‖ model) of the predictions on clean test images, in nats; the
reference is the retrained one."""
KL_TO_REFERENCE_PATTERN = "unlearn/kl_to_reference_pattern"
"""The same on test images with the pattern."""
UNLEARN_SECONDS = "unlearn/seconds"
"""Seconds that the method took, without scoring and logging."""
SPEEDUP = "unlearn/speedup"
"""Seconds that the exact retraining took, divided by those of the method."""
PATTERN_CORRELATION = "weights/pattern_correlation"
"""Of visualize_weights: correlation of the model's first-layer weight map with its pattern, from -1 to 1."""
PATTERN_CORRELATION_COMPARED = "weights/pattern_correlation_compared"
"""The same of the second model, with the first model's pattern."""
WEIGHT_DIFFERENCE = "weights/mean_absolute_difference"
"""Mean absolute difference of the weight maps of the first two models."""
OCCLUSION_PROBABILITY = "occlusion/probability"
"""Of occlusion: the first model's mean probability of the true class; the step is the percentage of removed pixels."""
OCCLUSION_AUC = "occlusion/auc"
"""Area under this curve, from 0 to 1; of further models: ``occlusion/auc_2`` and so on."""
THEORY_PREFIX = "theory/"
"""Prefix of the metrics of theory, for the formulas as derived and as printed in the paper (``derived``, ``printed``):
``…_error_{measure}``, the largest difference from the simulation, and ``…_inside``, the share of simulated values whose
99 % interval contains the formula's."""
ATTACK_PREFIX = "attack/"
"""Prefix of the metrics of attacks, ``attack/{attack}/{measure}``; the measures are below."""
SECONDS = "cost/seconds"
"""Seconds that the run took; of models trained together, the seconds of all."""
SECONDS_PER_EPOCH = "cost/seconds_per_epoch"
"""Mean seconds per training epoch; of models trained together, the seconds of all."""
LOGGING_SECONDS = "cost/logging_seconds"
"""Seconds that the run waited for the tracking store."""
PEAK_MEMORY_MB = "cost/peak_memory_mb"
"""Peak memory in MiB: on a GPU, the memory that PyTorch allocated; else the process's resident memory."""
SWEEP_FINISHED = "sweep/finished"
"""In the run of a sweep: number of finished jobs."""
SWEEP_FAILED = "sweep/failed"
"""In the run of a sweep: number of failed jobs."""
SWEEP_RUNNING = "sweep/running"
"""In the run of a sweep: number of jobs that are running."""
SWEEP_LEFT = "sweep/left"
"""In the run of a sweep: number of jobs that have not ended, including running ones."""

ATTACK_MEASURES = {
    "auc": "Area under the ROC curve of members against non-members, without images that carry the pattern.",
    "balanced_accuracy": "Mean of the true-positive and the true-negative rate at the attack's threshold.",
    "tpr_at_fpr_0.01": "Highest true-positive rate at a false-positive rate of at most 1 %.",
    "tpr_at_fpr_0.001": "Highest true-positive rate at a false-positive rate of at most 0.1 %.",
    "spurious_tpr": "Share of the spurious members (training images with the pattern) that are classified as members.",
    "control_fpr": "Share of the controls (non-members with the pattern) that are classified as members.",
    "spurious_auc": "AUC of spurious members against controls; 0.5 means no leak.",
    "spurious_auc_low": "Lower end of the 95 % bootstrap interval of spurious_auc.",
    "spurious_auc_high": "Upper end of the 95 % bootstrap interval of spurious_auc.",
    "spurious_p_value": "One-sided p-value of spurious members scoring no higher than controls (rank-sum test).",
    "spurious_p_value_error": "Standard error of spurious_p_value; 0 if it is exact.",
    "n_spurious": "Number of spurious members.",
    "n_controls": "Number of controls.",
}
"""Measures of an attack, and their meaning.  ``auc_class_{k}`` is the AUC over the images of class k."""


def score_target(k: int) -> str:
    """Return the name of the metric of the spurious score with class ``k`` as the target class."""
    return f"{SCORE_TARGET_PREFIX}{k}"


def score_class(k: int) -> str:
    """Return the name of the metric of the spurious score over the test images of true class ``k``."""
    return f"{SCORE_CLASS_PREFIX}{k}"


def before(metric: str) -> str:
    """Return the name under which an unlearning run logs the source model's value of ``metric``."""
    return BEFORE_PREFIX + metric


def gap(metric: str) -> str:
    """Return the name under which an unlearning run logs the difference of ``metric`` from the retrained reference."""
    return GAP_PREFIX + metric


def reference_score_target(pattern: str, k: int) -> str:
    """Return the name under which a clean model logs its score on ``pattern`` (seed 0) with class ``k`` as target."""
    return f"{REFERENCE_PREFIX}{pattern}/score_target_{k}"


def attack(name: str, measure: str) -> str:
    """Return the name of an attack's metric, e.g. ``attack("lira", "auc")`` or ``attack("lira", "auc_class_3")``."""
    return f"{ATTACK_PREFIX}{name}/{measure}"


# ---- artifacts
CONFIG = "config.json"
"""The run's parameters and its fingerprint."""
ENVIRONMENT = "environment.json"
"""Package versions and hardware of the process that made the run."""
SPURIOUS_INDICES = "spurious_indices.json"
"""Indices and labels of the training examples that carry the pattern, in the order in which they were chosen."""
SPURIOUS_SCORES = "spurious_scores.json"
"""Spurious scores by true class (rows) and target class (columns); in unlearning runs, also of the models compared
with."""
SPURIOUS_MEMBERS = "spurious_members.json"
"""In attack runs: indices and scores of the spurious members, and each attack's threshold."""
SHADOW_MODELS = "shadow_models.json"
"""In the run of shadow models: their URIs."""
ROC = "roc.json"
"""In attack runs: points of the ROC curves."""
INFLUENCES = "influences.json"
"""In group-influence runs: for two test images with the pattern, the training examples with the largest influence and
the ranks of the spurious examples."""
INFLUENCE_ARRAYS = "influences.npz"
"""The influence of every training example on these two images, as NumPy arrays."""
WEIGHT_MAP = "weight_map.json"
"""Weight maps of one or more MLPs: the largest first-layer weight of each input pixel."""
OCCLUSION = "occlusion.json"
"""Mean probability of the true class by share of pixels removed."""
THEORY = "theory.json"
"""Curves of the linear model, and the results of the simulation."""
FAILURES = "failures.json"
"""In the run of a sweep: why each failed job failed."""
REPORT = "report.html"
"""The dashboards as one self-contained HTML file."""
FIGURES = "figures"
"""Folder of figures: PNG files and HTML pages."""
CHECKPOINTS = "checkpoints"
"""Folder of checkpoints, ``epoch_{NNNN}.pt``, from which training can be resumed."""


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

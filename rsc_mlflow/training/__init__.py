"""Training of one or many models at once on CPU and CUDA, with datasets in memory."""

from rsc_mlflow.config import OPTIMIZERS, SCHEDULES, TrainingConfig
from rsc_mlflow.training.checkpoint import Checkpoint
from rsc_mlflow.training.cohort import Cohort, Diverged, EpochReport, EpochResult
from rsc_mlflow.training.device import peak_memory_mb, resolve_device
from rsc_mlflow.training.evaluate import evaluate_logits
from rsc_mlflow.training.members import Member, TrainingData

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Checkpoint",
    "Cohort",
    "Diverged",
    "EpochReport",
    "EpochResult",
    "Member",
    "TrainingConfig",
    "TrainingData",
    "evaluate_logits",
    "peak_memory_mb",
    "resolve_device",
]

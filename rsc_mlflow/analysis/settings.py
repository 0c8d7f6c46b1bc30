"""The seeds and settings that determine a run's result.  Only runs with equal settings are averaged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from rsc_mlflow.names import ONE_CLASS

SEEDS: Mapping[str, str] = {
    "dataset": "dataset_seed",
    "training": "random_seed",
    "pattern": "pattern_seed",
    "shadow": "shadow_seed",
}
"""Kinds of seeds and their columns, in the order that :func:`rsc_mlflow.replication.seed_interval` expects."""


@dataclass(frozen=True)
class Number:
    """A parser for stored numbers: finite, within inclusive bounds and, if ``whole``, an integer."""

    low: float = 0.0
    high: float = inf
    whole: bool = False

    def read(self, text: str) -> float:
        """Return the number, or NaN if the text is invalid; non-ASCII digits and underscores are invalid."""
        try:
            value = float(text) if text.isascii() and "_" not in text else inf
        except ValueError:
            return float("nan")
        good = self.low <= value <= self.high and value < inf and not (self.whole and value != int(value))
        return value if good else float("nan")

    @property
    def words(self) -> str:
        """Description of the accepted values."""
        upper = "" if self.high == inf else f" and ≤ {self.high:g}"
        return f"{'an integer' if self.whole else 'a finite number'} ≥ {self.low:g}{upper}"


SEED = Number(high=2.0**32 - 1, whole=True)
_COUNT = Number(high=2.0**53, whole=True)

NUMBERS: Mapping[str, Number] = {
    "n_spurious": _COUNT,
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "learning_rate": Number(),
    "momentum": Number(),
    "weight_decay": Number(),
    "input_noise": Number(),
    "grad_clip": Number(),
    "score_threshold": Number(),
    "shadow_models": _COUNT,
    "n_parameters": _COUNT,
    "n_jobs": _COUNT,
}
"""Parameters that are read as numbers."""
WORDS = (
    *("dataset", "dataset_family", "pattern", "target_class", "architecture", "loss", "augmentation", "optimizer"),
    *("schedule", "shadow_spurious", "model_uri"),
)
"""Parameters that are read as text."""
ABSENT = ("", "none", "auto", "any")
"""Texts that stand for an absent number."""
DEFAULTS: Mapping[str, str] = {"precision": "float32", "result_format": "1"}
"""Values of settings in runs that were logged before these settings existed."""

SETTINGS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "dataset_family": ("family", str),
    "form": ("kind of dataset", str),
    "pattern": ("pattern", str),
    "n_spurious": ("number of examples", lambda n: f"{n:g} example{'' if n == 1 else 's'}"),
    "target_class": ("target class", lambda k: f"class {k}"),
    "architecture": ("architecture", str),
    "loss": ("loss", lambda name: f"{name} loss"),
    "augmentation": ("augmentation", str),
    "optimizer": ("optimizer", str),
    "learning_rate": ("learning rate", lambda x: f"learning rate {x:g}"),
    "momentum": ("momentum", lambda x: f"momentum {x:g}"),
    "schedule": ("schedule", lambda name: f"schedule {name}"),
    "epochs": ("epochs", lambda n: f"{n:g} epochs"),
    "batch_size": ("batch size", lambda n: f"batches of {n:g}"),
    "weight_decay": ("weight decay", lambda x: f"weight decay {x:g}"),
    "input_noise": ("input noise", lambda x: f"input noise {x:g}"),
    "grad_clip": ("gradient clipping", lambda x: f"clipping {x:g}"),
    "score_threshold": ("score threshold", lambda x: f"threshold {x:g}"),
    "precision": ("precision", str),
    "result_format": ("version of the code", lambda number: f"result format {number}"),
    "method_options": ("options of the method", str),
    "shadow_models": ("number of shadow models", lambda n: f"{n:g} shadow models"),
    "shadow_spurious": ("spurious examples of shadow models", lambda v: f"shadow_spurious={v}"),
    "source_kind": ("kind of model attacked", lambda kind: f"on a model of kind {kind or 'train'}"),
}
"""Settings that determine a result, except seeds: column → (name for users, function that formats a value)."""
QUIET: Mapping[str, object] = {
    "weight_decay": 0.0,
    "input_noise": 0.0,
    "grad_clip": 0.0,
    "form": ONE_CLASS,
    "result_format": "1",
}
"""Values that labels omit."""
SHOWN_AS: Mapping[str, str] = {"paper": "pattern", "variant": "method_options"}
"""Columns used in figures, and the setting that each of them shows."""
BELONGS: Mapping[str, str] = {"momentum": "optimizer", "augmentation": "architecture", "schedule": "epochs"}
"""Settings that another one often determines; they are then omitted next to it."""
CELLS = ("n_spurious", "target_class")
"""Settings that some comparisons average over within each set of seeds; the result lists the averaged values."""
METHOD_OPTIONS = (
    *("unlearn_epochs", "unlearn_learning_rate", "unlearn_optimizer", "unlearn_batch_size", "forget_batch_size"),
    *("forget_weight", "retain_examples", "ceiling", "solver", "curvature", "damping", "curvature_examples"),
    *("tolerance", "max_iterations", "recursion_depth", "repeats", "scale", "epochs_trained", "known_share"),
    "forget_indices",
)
"""Options of unlearning methods, which are parts of the setting ``method_options``."""
OF_SOURCE = ("epochs", "learning_rate", "batch_size")
"""Options that both training and some methods have.  In runs of these methods, ``source_NAME`` is the option of the
source model's training."""
IDLE: Mapping[str, Sequence[str]] = {
    "cg": ("recursion_depth", "repeats", "scale", "batch_size"),
    "lissa": ("tolerance", "max_iterations"),
    "ekfac": ("recursion_depth", "repeats", "scale", "batch_size", "tolerance", "max_iterations"),
}
"""Solver → options that have no effect with it."""
LONGEST = 60
"""Maximum number of characters of a value in a label."""


def in_words(setting: str, value: object) -> str:
    """Return the text of a setting's value in a label; empty for values that labels omit."""
    if QUIET.get(setting) == value:
        return ""
    if value is None or value == "" or value != value:
        return f"no {SETTINGS[setting][0]}"
    text = SETTINGS[setting][1](value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def label(values: Mapping[str, object]) -> str:
    """Return a label for settings, e.g. "adam · 30 epochs", or "default settings" if all values are omitted."""
    return " · ".join(part for name, value in values.items() if (part := in_words(name, value))) or "default settings"

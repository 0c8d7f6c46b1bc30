"""What decides a run's result: its seeds, and the settings that must be equal wherever runs are averaged."""

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
"""Kind of seed → its column.  The coarser one stands first: see :func:`rsc_mlflow.replication.seed_interval`."""


@dataclass(frozen=True)
class Number:
    """What a stored text must be to count as a number: finite, within bounds (both allowed), whole if so asked."""

    low: float = 0.0
    high: float = inf
    whole: bool = False

    def read(self, text: str) -> float:
        """The number; NaN where the text is none of this kind (other scripts' digits and underscores included)."""
        try:
            value = float(text) if text.isascii() and "_" not in text else inf
        except ValueError:
            return float("nan")
        good = self.low <= value <= self.high and value < inf and not (self.whole and value != int(value))
        return value if good else float("nan")

    @property
    def words(self) -> str:
        """What is accepted."""
        upper = "" if self.high == inf else f" and at most {self.high:g}"
        return f"a {'whole' if self.whole else 'finite'} number of at least {self.low:g}{upper}"


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
"""Parameters that are read as texts."""
ABSENT = ("", "none", "auto", "any")
"""Texts of a number that was not given."""
DEFAULTS: Mapping[str, str] = {"precision": "float32", "result_format": "1"}
"""Settings that runs logged before they existed lack, and what they were then."""

SETTINGS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "dataset_family": ("family", str),
    "form": ("kind of dataset", str),
    "pattern": ("pattern", str),
    "n_spurious": ("number of examples", lambda n: f"{n:g} examples"),
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
"""Column → (its name in words, a value in words).  Everything that decides a result, save the seeds."""
QUIET: Mapping[str, object] = {
    "weight_decay": 0.0,
    "input_noise": 0.0,
    "grad_clip": 0.0,
    "form": ONE_CLASS,
    "result_format": "1",
}
"""Values that a label leaves out: what is not there."""
SHOWN_AS: Mapping[str, str] = {"paper": "pattern", "variant": "method_options"}
"""Columns of figures → the setting that they show."""
BELONGS: Mapping[str, str] = {"momentum": "optimizer", "augmentation": "architecture", "schedule": "epochs"}
"""Setting → another one that it often follows from; it is not named beside it then."""
CELLS = ("n_spurious", "target_class")
"""Settings that some comparisons average over within each seed, and then name."""
METHOD_OPTIONS = (
    *("unlearn_epochs", "unlearn_learning_rate", "unlearn_optimizer", "unlearn_batch_size", "forget_batch_size"),
    *("forget_weight", "retain_examples", "ceiling", "solver", "curvature", "damping", "curvature_examples"),
    *("tolerance", "max_iterations", "recursion_depth", "repeats", "scale", "epochs_trained", "known_share"),
    "forget_indices",
)
"""Options of unlearning methods: equal or not, they are compared within their method only."""
OF_SOURCE = ("epochs", "learning_rate", "batch_size")
"""Options of training that some methods have, too: where they do, ``source_…`` is the source model's."""
_SOLVERS: Mapping[str, Sequence[str]] = {
    "cg": ("recursion_depth", "repeats", "scale", "batch_size"),
    "lissa": ("tolerance", "max_iterations"),
    "ekfac": ("recursion_depth", "repeats", "scale", "batch_size", "tolerance", "max_iterations"),
}
IDLE: Mapping[str, Sequence[str]] = _SOLVERS
"""Solver → options that decide nothing with it."""
LONGEST = 60
"""Letters of a stored text in a label."""


def in_words(setting: str, value: object) -> str:
    """A setting's value as a label says it; empty for what is not there."""
    if QUIET.get(setting) == value:
        return ""
    if value is None or value == "" or value != value:
        return f"no {SETTINGS[setting][0]}"
    text = SETTINGS[setting][1](value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def label(values: Mapping[str, object]) -> str:
    """Settings in words, e.g. "adam · 30 epochs"; without anything to say: "as usual"."""
    return " · ".join(part for name, value in values.items() if (part := in_words(name, value))) or "nothing special"

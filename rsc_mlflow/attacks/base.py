"""What a membership attack is: one signature for all of them.

An attack looks at the logits that one *target* model and K *shadow* models give on two sets of examples:

* the **queries**, whose membership in the target's training set is asked for, and which an attack is never told;
* the **population**, the attacker's own examples: none trained the target, and which of them trained which shadow
  model is known.  Whatever an attack has to learn or to tune (a classifier, a constant, its threshold) it learns here.

It answers with one score per query, higher = more likely a member, and with its *own* threshold: a query is called
a member when its score is at least the threshold.

Every attack is one file in :mod:`rsc_mlflow.attacks.methods` with one function, registered under its name:

    @register_attack(title="My attack (we, this year)", min_shadow_models=1)
    def my_attack(queries: Observations, population: Observations) -> AttackResult
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc_mlflow.errors import InputError
from rsc_mlflow.registries import Registry

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class ShadowConfig:
    """How many shadow models, whether they carry the pattern as the target does, and their own seed.

    The seed decides the halves, the spurious examples and the models' training seeds; it is not the target's, so
    that targets of several seeds can share shadow models.
    """

    n_models: int = 16
    spurious: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Observations:
    """What the models say about N examples of C classes.

    Attributes:
        target: float [N, C], logits of the target model.
        shadow: float [K, N, C], logits of the K shadow models, K >= 0.
        shadow_members: bool [K, N], whether the example trained the shadow model *in any form*: an example that
            trained it without the pattern counts as trained when it is asked about with the pattern, so that
            "out" always means that the model has never seen it.
        labels: int [N], in 0 … C-1.

    Raises:
        InputError: shapes disagree, a label is out of range, or a logit is not finite (a model that diverged).
    """

    target: Floats
    shadow: Floats
    shadow_members: Bools
    labels: Ints

    def __post_init__(self) -> None:
        if self.target.ndim != 2 or self.shadow.ndim != 3 or self.shadow.shape[1:] != self.target.shape:
            raise InputError(
                f"logits of the target {self.target.shape} and of the shadow models {self.shadow.shape} do not fit; "
                "accepted: [N, C] and [K, N, C]"
            )
        n, classes = self.target.shape
        if self.labels.shape != (n,) or self.shadow_members.shape != self.shadow.shape[:2]:
            raise InputError(
                f"labels {self.labels.shape} and shadow members {self.shadow_members.shape} do not fit logits "
                f"{self.shadow.shape}; accepted: [N] and [K, N]"
            )
        if n and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise InputError(f"labels must lie in 0 to {classes - 1}; got {self.labels.min()} to {self.labels.max()}")
        if not (np.isfinite(self.target).all() and np.isfinite(self.shadow).all()):
            raise InputError("some logits are not finite: a model diverged; train it with a lower learning rate")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_shadow(self) -> int:
        """K, the number of shadow models."""
        return len(self.shadow)


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Scores, float64 [N], higher = more likely a member; a query is called a member at ``score >= threshold``."""

    scores: Doubles
    threshold: float


AttackFunction = Callable[[Observations, Observations], AttackResult]


@dataclass(frozen=True)
class Attack:
    """A membership attack: its name in metrics and options, its title in figures, and how to run it.

    ``function(queries, population)`` is deterministic.  ``min_shadow_models`` is the smallest number of shadow models,
    of the pairs that :mod:`rsc_mlflow.attacks.shadow_sets` draws, that it works with.
    """

    name: str
    title: str
    min_shadow_models: int
    function: AttackFunction

    def run(self, queries: Observations, population: Observations) -> AttackResult:
        """Attack the queries with what the population teaches.

        Raises:
            InputError: too few shadow models, or the attack refuses these observations.
        """
        self.check(population.n_shadow)
        return self.function(queries, population)

    def check(self, n_shadow: int) -> None:
        """Refuse too few shadow models.

        Raises:
            InputError: fewer than ``min_shadow_models``.
        """
        if n_shadow < self.min_shadow_models:
            raise InputError(
                f"the attack {self.name!r} needs at least {self.min_shadow_models} shadow models, got {n_shadow}; "
                "raise shadow_models or leave the attack out of attacks"
            )


ATTACKS: Registry[Attack] = Registry("attack", "rsc_mlflow.attacks.methods")
DEFAULT_ATTACKS = ("shadow", "loss", "lira", "rmia")
"""Those that run where none are named; they also come first in lists."""


def register_attack(*, title: str, min_shadow_models: int = 1) -> Callable[[AttackFunction], AttackFunction]:
    """Decorator that registers a function as the attack of its name; see :class:`Attack`.

    Raises:
        InputError: another attack has that name.
    """

    def register(function: AttackFunction) -> AttackFunction:
        name = function.__name__
        if not function.__module__.startswith("rsc_mlflow."):
            ATTACKS.load_builtins()
        ATTACKS.register(name, Attack(name, title, min_shadow_models, function))
        return function

    return register


def attack_names() -> list[str]:
    """The names of all attacks: the default ones, then the others by name."""
    return [*DEFAULT_ATTACKS, *sorted(set(ATTACKS) - set(DEFAULT_ATTACKS))]


def parse_attacks(text: str, n_shadow: int) -> tuple[Attack, ...]:
    """The attacks of a comma list such as ``shadow,lira``, in its order.

    Raises:
        InputError: the list is empty, names an unknown attack or one twice, or ``n_shadow`` models are too few.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise InputError(f"unknown attack {unknown[0]!r} in attacks={text!r}; accepted: {', '.join(attack_names())}")
    if len(set(names)) != len(names):
        raise InputError(f"attacks={text!r} names an attack twice; name each once")
    chosen = tuple(ATTACKS[name] for name in names)
    for attack in chosen:
        attack.check(n_shadow)
    return chosen

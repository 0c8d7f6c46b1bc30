"""The common signature of membership attacks, and their registry.

An attack receives the logits of one *target* model and K *shadow* models on two sets of examples:

* the **queries**, whose membership in the target's training set is to be inferred;
* the **population**, the attacker's own examples.  The target was trained on none of them, and it is known which shadow
  model was trained on which of them.  Attacks fit and tune everything they need (a classifier, a constant, a threshold)
  on the population.

An attack returns a threshold and one score per query; a higher score means that the query is more likely a member.  A
query is classified as a member if its score is at least the threshold.

Each attack is a function in its own module of :mod:`rsc_mlflow.attacks.methods`, registered under the function's name:

    @register_attack(title="My attack (we, this year)", min_shadow_models=1)
    def my_attack(queries: Observations, population: Observations) -> AttackResult
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc_mlflow.errors import InputError, invalid_value, unknown_name
from rsc_mlflow.registries import Registry

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class ShadowConfig:
    """Options of shadow models.

    Attributes:
        n_models: number of shadow models.
        spurious: whether their training sets contain spurious examples, as the target's does.
        seed: seed of the models' training sets, of their spurious examples and of the training.  It does not depend on
            the target's seeds, so targets with different seeds can share shadow models.
    """

    n_models: int = 16
    spurious: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Observations:
    """Logits of the target and the shadow models on N examples of C classes.

    Attributes:
        target: logits of the target model, float ``[N, C]``.
        shadow: logits of the K ≥ 0 shadow models, float ``[K, N, C]``.
        shadow_members: whether each shadow model was trained on each example, with or without the pattern, bool
            ``[K, N]``.  False means that the model has not seen the example in any form.
        labels: true classes, int ``[N]``, 0 to C - 1.

    Raises:
        InputError: shapes do not match, a label is out of range, or a logit is not finite (a model diverged).
    """

    target: Floats
    shadow: Floats
    shadow_members: Bools
    labels: Ints

    def __post_init__(self) -> None:
        if self.target.ndim != 2 or self.shadow.shape[1:] != self.target.shape:
            raise InputError(
                f"The shapes of target logits {self.target.shape} and shadow logits {self.shadow.shape} do not match. "
                "Expected [N, C] and [K, N, C]."
            )
        n, classes = self.target.shape
        if self.labels.shape != (n,) or self.shadow_members.shape != self.shadow.shape[:2]:
            raise InputError(
                f"The shapes of labels {self.labels.shape} and shadow members {self.shadow_members.shape} do not match "
                f"shadow logits {self.shadow.shape}. Expected [N] and [K, N]."
            )
        if n and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise InputError(
                f"Labels range from {self.labels.min()} to {self.labels.max()}. Expected 0 to {classes - 1}."
            )
        if not (np.isfinite(self.target).all() and np.isfinite(self.shadow).all()):
            raise InputError("Some logits are not finite because a model diverged. Train with a lower learning rate.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_shadow(self) -> int:
        """K, the number of shadow models."""
        return len(self.shadow)


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The result of an attack on N queries.

    Attributes:
        scores: float64 ``[N]``; a higher score means that the query is more likely a member.
        threshold: a query is classified as a member if its score is at least the threshold.
    """

    scores: Doubles
    threshold: float


AttackFunction = Callable[[Observations, Observations], AttackResult]


@dataclass(frozen=True)
class Attack:
    """A registered membership attack.

    Attributes:
        name: name in metrics and options.
        title: name in figures.
        min_shadow_models: minimum number of shadow models; see :mod:`rsc_mlflow.attacks.shadow_sets`.
        function: called with queries and population; it must be deterministic.
    """

    name: str
    title: str
    min_shadow_models: int
    function: AttackFunction

    def run(self, queries: Observations, population: Observations) -> AttackResult:
        """Return the scores of the queries and the threshold.

        Raises:
            InputError: there are too few shadow models, or the attack cannot use these observations.
        """
        self.check(population.n_shadow)
        return self.function(queries, population)

    def check(self, n_shadow: int) -> None:
        """Check the number of shadow models.

        Raises:
            InputError: it is below ``min_shadow_models``.
        """
        if n_shadow < self.min_shadow_models:
            raise InputError(
                f"The attack {self.name!r} needs at least {self.min_shadow_models} shadow models, got {n_shadow}. "
                "Increase shadow_models or remove the attack from attacks."
            )


ATTACKS: Registry[Attack] = Registry("attack", "rsc_mlflow.attacks.methods")
DEFAULT_ATTACKS = ("shadow", "loss", "lira", "rmia")
"""The attacks that run by default, which are listed first."""


def register_attack(*, title: str, min_shadow_models: int = 1) -> Callable[[AttackFunction], AttackFunction]:
    """Return a decorator that registers a function of queries and population as an attack under the function's name.

    Args:
        title: name in figures.
        min_shadow_models: minimum number of shadow models that the attack needs.

    Raises:
        InputError: the name is already registered.
    """

    def register(function: AttackFunction) -> AttackFunction:
        name = function.__name__
        if not function.__module__.startswith("rsc_mlflow."):
            ATTACKS.load_builtins()
        ATTACKS.register(name, Attack(name, title, min_shadow_models, function))
        return function

    return register


def attack_names() -> list[str]:
    """Return the names of all attacks: the default ones, then the others in alphabetical order."""
    return [*DEFAULT_ATTACKS, *sorted(set(ATTACKS) - set(DEFAULT_ATTACKS))]


def parse_attacks(text: str, n_shadow: int) -> tuple[Attack, ...]:
    """Return the attacks in a comma-separated list such as ``shadow,lira``, in the same order.

    Args:
        text: the list.
        n_shadow: number of shadow models.

    Raises:
        InputError: the list is empty, contains an unknown attack or a duplicate, or an attack needs more shadow models.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise InputError(unknown_name("attack", unknown[0], attack_names(), f"attacks={text}"))
    if len(set(names)) != len(names):
        raise invalid_value("attacks", text, "each attack at most once")
    chosen = tuple(ATTACKS[name] for name in names)
    for attack in chosen:
        attack.check(n_shadow)
    return chosen

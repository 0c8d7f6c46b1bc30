"""Toy worlds whose answer is known: models that memorise by a chosen amount, or not at all."""

from dataclasses import dataclass

import numpy as np

from rsc_mlflow.attacks.base import Bools, Observations
from rsc_mlflow.attacks.shadow_sets import draw_shadow_members


@dataclass(frozen=True)
class World:
    """Queries (the first half members), a population, and the truth about the queries."""

    queries: Observations
    population: Observations
    members: Bools


def gaussian_world(gap: float, n: int = 400, n_shadow: int = 8, classes: int = 4, seed: int = 0) -> World:
    """Each example has a difficulty of its own, every model adds noise, and training adds ``gap`` to its logit."""
    rng = np.random.default_rng(seed)
    members = np.arange(n) < n // 2

    def logits(difficulty: np.ndarray, labels: np.ndarray, trained: np.ndarray) -> np.ndarray:
        result = rng.normal(0, 0.1, (len(labels), classes))
        result[np.arange(len(labels)), labels] += difficulty + rng.normal(0, 0.5, len(labels)) + gap * trained
        return result.astype(np.float32)

    def observe(trained: np.ndarray, shadow_members: np.ndarray) -> Observations:
        labels = rng.integers(0, classes, n)
        difficulty = rng.normal(0, 2, n)
        shadow = [logits(difficulty, labels, row) for row in shadow_members]
        return Observations(logits(difficulty, labels, trained), np.stack(shadow), shadow_members, labels)

    nobody = np.zeros((n_shadow, n), dtype=bool)
    population = observe(np.zeros(n, dtype=bool), draw_shadow_members(np.zeros(n, dtype=bool), n_shadow, seed))
    return World(observe(members, nobody), population, members)

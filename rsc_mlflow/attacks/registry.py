"""Every attack of this package by name: a new one is a new file that ends in ``ATTACK = Attack(…)``."""

import pkgutil
from functools import cache
from importlib import import_module

import rsc_mlflow.attacks
from rsc_mlflow.attacks.base import Attack
from rsc_mlflow.errors import InputError


@cache
def attacks() -> dict[str, Attack]:
    """Name → attack, in alphabetical order of the names."""
    modules = (import_module(f"rsc_mlflow.attacks.{m.name}") for m in pkgutil.iter_modules(rsc_mlflow.attacks.__path__))
    found = [module.ATTACK for module in modules if hasattr(module, "ATTACK")]
    return {attack.name: attack for attack in sorted(found, key=lambda attack: attack.name)}


def parse_attacks(text: str, n_shadow: int) -> tuple[Attack, ...]:
    """The attacks of a comma list such as ``shadow,lira``, in its order.

    Raises:
        InputError: the list is empty, names an unknown attack or one twice, or ``n_shadow`` models are too few.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in attacks()]
    if unknown:
        raise InputError(f"unknown attack {unknown[0]!r} in attacks={text!r}; accepted: {', '.join(attacks())}")
    if len(set(names)) != len(names):
        raise InputError(f"attacks={text!r} names an attack twice; name each once")
    chosen = tuple(attacks()[name] for name in names)
    for attack in chosen:
        attack.check(n_shadow)
    return chosen

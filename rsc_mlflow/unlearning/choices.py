"""Accepted values of the methods' options, in a module that does not import PyTorch."""

from typing import Literal

SolverName = Literal["cg", "lissa", "ekfac"]
SOLVERS: tuple[SolverName, ...] = ("cg", "lissa", "ekfac")
Kind = Literal["ggn", "hessian"]
KINDS: tuple[Kind, ...] = ("ggn", "hessian")
Optimizer = Literal["sgd", "adam"]
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adam")

AUTO = "auto"
"""The value of an option that stands for a value determined from the source model or the data."""

"""Datasets: clean images, spurious patterns, the choice of spurious examples, and quarters for membership inference."""

from rsc_mlflow.data.families import ImageSet, load_family
from rsc_mlflow.data.patterns import apply_pattern, pattern_norm
from rsc_mlflow.data.quarters import Quarters, cut_quarters
from rsc_mlflow.data.sizes import examples_and_shape
from rsc_mlflow.data.spurious import Dataset, choose_spurious, load_dataset
from rsc_mlflow.roots import data_roots

__all__ = [
    "Dataset",
    "ImageSet",
    "Quarters",
    "apply_pattern",
    "choose_spurious",
    "cut_quarters",
    "data_roots",
    "examples_and_shape",
    "load_dataset",
    "load_family",
    "pattern_norm",
]

"""Measuring what a model has learned: spurious scores, weights, sensitivity."""

from rsc_mlflow.scoring.spurious import SpuriousScores, accuracy, cross_entropy

__all__ = ["SpuriousScores", "accuracy", "cross_entropy"]

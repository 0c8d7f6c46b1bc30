"""Measuring what a model has learnt: spurious scores, weights, sensitivity."""

from rsc_mlflow.scoring.spurious import SpuriousScores, accuracy, cross_entropy

__all__ = ["SpuriousScores", "accuracy", "cross_entropy"]

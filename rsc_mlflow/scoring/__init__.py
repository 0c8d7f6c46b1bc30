"""Measuring what a model has learned: spurious scores, weights, sensitivity."""

from rsc_mlflow.scoring.spurious import ScoreCounts, SpuriousScores, accuracy, count_scores, cross_entropy

__all__ = ["ScoreCounts", "SpuriousScores", "accuracy", "count_scores", "cross_entropy"]

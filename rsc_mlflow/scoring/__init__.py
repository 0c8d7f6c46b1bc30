"""Measures of what a model has learned: spurious scores, first-layer weights, and sensitivity to missing pixels."""

from rsc_mlflow.scoring.spurious import ScoreCounts, SpuriousScores, accuracy, count_scores, cross_entropy

__all__ = ["ScoreCounts", "SpuriousScores", "accuracy", "count_scores", "cross_entropy"]

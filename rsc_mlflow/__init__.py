"""Rare spurious correlations: injection, training, scoring, unlearning and attacks, tracked with MLflow."""

"""The experiments: they run training, unlearning, attacks and inspections, and log the results to MLflow."""

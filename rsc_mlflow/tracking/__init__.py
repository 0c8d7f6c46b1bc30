"""Log runs, models and datasets to MLflow, and find them again."""

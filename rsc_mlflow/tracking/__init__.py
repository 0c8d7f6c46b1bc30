"""Writing results down in MLflow and finding them again: the only place where the project logs to MLflow."""

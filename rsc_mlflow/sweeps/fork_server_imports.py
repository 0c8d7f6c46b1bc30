"""What the fork server imports: all that a worker needs, some of which PyTorch and MLflow import at first use only."""

from importlib import import_module

from rsc_mlflow.startup import imports_without_gc

with imports_without_gc():
    for module in (
        "mlflow.pytorch",
        "mlflow.store.tracking.sqlalchemy_store",
        "torch._dynamo",
        "rsc_mlflow.experiments.membership",
        "rsc_mlflow.sweeps.worker",
    ):
        import_module(module)

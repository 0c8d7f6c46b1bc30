"""Imports all modules that a worker needs, including some that PyTorch and MLflow import only at first use."""

import gc
from importlib import import_module

gc.set_threshold(50_000)  # these make hundreds of thousands of objects, none of which is garbage
for module in (
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._dynamo",
    "rsc_mlflow.experiments.membership",
    "rsc_mlflow.sweeps.worker",
):
    import_module(module)
gc.freeze()  # workers share these objects: a collection would copy every page of them

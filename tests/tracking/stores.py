"""Small runs and models for tests that look for them again."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.models import Registration, log_model, register
from rsc_mlflow.tracking.run import TrackedRun, open_run

PARAMS = {"dataset": "digitsv20-3-0-0", "model": "ce-tor-MLP", "learning_rate": 0.01, "epochs": 2}


def small_model(seed: int = 0) -> nn.Module:
    """784-8-10 with dropout, left in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10)).train()


def example() -> Tensor:
    """float32 [4, 1, 28, 28]."""
    return torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def trained(
    model: nn.Module | None = None,
    *,
    params: Mapping[str, object] = PARAMS,
    kind: str = "train",
    method: str | None = None,
    tags: Mapping[str, object] | None = None,
) -> tuple[TrackedRun, str, Registration]:
    """A finished run with a registered model: the run, the model's URI and its registration."""
    with open_run(kind=kind, name="made by a test", method=method, params=params, tags=tags) as run:
        run.metrics({"train/loss": 0.5, "spurious/score": 0.9}, 2)
        run.log_json({"indices": [7, 3, 5]}, schema.SPURIOUS_INDICES)
        uri = log_model(run, model or small_model(), example(), 2)
        registered = register(
            run, uri, dataset=str(params["dataset"]), family="digits", architecture="MLP", kind=kind, method=method
        )
    return run, uri, registered

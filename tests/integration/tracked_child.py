"""A process with an open run, for tests that stop it: ``python -m tests.integration.tracked_child [busy]``.

Prints the run's id when three epochs are logged and a checkpoint is queued, then waits until it is stopped; with
``busy`` as in work that looks at no signal.
"""

import sys
import tempfile
import time
from pathlib import Path

from rsc_mlflow import cancellation
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run


def main() -> None:
    with (
        open_run(kind="train", name="a child", params={"epochs": 1000}) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        for epoch in range(1, 1000):
            run.metrics({"train/loss": 1 / epoch}, epoch)
            if epoch == 3:
                checkpoint = Path(folder) / schema.checkpoint(epoch)
                checkpoint.write_bytes(b"weights")
                run.log_checkpoint(checkpoint)
                print(run.run_id, flush=True)
                (time.sleep if "busy" in sys.argv else cancellation.sleep)(600)
            cancellation.sleep(0.05)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(1)

"""The paper's linear model, in closed form and by simulation: ``mlflow run . -e theory``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.theory_options import TheoryOptions
from rsc_mlflow.startup import imports_without_gc


def theory(options: TheoryOptions) -> None:
    """Curves of the paper's linear model over the share of spurious examples, checked by simulation."""
    with imports_without_gc():
        from rsc_mlflow.experiments.theory import run_theory

    run_theory(options)


cli = command("theory", TheoryOptions, theory)

if __name__ == "__main__":
    main(cli)

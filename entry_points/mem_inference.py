"""Attack a model's membership: ``mlflow run . -e mem_inference -P dataset=memfashionv20-100-0-0``."""

from rich.console import Console
from rich.table import Table

from entry_points.command import command, main
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.startup import imports_without_gc
from rsc_mlflow.tracking import schema

COLUMNS = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "tpr_at_fpr_0.01": "TPR at FPR 1 %",
    "spurious_tpr": "spurious TPR",
    "control_fpr": "control FPR",
    "spurious_auc": "spurious AUC",
}


def mem_inference(options: MembershipOptions) -> None:
    """Train (or find) a target and shadow models on the quarters of a mem… data set and attack the target.

    Judge the spurious examples by spurious AUC, not by their TPR: the control FPR says how many images that carry the
    pattern and trained nothing are called members as well.
    """
    with imports_without_gc():
        from rsc_mlflow.experiments.membership import infer_membership

    metrics = infer_membership(options)
    table = Table(title=f"Membership attacks on {options.dataset}")
    for heading in ("attack", *COLUMNS.values()):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for attack in options.parsed_attacks():
        values = [metrics.get(schema.attack(attack.name, measure)) for measure in COLUMNS]
        table.add_row(attack.title, *("–" if value is None else f"{value:.3f}" for value in values))
    Console(width=130).print(table)


cli = command("mem_inference", MembershipOptions, mem_inference)

if __name__ == "__main__":
    main(cli)

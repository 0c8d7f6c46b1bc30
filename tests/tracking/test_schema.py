from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.values import check_metric_name


def test_names_that_are_put_together() -> None:
    assert schema.score_target(3) == "spurious/score_target_3"
    assert schema.score_class(0) == "spurious/score_class_0"
    assert schema.reference_score_target("v20", 9) == "reference/v20/score_target_9"
    assert schema.attack("lira", "tpr_at_fpr_0.001") == "attack/lira/tpr_at_fpr_0.001"
    assert schema.checkpoint(7) == "epoch_0007.pt"
    assert schema.registered_model("mnist", "LargeMLP") == "rsc-mnist-LargeMLP"
    assert schema.alias("mnistv20-3-0-0") == "mnistv20-3-0-0"
    assert schema.alias("mnistv20-3-0-0", "group_influence") == "mnistv20-3-0-0--group_influence"


def test_mlflow_takes_every_metric_name() -> None:
    for name, value in vars(schema).items():
        if name.isupper() and isinstance(value, str) and "/" in value and not name.endswith("_PREFIX"):
            check_metric_name(value)
    for attack in schema.ATTACKS:
        for measure in schema.ATTACK_MEASURES:
            check_metric_name(schema.attack(attack, measure))

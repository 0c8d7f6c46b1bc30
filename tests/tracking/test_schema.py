import pytest

from rsc_mlflow.attacks.base import DEFAULT_ATTACKS
from rsc_mlflow.errors import InputError
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


def test_a_prefix_is_put_before_the_names_of_registered_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSC_MODEL_PREFIX", "team_1.ann-")
    assert schema.registered_model("mnist", "LargeMLP") == "team_1.ann-rsc-mnist-LargeMLP"
    monkeypatch.setenv("RSC_MODEL_PREFIX", "")
    assert schema.registered_model("mnist", "LargeMLP") == "rsc-mnist-LargeMLP"


@pytest.mark.parametrize("prefix", ["a/", "a:", "a@", "a b", "a'", 'a"', "ü-", "a\n", "a%", "x" * 101])
def test_a_prefix_that_no_model_uri_can_hold_is_refused(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSC_MODEL_PREFIX", prefix)
    with pytest.raises(InputError, match=r"'RSC_MODEL_PREFIX': .*\. Expected up to 100 letters"):
        schema.registered_model("mnist", "LargeMLP")


def test_mlflow_takes_every_metric_name() -> None:
    for name, value in vars(schema).items():
        if name.isupper() and isinstance(value, str) and "/" in value and not name.endswith("_PREFIX"):
            check_metric_name(value)
    for attack in DEFAULT_ATTACKS:
        for measure in schema.ATTACK_MEASURES:
            check_metric_name(schema.attack(attack, measure))

"""mem_inference read back through the client: what is logged, what is not trained twice, what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import roc_auc_score

from rsc_mlflow.attacks.base import DEFAULT_ATTACKS, ShadowConfig
from rsc_mlflow.attacks.experiment import Population, shadow_members
from rsc_mlflow.attacks.metrics import auc
from rsc_mlflow.attacks.shadow_sets import draw_shadow_members
from rsc_mlflow.data import ImageSet, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.membership import infer_membership
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.shadow_models import find_or_train_shadow_models, shadow_fingerprint
from rsc_mlflow.experiments.training import TrainingJob, registrar, train_members
from rsc_mlflow.experiments.unlearning import unlearn
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.names import DatasetName
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.training import Cohort

ExactRetrainingOptions = method_options("exact_retraining")

POISONED = "memdigitsv20-5-1-0"
SETTINGS = {"model": "ce-tor-MLP", "optimizer": "adam", "epochs": 4, "shadow_models": 4, "score_every": 0}


def options(dataset: str = POISONED, **changes: object) -> MembershipOptions:
    return MembershipOptions.from_mapping({"dataset": dataset} | SETTINGS | changes)


def runs(method: str | None = None) -> list[Run]:
    client = MlflowClient()
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return [run for run in found if method in (None, run.data.tags.get(schema.METHOD))]


@pytest.mark.usefixtures("sqlite_store")
def test_everything_is_logged_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    infer_membership(options())
    (attack,) = runs("mem_inference")
    (target,) = runs("train_classifier")
    (shadow,) = runs("shadow_models")
    assert {run.info.status for run in runs()} == {"FINISHED"}
    assert target.data.tags[schema.PARENT_RUN_ID] == shadow.data.tags[schema.PARENT_RUN_ID] == attack.info.run_id
    assert attack.data.tags[schema.SOURCE_RUN_ID] == target.info.run_id
    for name in DEFAULT_ATTACKS:
        measures = [*schema.ATTACK_MEASURES, *(f"auc_class_{k}" for k in range(10))]
        assert {schema.attack(name, measure) for measure in measures} <= set(attack.data.metrics), name
        assert attack.data.metrics[schema.attack(name, "n_spurious")] == 5
    check_loss_attack(attack, target)
    check_versions(shadow.info.run_id)
    record = json.loads(
        Path(MlflowClient().download_artifacts(attack.info.run_id, "spurious_members.json")).read_text()
    )
    dataset = load_dataset(DatasetName.parse(POISONED))
    assert record["indices"] == sorted(dataset.spurious_indices.tolist())
    curves = json.loads(Path(MlflowClient().download_artifacts(attack.info.run_id, "roc.json")).read_text())
    for name in DEFAULT_ATTACKS:
        for curve, measure in ((curves[name], "auc"), (curves[f"{name}/spurious"], "spurious_auc")):
            area = np.trapezoid(curve["tpr"], curve["fpr"])
            assert area == pytest.approx(attack.data.metrics[schema.attack(name, measure)], abs=0.02)
            assert len(curve["fpr"]) <= 200
    page = Path(MlflowClient().download_artifacts(attack.info.run_id, "figures/roc.html", str(tmp_path))).read_text()
    assert (page.count("<svg"), page.count("<script")) == (2, 0)
    assert len(page) < 500_000

    infer_membership(options(attacks="shadow,loss", shadow_models=2))
    assert (len(runs("train_classifier")), len(runs("shadow_models"))) == (1, 1)
    shadow_uri = MlflowClient().search_model_versions(f"run_id = '{shadow.info.run_id}'")[0].source
    with pytest.raises(InputError, match="a model of kind attack, which was not trained on target-train"):
        infer_membership(options(model_uri=shadow_uri))
    with pytest.raises(InputError, match=r"trained with epochs=4, but shadow models .* epochs=5\. Use epochs=4"):
        infer_membership(options(epochs=5, model_uri=f"runs:/{target.info.run_id}/model"))
    again = next(run for run in runs("mem_inference") if run.info.run_id != attack.info.run_id)
    for name in ("shadow", "loss"):  # the models came out of the store and give the same numbers
        key = schema.attack(name, "auc")
        assert again.data.metrics[key] == pytest.approx(attack.data.metrics[key], abs=1e-4)


def check_loss_attack(attack: Run, target: Run) -> None:
    """The AUCs of the loss attack, recomputed here from the stored weights with numpy and scikit-learn."""
    dataset = load_dataset(DatasetName.parse(POISONED))
    weights = [tensor.double().numpy() for tensor in pull(f"runs:/{target.info.run_id}/model").state_dict.values()]

    def log_probability(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        hidden = np.maximum(images.reshape(len(images), -1) @ weights[0].T + weights[1], 0)
        logits = hidden @ weights[2].T + weights[3]
        return logits[np.arange(len(labels)), labels] - np.log(np.exp(logits).sum(1))

    labels, test_labels = dataset.train.labels.numpy(), dataset.test.labels.numpy()
    spurious = np.zeros(len(labels), dtype=bool)
    spurious[dataset.spurious_indices.numpy()] = True
    members = log_probability(dataset.training_images().numpy(), labels)
    others = log_probability(dataset.test.images.numpy(), test_labels)
    expected = roc_auc_score(np.repeat([1, 0], [(~spurious).sum(), len(others)]), np.append(members[~spurious], others))
    assert attack.data.metrics["attack/loss/auc"] == pytest.approx(expected, abs=1e-4)

    assert dataset.shadow is not None
    sources = [part.images[part.labels == 1] for part in (dataset.test, *dataset.shadow)]
    controls = np.concatenate([dataset.patterned(images).numpy() for images in sources])
    carried = log_probability(controls, np.ones(len(controls), dtype=int))
    both = np.append(members[spurious], carried)
    assert attack.data.metrics["attack/loss/spurious_auc"] == pytest.approx(
        auc(both, np.arange(len(both)) < 5), abs=5e-3
    )
    assert attack.data.metrics["attack/loss/n_controls"] == len(controls)


def check_versions(shadow_run_id: str) -> None:
    """The registry holds one version a shadow model, tagged with its number."""
    found = MlflowClient().search_model_versions(f"run_id = '{shadow_run_id}'")
    assert {version.tags["shadow_model"] for version in found} == {"0", "1", "2", "3"}
    for version in found:
        tags = {key: version.tags[key] for key in ("dataset", "kind", "method", "run_id")}
        assert tags == {"dataset": POISONED, "kind": "attack", "method": "shadow_models", "run_id": shadow_run_id}


@pytest.mark.usefixtures("sqlite_store")
def test_an_unlearned_model_is_attacked_by_its_uri_with_the_same_shadow_models() -> None:
    settings = {key: value for key, value in SETTINGS.items() if key != "shadow_models"}
    training = TrainOptions.from_mapping({"dataset": POISONED} | settings)
    source = train_members([TrainingJob(training)])[0]
    unlearn(ExactRetrainingOptions(model_uri=source.model_uri))
    alias = f"models:/rsc-digits-MLP@{POISONED}--exact_retraining"
    model_uri = pull(alias).model_uri
    metrics = infer_membership(options(model_uri=alias, attacks="loss"))
    (attack,) = runs("mem_inference")
    by_model = options(model_uri=model_uri, attacks="loss")  # an alias counts as the model that it stands for
    assert attack.data.tags[schema.FINGERPRINT] == fingerprint(by_model.identity())
    assert len(runs("train_classifier")) == 1
    assert attack.data.tags[schema.SOURCE_MODEL_URI] == model_uri
    # never trained on in either form, so exchangeable with the controls: 2.6 standard deviations of 5 against about 130
    assert abs(metrics["attack/loss/spurious_auc"] - 0.5) < 2.6 * np.sqrt(1 / (12 * 5))
    for message, change in (
        ("was trained on memdigitsv20-5-1-0, but dataset is memdigitsv20-5-1-7", {"dataset": "memdigitsv20-5-1-7"}),
        ("model=ce-tor-MLP, but shadow models would be trained with model=ce-tor-MLPv2", {"model": "ce-tor-MLPv2"}),
        ("pattern_seed=0, but shadow models would be trained with pattern_seed=9", {"pattern_seed": 9}),
    ):
        with pytest.raises(InputError, match=message):
            infer_membership(options(**({"model_uri": model_uri} | change)))
    assert len(runs("mem_inference")) == 1


@pytest.mark.usefixtures("sqlite_store")
def test_a_clean_target_has_no_spurious_members_and_a_set_that_is_too_small_is_not_used() -> None:
    small = options("memdigits", attacks="loss", shadow_models=1, epochs=1, register=False)
    infer_membership(small)
    metrics = infer_membership(dataclasses.replace(small, shadow_models=2))
    assert {measure.rpartition("/")[2][:9] for measure in metrics} == {"auc", "balanced_", "tpr_at_fp", "auc_class"}
    assert {run.data.params["shadow_models"] for run in runs("shadow_models")} == {"1", "2"}
    for run in runs("mem_inference"):
        paths = {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}
        assert "roc.json" in paths
        assert "spurious_members.json" not in paths
    assert MlflowClient().search_model_versions("name = 'rsc-digits-MLP'") == []


@pytest.mark.usefixtures("sqlite_store")
def test_a_count_larger_than_the_class_is_refused_before_any_run() -> None:
    with pytest.raises(InputError, match="the training set has"):
        infer_membership(options("memdigitsv20-200-1-0"))
    assert not runs()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "digitsv20-1-0-0"}, r"for example memdigits\.$"),
        ({"attacks": "lira,guess"}, "Unknown attack 'guess'"),
        ({"attacks": "lira", "shadow_models": 2}, "at least 4 shadow models, got 2"),
        ({"shadow_models": 0}, "'shadow_models': '0'. Expected auto, or an integer from 1"),
        ({"resume_run_id": "abc"}, "Run it again"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        options(**changes)  # type: ignore[arg-type]


def test_default_number_of_shadow_models_depends_on_the_cohort() -> None:
    assert options(shadow_models="auto").n_shadow_models == 16
    assert options(shadow_models="auto", model="ce-tor-altResNet20").n_shadow_models == 4


def test_shadow_models_are_shared_by_targets_that_differ_in_seeds_alone() -> None:
    def digest(dataset: str, spurious: bool = True, **changes: object) -> str:
        given = options(dataset, shadow_spurious=spurious, **changes)
        return shadow_fingerprint(given.target(), given.shadow_config())

    shared = digest("memdigitsv20-5-1-0", pattern_seed=0)
    assert digest("memdigitsv20-5-1-3", pattern_seed=0, random_seed=3) == shared
    assert digest("memdigitsv20-5-1-0", shadow_models=9, attacks="loss") == shared
    others = [
        digest("memdigitsv20-5-1-3"),  # another noise
        digest("memdigitsv20-6-1-0"),
        digest("memdigitsv20-5-2-0"),
        digest("memdigitsv20-5-1-0", shadow_seed=1),
        digest("memdigitsv20-5-1-0", epochs=5),
        digest("memdigitsv20-5-1-0", spurious=False),
    ]
    assert len({shared, *others}) == 7
    clean = digest("memdigits")
    assert digest("memdigitsv20-5-1-3", spurious=False) == clean == digest("memdigitsv18-50-2-3", spurious=False)


def test_models_that_cannot_be_stacked_train_one_after_the_other(
    sqlite_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two networks on eight images each; their progress counts the epochs of both."""
    training = options("memdigits", model="ce-tor-altResNet20", epochs=2, register=False).target()
    config = ShadowConfig(n_models=2)
    dataset = load_dataset(DatasetName.parse("memdigits"))
    clean = ImageSet(dataset.test.images[:16], dataset.test.labels[:16])
    nothing = torch.empty(0, dtype=torch.int64)
    members = draw_shadow_members(np.zeros(16, dtype=bool), 2, 0)
    population = Population(clean, nothing, clean.images[nothing], members)
    parent = MlflowClient(sqlite_store).create_run("0").info.run_id
    first, _ = find_or_train_shadow_models(training, config, dataset, population, parent, registrar(training))
    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert [line.partition("epoch ")[2].split()[0] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    (run,) = runs("shadow_models")
    assert schema.TRAIN_LOSS not in run.data.metrics
    alone = Cohort([shadow_members(population, training.config(), config)[0]], 10, torch.device("cpu"))
    list(alone.epochs())
    expected = alone.module(0).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in first.state_dict().items())

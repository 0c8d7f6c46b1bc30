"""Made-up runs with the parameters, metrics and tags of each kind of run, and plausible numbers."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import cycle, product

import numpy as np

from rsc_mlflow.tracking import schema

NORMS = {"v1": 1.0, "v3": 3.0, "v8": 5.0, "v18": 3.4, "v19": 6.7, "v20": 12.9, "v30": 7.4}
COUNTS = (1, 3, 5, 10, 20, 100)
FAMILIES = ("mnist", "fashion", "cifar10")
OPTIMIZERS = ("sgd", "adam", "adagrad", "rms")
ARCHITECTURES = {"MLP": 203_530, "LargeMLP": 335_114, "LargeMLPv2": 932_362, "CNN002": 312_202}
METHODS = (
    "incremental_retraining",
    "group_influence",
    "exact_retraining",
    "relabel_finetuning",
    "gradient_difference",
)
SOURCE_URI = "models:/rsc-mnist-LargeMLP/1"
ATTACKS = ("shadow", "loss", "lira", "rmia")


@dataclass
class Draft:
    """The content of a run, without id and times."""

    name: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    status: str = "FINISHED"
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: dict[str, object] = field(default_factory=dict)


def drafts(count: int, seed: int = 0) -> Iterator[Draft]:
    """Yield ``count`` drafts: about 75 % training, 12 % unlearning, 8 % attacks, 5 % scores, a sweep every 400 runs.

    One in 40 has failed, one in 50 has the fingerprint of an earlier run, and the last two are still running.
    """
    random = np.random.default_rng(seed)
    settings = cycle(_settings())
    made = 0
    sweep = "sweep-0"
    earlier: list[Draft] = []
    while made < count:
        if made % 400 == 0:
            sweep = f"sweep-{made // 400}"
            yield _sweep(sweep)
            made += 1
            continue
        if earlier and random.random() < 0.02:
            draft = deepcopy(earlier[int(random.integers(len(earlier)))])
        else:
            draft = _one(next(settings), random, made)
        _end(draft, random, made, count, sweep)
        if draft.status == "FINISHED":
            earlier = [*earlier[-200:], draft]
        yield draft
        made += 1


def _end(draft: Draft, random: np.random.Generator, made: int, count: int, sweep: str) -> None:
    draft.tags[schema.SWEEP] = sweep
    if made >= count - 2:
        draft.status = "RUNNING"
        return
    if random.random() < 0.025:
        draft.status = str(random.choice(["FAILED", "KILLED"]))
        draft.tags[schema.ERROR] = "RuntimeError: loss became nan in epoch 3" if draft.status == "FAILED" else "SIGTERM"
        draft.metrics = {k: v for k, v in draft.metrics.items() if k.startswith(schema.TRAIN_PREFIX)}
        draft.artifacts = {}
        draft.curves = {}


def _settings() -> Iterator[dict[str, object]]:
    """Yield all settings, with the seeds in the innermost loop, so that a small store has complete curves."""
    kinds = cycle(["train"] * 6 + ["unlearn", "train", "attack", "train", "unlearn", "train", "score"])
    pairs = sorted(product(ARCHITECTURES, OPTIMIZERS), key=lambda pair: (pair[0] != "LargeMLP") + (pair[1] != "sgd"))
    for block in range(0, 1000, 5):
        for (name, optimizer), family, pattern in product(pairs, FAMILIES, (*NORMS, None)):
            for count, seed in product(COUNTS if pattern else (0,), range(block, block + 5)):
                yield {
                    "kind": next(kinds),
                    "family": family,
                    "architecture": name,
                    "n_parameters": ARCHITECTURES[name],
                    "optimizer": optimizer,
                    "pattern": pattern,
                    "count": count,
                    "seed": seed,
                }


def _one(setting: Mapping[str, object], random: np.random.Generator, index: int) -> Draft:
    maker = {"train": _train, "unlearn": _unlearn, "attack": _attack, "score": _score}[str(setting["kind"])]
    draft = maker(setting, random, index)
    plain = json.dumps([draft.params, draft.tags[schema.KIND], draft.tags.get(schema.METHOD)], sort_keys=True)
    draft.tags[schema.FINGERPRINT] = hashlib.sha256(plain.encode()).hexdigest()
    return draft


def _params(setting: Mapping[str, object], random: np.random.Generator, index: int) -> dict[str, str]:
    pattern, family, count, seed = setting["pattern"], setting["family"], setting["count"], setting["seed"]
    target = index % 3
    dataset = f"{family}{pattern}-{count}-{target}-{seed}" if pattern else str(family)
    regular = index % 5 == 0
    return {
        "dataset": dataset,
        "model": f"ce-tor-{setting['architecture']}",
        "epochs": "70",
        "batch_size": "128",
        "optimizer": str(setting["optimizer"]),
        "learning_rate": "0.01",
        "momentum": "0.9",
        "weight_decay": str(random.choice(["0.0001", "0.001", "0.01", "0.1"])) if regular else "0",
        "grad_clip": str(random.choice(["0.1", "0.5"])) if index % 7 == 0 else "0",
        "input_noise": str(random.choice(["0.1", "0.3"])) if index % 11 == 0 else "0",
        "random_seed": str(seed),
        "pattern_seed": str(seed),
        "schedule": "steps",
        "dataset_family": str(family),
        "pattern": str(pattern or "none"),
        "n_spurious": str(count),
        "target_class": str(target) if pattern else "none",
        "dataset_seed": str(seed) if pattern else "0",
        "architecture": str(setting["architecture"]),
        "loss": "ce",
        "augmentation": "none",
        "n_parameters": str(setting["n_parameters"]),
        "n_train": "60000",
        "n_test": "10000",
        "score_threshold": "0.1",
    }


def _score_of(params: Mapping[str, str], random: np.random.Generator) -> float:
    norm = NORMS.get(params["pattern"], 0.0)
    strength = 1.1 * np.log10(1 + float(params["n_spurious"])) + 0.22 * norm - 3.0
    strength += {"sgd": 0.0, "adam": 0.6, "adagrad": 0.3, "rms": 0.8}[params["optimizer"]]
    strength -= 4 * float(params["weight_decay"]) ** 0.5 + 2 * float(params["input_noise"])
    strength -= 0.5 * (params["grad_clip"] != "0")
    return float(np.clip(1 / (1 + np.exp(-1.5 * (strength + 0.35 * random.standard_normal()))), 0, 1))


def _train(setting: Mapping[str, object], random: np.random.Generator, index: int) -> Draft:
    params = _params(setting, random, index)
    score = _score_of(params, random)
    accuracy = {"mnist": 0.983, "fashion": 0.895, "cifar10": 0.55}[params["dataset_family"]]
    accuracy -= 0.6 * float(params["weight_decay"]) + 0.05 * float(params["input_noise"])
    metrics = {
        schema.TRAIN_LOSS: float(0.02 + 0.01 * random.random()),
        schema.TRAIN_ACCURACY: min(1.0, accuracy + 0.015),
        schema.LEARNING_RATE: 1e-5,
        schema.TEST_LOSS: float(0.1 + 0.02 * random.random()),
        schema.TEST_ACCURACY: float(accuracy + 0.003 * random.standard_normal()),
        schema.SECONDS: float(30 + 10 * random.random()),
        schema.SECONDS_PER_EPOCH: 0.55,
        schema.LOGGING_SECONDS: 1.2,
        schema.PEAK_MEMORY_MB: 812.0,
    }
    if params["pattern"] != "none":
        metrics |= _spurious(params, score, accuracy, random)
    else:
        for pattern, norm in NORMS.items():
            for target in range(10):
                base = abs(0.004 * norm * (1 + 0.3 * random.standard_normal()))
                metrics[schema.reference_score_target(pattern, target)] = float(base)
    name = f"{params['dataset']} {params['architecture']} {params['optimizer']}"
    tags = {schema.KIND: "train", schema.METHOD: "train_classifier"}
    return Draft(name, params, metrics, tags)


def _spurious(
    params: Mapping[str, str], score: float, accuracy: float, random: np.random.Generator
) -> dict[str, float]:
    target = int(params["target_class"])
    norm = NORMS[params["pattern"]]
    metrics = {
        schema.SPURIOUS_SCORE: score,
        schema.SPURIOUS_SCORE_NONTARGET: score * 0.95,
        schema.SPURIOUS_FLIP_RATE: score**1.5,
        schema.SPURIOUS_TEST_ACCURACY: accuracy * (1 - 0.8 * score),
        schema.PATTERN_NORM: norm * (0.9 + 0.02 * random.random()),
        schema.REFERENCE_SCORE: abs(0.004 * norm),
        schema.P_VALUE: float(10 ** (-200 * max(0.0, score - 0.02)) * random.random()),
    }
    for k in range(10):
        metrics[schema.score_target(k)] = score if k == target else 0.15 * score * random.random()
        metrics[schema.score_class(k)] = float(np.clip(score + 0.05 * random.standard_normal(), 0, 1))
    return metrics


_ALSO_BEFORE = (schema.SPURIOUS_SCORE, schema.TEST_ACCURACY, schema.TEST_LOSS)


def _unlearn(setting: Mapping[str, object], random: np.random.Generator, index: int) -> Draft:
    setting = {**setting, "pattern": setting["pattern"] or "v20", "count": setting["count"] or 10}
    draft = _train(setting, random, index)
    method = METHODS[index % len(METHODS)]
    before = dict(draft.metrics)
    keep = {"incremental_retraining": 0.85, "group_influence": 0.7, "exact_retraining": 0.08}.get(method, 0.35)
    score = before[schema.SPURIOUS_SCORE] * keep * (1 + 0.1 * random.standard_normal())
    draft.metrics[schema.SPURIOUS_SCORE] = float(np.clip(score, 0, 1))
    loss = {"gradient_difference": 0.02, "relabel_finetuning": 0.012}.get(method, 0.001)
    draft.metrics[schema.TEST_ACCURACY] -= loss
    draft.metrics |= {schema.before(k): v for k, v in before.items() if k.startswith(_ALSO_BEFORE)}
    exact = before[schema.SPURIOUS_SCORE] * 0.08
    forget_loss = {"gradient_difference": 24.0, "exact_retraining": 2.0}.get(method, 1 - keep) + random.random()
    draft.metrics |= {
        schema.gap(schema.SPURIOUS_SCORE): draft.metrics[schema.SPURIOUS_SCORE] - exact,
        schema.gap(schema.TEST_ACCURACY): -loss,
        schema.FORGET_LOSS: forget_loss,
        schema.gap(schema.FORGET_LOSS): forget_loss - 2.5,
        schema.FORGET_CONFIDENCE: float(np.exp(-forget_loss)),
        schema.gap(schema.FORGET_CONFIDENCE): float(np.exp(-forget_loss) - np.exp(-2.5)),
        schema.FORGET_ACCURACY: float(0.9 * keep),
        schema.RETAIN_ACCURACY: 0.99 - loss,
        schema.GRADIENT_NORM: float(random.random()),
        schema.PARAMETER_DISTANCE: float(1 + random.random()),
        schema.KL_TO_REFERENCE: float(0.01 + 0.1 * keep * random.random()),
        schema.KL_TO_REFERENCE_PATTERN: float(0.1 + keep * random.random()),
        schema.UNLEARN_SECONDS: {"exact_retraining": 38.0, "group_influence": 2.5}.get(method, 6.0) + random.random(),
    }
    draft.metrics[schema.SPEEDUP] = 38.5 / draft.metrics[schema.UNLEARN_SECONDS]
    draft.tags |= {
        schema.KIND: "unlearn",
        schema.METHOD: method,
        schema.SOURCE_MODEL_URI: "models:/rsc-mnist-LargeMLP/1",
    }
    draft.name = f"{method} {draft.params['dataset']}"
    return draft


def _attack(setting: Mapping[str, object], random: np.random.Generator, index: int) -> Draft:
    setting = {**setting, "pattern": setting["pattern"] or "v20", "count": setting["count"] or 10}
    draft = _train(setting, random, index)
    draft.params["dataset"] = "mem" + draft.params["dataset"]
    draft.params |= {"attacks": ",".join(ATTACKS), "shadow_models": "1"}
    roc: dict[str, object] = {}
    for strength, attack in enumerate(ATTACKS):
        auc = float(0.52 + 0.02 * strength + 0.01 * random.random())
        memorized = min(0.95, 0.3 + draft.metrics[schema.SPURIOUS_SCORE] * 0.6)
        draft.metrics |= {
            schema.attack(attack, "auc"): auc,
            schema.attack(attack, "balanced_accuracy"): auc - 0.01,
            schema.attack(attack, "tpr_at_fpr_0.01"): float(0.012 + 0.01 * strength * random.random()),
            schema.attack(attack, "tpr_at_fpr_0.001"): float(0.001 + 0.003 * strength * random.random()),
            schema.attack(attack, "spurious_tpr"): memorized,
            schema.attack(attack, "control_fpr"): memorized * 0.55,
            schema.attack(attack, "spurious_auc"): 0.5 + 0.3 * memorized,
        }
        fpr = np.geomspace(1e-3, 1, 60)
        roc[attack] = {"fpr": fpr.round(5).tolist(), "tpr": (fpr ** (1 / auc - 1)).round(5).tolist()}
    draft.artifacts = {schema.ROC: roc}
    draft.tags |= {schema.KIND: "attack", schema.METHOD: "mem_inference"}
    draft.name = f"attack {draft.params['dataset']}"
    return draft


def _score(setting: Mapping[str, object], random: np.random.Generator, index: int) -> Draft:
    setting = {**setting, "pattern": setting["pattern"] or "v8", "count": setting["count"] or 10}
    draft = _train(setting, random, index)
    method = ("visualize_weights", "occlusion", "score_model", "theory")[index % 4]
    draft.tags |= {schema.KIND: "score", schema.METHOD: method}
    draft.name = f"{method} {draft.params['dataset']}"
    rows, columns = np.mgrid[0:28, 0:28]
    if method == "visualize_weights":
        plain = 0.3 * np.exp(-((rows - 14) ** 2 + (columns - 14) ** 2) / 60) + 0.02 * random.random((28, 28))
        marked = plain + 0.4 * ((rows < 5) & (columns < 5))
        maps = {"poisoned": marked.round(4).tolist(), "clean": plain.round(4).tolist()}
        draft.artifacts = {schema.WEIGHT_MAP: {"maps": maps, "difference": (marked - plain).round(4).tolist()}}
    if method == "theory":
        draft.artifacts = {
            schema.THEORY: {"curves": [_theory(ridge, noise) for ridge in (0, 10) for noise in (0, 0.3)]}
        }
    if method == "occlusion":
        fall = 4 + 3 * random.random()
        curve = [(share, float(0.1 + 0.88 * np.exp(-((share / 100) ** 2) * fall))) for share in range(0, 101, 2)]
        draft.curves = {schema.OCCLUSION_PROBABILITY: curve}
        draft.metrics[schema.OCCLUSION_AUC] = float(np.mean([value for _, value in curve]))
    return draft


def _theory(ridge: float, noise: float) -> dict[str, object]:
    gamma = [k / 20 for k in range(21)]
    score = [g / (1 + noise + 0.2 * ridge * (1 - g)) for g in gamma]
    accuracy = [0.95 - 0.1 * g for g in gamma]
    measures = {"score": score, "clean_accuracy": accuracy, "spurious_accuracy": [a / 2 for a in accuracy]}
    return {"lambda": ridge, "noise": noise, "gamma": gamma, **measures}


def _sweep(sweep: str) -> Draft:
    tags = {schema.KIND: "sweep", schema.METHOD: "sweep", schema.SWEEP: sweep, schema.FINGERPRINT: sweep}
    return Draft(f"{sweep} grids/paper/scores.yaml", {"n_jobs": "399", "executor": "local"}, {}, tags)

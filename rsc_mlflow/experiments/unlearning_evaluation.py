"""Evaluation of a model before and after unlearning, and comparison with the retrained reference."""

from dataclasses import dataclass

from torch import Tensor, nn

from rsc_mlflow.experiments.scores import Evaluation, evaluate, logits_of
from rsc_mlflow.experiments.unlearning_source import SourceModel
from rsc_mlflow.scoring import SpuriousScores
from rsc_mlflow.tracking import schema
from rsc_mlflow.unlearning.gradients import label_confidence, loss_and_accuracy

COMPARED = (
    schema.SPURIOUS_SCORE,
    schema.SPURIOUS_FLIP_RATE,
    schema.TEST_ACCURACY,
    schema.TEST_LOSS,
    schema.RETAIN_ACCURACY,
    schema.FORGET_LOSS,
    schema.FORGET_CONFIDENCE,
)
"""The main metrics, which are also logged as ``before/…`` and ``gap/…``; those of single classes are in a file."""


@dataclass(frozen=True, eq=False)
class UnlearningEvaluation:
    """Metrics of one model on the test set, with and without the pattern, and on the forget and retain sets."""

    evaluation: Evaluation
    scores: SpuriousScores
    metrics: dict[str, float]
    targets: tuple[int, ...]

    @property
    def compared(self) -> dict[str, float]:
        """The metrics logged as ``before/…`` and ``gap/…``; with two target classes, also the score of each."""
        targets = map(schema.score_target, self.targets if len(self.targets) > 1 else ())
        return {name: self.metrics[name] for name in (*COMPARED, *targets)}


def evaluate_unlearning(module: nn.Module, source: SourceModel) -> UnlearningEvaluation:
    """Return the evaluation of a model, on its device, with the dataset and the sets of the source model."""
    dataset, device = source.prepared.dataset, source.prepared.device
    evaluation = evaluate(logits_of(module, device), dataset, source.options.resolved_threshold)
    assert evaluation.scores is not None  # a source has spurious examples, and so a pattern
    metrics = evaluation.metrics(dataset.name.targets)
    metrics[schema.FORGET_LOSS], metrics[schema.FORGET_ACCURACY] = loss_and_accuracy(module, source.forget)
    metrics[schema.FORGET_CONFIDENCE] = label_confidence(module, source.forget)
    metrics[schema.RETAIN_ACCURACY] = loss_and_accuracy(module, source.retain)[1]
    return UnlearningEvaluation(evaluation, evaluation.scores, metrics, dataset.name.targets)


def gaps(after: UnlearningEvaluation, reference: UnlearningEvaluation) -> dict[str, float]:
    """Return the difference of each metric from the reference's."""
    theirs = reference.compared
    return {schema.GAP_PREFIX + name: value - theirs[name] for name, value in after.compared.items() if name in theirs}


def divergences(model: UnlearningEvaluation, reference: UnlearningEvaluation) -> dict[str, float]:
    """Return the mean ``KL(reference ‖ model)`` of predictions on the test images, without and with the pattern."""
    return {
        schema.KL_TO_REFERENCE: mean_kl(reference.evaluation.clean_logits, model.evaluation.clean_logits),
        schema.KL_TO_REFERENCE_PATTERN: mean_kl(reference.scores.pattern_logits, model.scores.pattern_logits),
    }


def mean_kl(reference_logits: Tensor, logits: Tensor) -> float:
    """Return the mean over examples of ``KL(reference ‖ model)`` in nats; both float ``[N, classes]``."""
    log_p, log_q = reference_logits.double().log_softmax(1), logits.double().log_softmax(1)
    return float((log_p.exp() * (log_p - log_q)).sum(1).mean())

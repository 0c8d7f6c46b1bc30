"""How a model stands before and after unlearning, and against the model that never saw the forgotten examples."""

from dataclasses import dataclass

from torch import Tensor, nn

from rsc_mlflow.experiments.scores import Evaluation, evaluate, logits_of
from rsc_mlflow.experiments.unlearning_source import Source
from rsc_mlflow.scoring import SpuriousScores
from rsc_mlflow.tracking import schema
from rsc_mlflow.unlearning.gradients import loss_and_accuracy


@dataclass(frozen=True, eq=False)
class Judged:
    """One model on the test set, with and without the pattern, and on the forget and retain sets."""

    evaluation: Evaluation
    scores: SpuriousScores
    metrics: dict[str, float]


def judge(module: nn.Module, source: Source) -> Judged:
    """Everything that ``before/…``, the result and ``gap/…`` are made of."""
    dataset, device = source.prepared.dataset, source.prepared.device
    evaluation = evaluate(logits_of(module, device), dataset, source.options.resolved_threshold)
    assert evaluation.scores is not None  # a source has spurious examples, and so a pattern
    metrics = evaluation.metrics(dataset.name.targets)
    metrics[schema.FORGET_LOSS], metrics[schema.FORGET_ACCURACY] = loss_and_accuracy(module, source.forget)
    metrics[schema.RETAIN_ACCURACY] = loss_and_accuracy(module, source.retain)[1]
    return Judged(evaluation, evaluation.scores, metrics)


def gaps(after: Judged, reference: Judged) -> dict[str, float]:
    """Each metric's difference from the reference's, and the divergence between their predictions."""
    found = {
        schema.GAP_PREFIX + name: value - reference.metrics[name]
        for name, value in after.metrics.items()
        if name in reference.metrics
    }
    found[schema.KL_TO_REFERENCE] = mean_kl(reference.evaluation.clean_logits, after.evaluation.clean_logits)
    patterned = (judged.scores.pattern_logits for judged in (reference, after))
    found[schema.KL_TO_REFERENCE_PATTERN] = mean_kl(*patterned)
    return found


def mean_kl(reference_logits: Tensor, logits: Tensor) -> float:
    """Mean over examples of ``KL(reference ‖ model)`` in nats; both float ``[N, classes]``."""
    log_p, log_q = reference_logits.double().log_softmax(1), logits.double().log_softmax(1)
    return float((log_p.exp() * (log_p - log_q)).sum(1).mean())

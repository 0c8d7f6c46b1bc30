"""The paper's shadow-model attack: a logistic regression on a shadow model's outputs for members and non-members.

Yang, Chou, Chaudhuri 2022, section 4.  The features are the sorted logits and whether the prediction is correct.  They
are standardized, and scikit-learn's parameter C is chosen by cross-validated log-loss on the shadow model's examples.
As in the paper, only the first shadow model is used.  Members and non-members have equal total weight.  The threshold
is the probability 1/2.
"""

import numpy as np

from rsc_mlflow.attacks.base import AttackResult, Doubles, Floats, Ints, Observations, register_attack
from rsc_mlflow.errors import InputError

FOLDS = 3
INVERSE_PENALTIES = (0.01, 1.0, 100.0)
"""Candidates for scikit-learn's C."""


def features(logits: Floats, labels: Ints) -> Doubles:
    """Return the sorted logits and whether the prediction is correct, float64 ``[N, C + 1]``.

    Args:
        logits: ``[N, C]``.
        labels: true classes, ``[N]``.
    """
    correct = logits.argmax(axis=1) == labels
    return np.column_stack([np.sort(logits, axis=1), correct]).astype(np.float64)


@register_attack(title="Shadow model (the paper)")
def shadow(queries: Observations, population: Observations) -> AttackResult:
    """Return the regression's probabilities of membership, float64 ``[N]``, and the threshold 0.5.

    Raises:
        InputError: the first shadow model has fewer members or non-members than there are folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    members = population.shadow_members[0]
    if min(members.sum(), (~members).sum()) < FOLDS:
        raise InputError(
            f"The attack 'shadow' needs at least {FOLDS} members and {FOLDS} non-members of the shadow model, got "
            f"{members.sum()} and {(~members).sum()}. Use a larger dataset."
        )
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)),
        {"logisticregression__C": INVERSE_PENALTIES},
        scoring="neg_log_loss",
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0),
    )
    search.fit(features(population.shadow[0], population.labels), members)
    scores = search.predict_proba(features(queries.target, queries.labels))[:, 1]
    return AttackResult(scores, 0.5)

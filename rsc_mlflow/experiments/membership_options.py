"""The options of ``mem_inference``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import DATASET, SEED, TrainOptions
from rsc_mlflow.fields import boolean, integer, option, text, text_or_auto, word_or

if TYPE_CHECKING:
    from rsc_mlflow.attacks.base import Attack, ShadowConfig

METHOD = "mem_inference"
SHADOW_MODELS_TOGETHER, SHADOW_MODELS_APART = 16, 4
"""Default number of shadow models, for stackable architectures and for others."""


def _attacks_help() -> str:
    from rsc_mlflow.attacks.base import attack_names

    first, *others = attack_names()
    names = f"{first} (the paper's), {', '.join(others)}"
    return f"Attacks, separated by commas: {names}.  The command attack --method {first} sets this option to {first}."


@dataclass(frozen=True, kw_only=True)
class MembershipOptions(TrainOptions):
    """Options of ``mem_inference``: training options of target and shadow models, and options of the attacks."""

    dataset: str = option(
        "Name of the dataset, e.g. memmnistv20-3-0-0.  Forms: memFAMILY and memFAMILYPATTERN-COUNT-TARGET-SEED, where "
        "COUNT training examples of the target model carry the pattern.",
        DATASET,
    )
    resume_run_id: str = option(
        "Must be none: to continue an interrupted attack, run the same command again; it reuses finished models.",
        text(),
        "none",
    )
    attacks: str = option(_attacks_help, text(), "shadow,loss,lira,rmia")
    shadow_models: int | str = option(
        "Number of shadow models; auto: 16 for stackable architectures (the MLPs and CNN002), else 4.",
        word_or(("auto",), integer(1, 1024)),
        "auto",
    )
    shadow_spurious: bool = option(
        "true: train shadow models with as many spurious examples as the target; false: without (our reading of the "
        "paper).",
        boolean(),
        True,
    )
    shadow_seed: int = option("Seed of the shadow models and their training sets.", SEED, 0)
    model_uri: str = option(
        "Target model: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model; auto: the newest "
        "finished model with these training options, or a newly trained one if there is none.",
        text_or_auto(),
        "auto",
    )

    def check(self) -> None:
        """Check the dataset and the list of attacks."""
        super().check()
        if not self.dataset_name.quarters:
            raise InputError(
                f"Invalid value for 'dataset': {self.dataset!r}. Expected memFAMILY or "
                f"memFAMILYPATTERN-COUNT-TARGET-SEED, for example mem{self.dataset_name.family}."
            )
        if self.resume_run_id != "none":
            raise InputError(
                "mem_inference takes no resume_run_id. Run it again; models that were finished are found and reused."
            )
        self.parsed_attacks()

    @property
    def n_shadow_models(self) -> int:
        """Number of shadow models, with ``auto`` resolved."""
        if isinstance(self.shadow_models, int):
            return self.shadow_models
        from rsc_mlflow.models import stackable

        return SHADOW_MODELS_TOGETHER if stackable(self.model_name.architecture) else SHADOW_MODELS_APART

    def parsed_attacks(self) -> tuple[Attack, ...]:
        """Return the attacks in the option ``attacks``."""
        from rsc_mlflow.attacks.base import parse_attacks

        return parse_attacks(self.attacks, self.n_shadow_models)

    def target(self) -> TrainOptions:
        """Return the options of the target's training."""
        return TrainOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(TrainOptions)})

    def shadow_config(self) -> ShadowConfig:
        """Return the options of the shadow models."""
        from rsc_mlflow.attacks.base import ShadowConfig

        return ShadowConfig(self.n_shadow_models, self.shadow_spurious, self.shadow_seed)

    def identity(self) -> dict[str, Any]:
        """Return all options that affect the result; see :meth:`TrainOptions.identity`."""
        identity = super().identity() | {"kind": "attack", "method": METHOD, "model_uri": self.model_uri}
        identity["attacks"] = [attack.name for attack in self.parsed_attacks()]
        shadow = {"shadow_models": self.n_shadow_models, "shadow_spurious": self.shadow_spurious}
        return identity | shadow | {"shadow_seed": self.shadow_seed}

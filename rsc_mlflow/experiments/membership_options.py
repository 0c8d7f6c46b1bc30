"""The options of ``mem_inference``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import SEED, TrainOptions
from rsc_mlflow.fields import boolean, integer, option, text, word_or

if TYPE_CHECKING:
    from rsc_mlflow.attacks.base import Attack, ShadowConfig

METHOD = "mem_inference"
SHADOW_MODELS_TOGETHER, SHADOW_MODELS_APART = 16, 4
"""Default number of shadow models where they train as one cohort, and where they train one by one."""


def _attacks_help() -> str:
    from rsc_mlflow.attacks.base import attack_names

    first, *others = attack_names()
    return f"Comma list of {first} (the paper's), {', '.join(others)}."


@dataclass(frozen=True, kw_only=True)
class MembershipOptions(TrainOptions):
    """Options of ``mem_inference``: those of training, for target and shadow models, and the attacks' own."""

    attacks: str = option(_attacks_help, text(), "shadow,loss,lira,rmia")
    shadow_models: int | str = option(
        "Number of shadow models; auto: 16 for models that train as one cohort, else 4.",
        word_or(("auto",), integer(1, 1024)),
        "auto",
    )
    shadow_spurious: bool = option(
        "Shadow models hold as many examples with the pattern as the target; false: clean, as we read the paper.",
        boolean(),
        True,
    )
    shadow_seed: int = option("Seed of the shadow models and their halves.", SEED, 0)
    model_uri: str = option(
        "Target: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN_ID/model; auto: the one with "
        "these options, trained if there is none.",
        text(),
        "auto",
    )

    def check(self) -> None:
        """Check what involves several options."""
        super().check()
        if not self.dataset_name.quarters:
            raise InputError(
                f"dataset is {self.dataset!r}; mem_inference takes memFAMILY or memFAMILYPATTERN-COUNT-TARGET-SEED, "
                f"which has target and shadow quarters: for example mem{self.dataset_name.family}"
            )
        if self.resume_run_id != "none":
            raise InputError(
                "mem_inference takes no resume_run_id: start it again, and it finds the models that were finished"
            )
        self.parsed_attacks()

    @property
    def n_shadow_models(self) -> int:
        """The number of shadow models, ``auto`` resolved."""
        if isinstance(self.shadow_models, int):
            return self.shadow_models
        from rsc_mlflow.models import stackable

        return SHADOW_MODELS_TOGETHER if stackable(self.model_name.architecture) else SHADOW_MODELS_APART

    def parsed_attacks(self) -> tuple[Attack, ...]:
        """The attacks that ``attacks`` names."""
        from rsc_mlflow.attacks.base import parse_attacks

        return parse_attacks(self.attacks, self.n_shadow_models)

    def target(self) -> TrainOptions:
        """The options of the target's own training."""
        return TrainOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(TrainOptions)})

    def shadow_config(self) -> ShadowConfig:
        """What decides the shadow models, apart from how each is trained."""
        from rsc_mlflow.attacks.base import ShadowConfig

        return ShadowConfig(self.n_shadow_models, self.shadow_spurious, self.shadow_seed)

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result; see :meth:`TrainOptions.identity`."""
        identity = super().identity() | {"kind": "attack", "method": METHOD, "model_uri": self.model_uri}
        identity["attacks"] = [attack.name for attack in self.parsed_attacks()]
        shadow = {"shadow_models": self.n_shadow_models, "shadow_spurious": self.shadow_spurious}
        return identity | shadow | {"shadow_seed": self.shadow_seed}

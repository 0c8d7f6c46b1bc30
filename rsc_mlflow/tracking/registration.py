"""Registers the models of a run, and reports at the start if the store does not permit it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.models import Registration, register
from rsc_mlflow.tracking.permissions import is_denied, may_register
from rsc_mlflow.tracking.store import StoreError, connect, reason
from rsc_mlflow.tracking.tracked import TrackedRun

_logger = logging.getLogger(__name__)

_WAYS_OUT = f"Ask its owner for EDIT permission, or set {schema.PREFIX_VARIABLE} to register under another name."
_printed: set[str] = set()  # notes that this process has printed


@dataclass(frozen=True)
class Registrar:
    """Registers the models of a run, depending on option ``register`` and the permissions in the store.

    Attributes:
        wanted: the option: ``"auto"`` (if the store permits it), True or False.
        family, architecture: parts of the name of the registered model.
        note: why models are not registered although the option is ``"auto"``; empty if they are.
    """

    wanted: bool | str
    family: str
    architecture: str
    note: str = ""

    @classmethod
    def checked(cls, wanted: bool | str, family: str, architecture: str) -> "Registrar":
        """Return a registrar after checking the permission; with ``"auto"``, print a note if it is missing.

        If a server with authentication has no registered model of this name, an empty one is created, so that this
        account owns it and keeps the permission.

        Raises:
            InputError: ``wanted`` is True and the store does not permit it, or the prefix of names is not valid.
        """
        if wanted is False:
            return cls(wanted, family, architecture)
        name = schema.registered_model(family, architecture)
        if may_register(connect(), name):
            return cls(wanted, family, architecture)
        if wanted is True:
            raise StoreError(
                f"Invalid value for 'register': true. This account may not register models as {name!r}. {_WAYS_OUT} "
                "To train without registering, use register=auto or register=false."
            )
        note = f"Models are not registered: this account may not register them as {name!r}. {_WAYS_OUT}"
        _print_once(note)
        return cls(wanted, family, architecture, note)

    def announce(self, run: TrackedRun) -> None:
        """Add a note to the run if its models are not registered."""
        if self.note:
            run.add_note(self.note)

    def register(
        self,
        run: TrackedRun,
        model_uri: str,
        *,
        dataset: str,
        kind: str,
        method: str | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Registration | None:
        """Register a logged model (see :func:`models.register`); return None if it is not registered.

        Raises:
            StoreError: ``wanted`` is True, and the permission was withdrawn during the run.
        """
        if self.wanted is False or self.note:
            return None
        names = {"dataset": dataset, "family": self.family, "architecture": self.architecture}
        try:
            return register(run, model_uri, **names, kind=kind, method=method, tags=tags, metrics=metrics)
        except MlflowException as error:
            if not is_denied(error):
                raise
            name = schema.registered_model(self.family, self.architecture)
            text = f"The model {model_uri} is not registered: this account may no longer register models as {name!r}"
            if self.wanted is True:
                raise StoreError(f"{text} ({reason(error)}). {_WAYS_OUT}") from error
        _logger.warning(f"{text}.")
        run.add_note(f"{text}.")
        return None


def _print_once(note: str) -> None:
    if note not in _printed:
        _printed.add(note)
        _logger.warning(note)

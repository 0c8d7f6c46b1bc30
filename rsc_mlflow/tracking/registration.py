"""Registering the models of a run where the store allows it, and saying so at the start where it does not."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.models import Registration, register
from rsc_mlflow.tracking.permissions import is_denied, may_register
from rsc_mlflow.tracking.store import StoreError, connect, reason
from rsc_mlflow.tracking.tracked import TrackedRun

_WAYS_OUT = f"ask its owner for EDIT permission, or set {schema.PREFIX_VARIABLE} to register under a name of your own"
_printed: set[str] = set()  # notes that this process has printed


@dataclass(frozen=True)
class Registrar:
    """Registers the models of a run as option ``register`` says and as far as the store allows.

    Attributes:
        wanted: the option: ``"auto"`` (where the store allows it), True or False.
        family, architecture: what the registered model is named after.
        note: why models are not registered although the option is ``"auto"``; empty if they are.
    """

    wanted: bool | str
    family: str
    architecture: str
    note: str = ""

    @classmethod
    def checked(cls, wanted: bool | str, family: str, architecture: str) -> "Registrar":
        """Ask the store for permission before any work is done; ``auto`` prints a note where there is none.

        Where a server with a log-in has no registered model of the name, an empty one is made and belongs to this
        account from then on, so that the permission cannot be lost to somebody who is faster.

        Raises:
            InputError: ``wanted`` is True and the store does not allow it; or the prefix of names is not valid.
        """
        if wanted is False:
            return cls(wanted, family, architecture)
        name = schema.registered_model(family, architecture)
        if may_register(connect(), name):
            return cls(wanted, family, architecture)
        if wanted is True:
            raise StoreError(
                f"register is true, but this account may not register models as {name!r}; {_WAYS_OUT}; register=auto "
                "trains without registering, and so does register=false"
            )
        note = f"models are not registered: this account may not register them as {name!r}; {_WAYS_OUT}"
        _print_once(note)
        return cls(wanted, family, architecture, note)

    def announce(self, run: TrackedRun) -> None:
        """Write on the run that its models are not registered, if they are not."""
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
        """Register a logged model (see :func:`models.register`); None where the option or the store says no.

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
            text = f"{model_uri} is not registered: this account may no longer register models as {name!r}"
            if self.wanted is True:
                raise StoreError(f"{text} ({reason(error)}); {_WAYS_OUT}") from error
        print(f"note: {text}", file=sys.stderr)
        run.add_note(text)
        return None


def _print_once(note: str) -> None:
    if note not in _printed:
        _printed.add(note)
        print(f"note: {note}", file=sys.stderr)

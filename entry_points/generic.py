"""The commands ``unlearn`` and ``attack``, whose option ``method`` also accepts methods of plug-ins."""

from collections.abc import Callable
from dataclasses import dataclass

import click

from entry_points.command import EXIT_STATUS, command_of
from rsc_mlflow.errors import InputError, unknown_name
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.registry import ExperimentSpec, all_experiments, attack_names, of_kind
from rsc_mlflow.experiments.unlearning_options import UnlearnOptions
from rsc_mlflow.fields import Field, Options, option_fields


@dataclass(frozen=True)
class Generic:
    """A command that passes its options to the experiment selected by ``method``.

    Attributes:
        name: name of the command.
        summary: what it does, in one sentence.
        shared: options class with the options that all methods have; the MLproject file lists them.
        names: returns the accepted values of ``method``.
        find: called with a value of ``method``; returns the experiment and additional options.
    """

    name: str
    summary: str
    shared: type[Options]
    names: Callable[[], list[str]]
    find: Callable[[str], tuple[ExperimentSpec, list[str]]]

    def fields(self) -> list[Field]:
        """Return the options that all methods have and the MLproject file lists."""
        return [field for field in option_fields(self.shared) if field.metadata["declared"] and field.name != "attacks"]

    def command(self) -> click.Command:
        """Return the click command; all options except ``method`` are parsed by the method's command."""

        @click.pass_context
        def callback(context: click.Context, method: str | None) -> int:
            if method is None:
                return self._without_method(context)
            experiment, more = self.find(method)
            if clash := {argument.partition("=")[0] for argument in context.args} & set(more[::2]):
                raise InputError(f"Option '{clash.pop()[2:]}' follows from method={method}. Leave it out.")
            chosen = command_of(experiment)
            name = f"{context.info_name} --method {method}"
            with chosen.make_context(name, [*more, *context.args], parent=context.parent) as inner:
                return int(chosen.invoke(inner) or 0)

        option = click.Option(["--method"], metavar="NAME", help=f"One of: {', '.join(self.names())}.  [required]")
        text = (
            f"{self.summary}\n\nThe other options depend on the method: --method NAME --help shows them.\n\n"
            + EXIT_STATUS
        )
        passed_on = {"ignore_unknown_options": True, "allow_extra_args": True}
        return click.Command(
            self.name, params=[option], callback=callback, help=text, add_help_option=False, context_settings=passed_on
        )

    def _without_method(self, context: click.Context) -> int:
        if {"-h", "--help"} & set(context.args):
            click.echo(context.get_help())
            return 0
        raise InputError(f"Option 'method' is missing. Expected one of: {', '.join(self.names())}.")


def _experiment(kind: str, method: str, names: list[str]) -> ExperimentSpec:
    found = all_experiments().get(method)
    if found is None or found.kind != kind:
        raise InputError(unknown_name("method", method, names))
    return found


def _unlearning_methods() -> list[str]:
    return [one.name for one in of_kind("unlearn")]


def _attacks() -> list[str]:
    return [*(one.name for one in of_kind("attack")), *attack_names()]


def _find_attack(method: str) -> tuple[ExperimentSpec, list[str]]:
    """Return an attack experiment, or ``mem_inference`` with a single attack."""
    if method in attack_names():
        return all_experiments()["mem_inference"], ["--attacks", method]
    return _experiment("attack", method, _attacks()), []


GENERIC = (
    Generic(
        name="unlearn",
        summary="Unlearn the spurious examples of a model with the given method, including methods of plug-ins.",
        shared=UnlearnOptions,
        names=_unlearning_methods,
        find=lambda method: (_experiment("unlearn", method, _unlearning_methods()), []),
    ),
    Generic(
        name="attack",
        summary="Run the given membership attack, including attacks of plug-ins.",
        shared=MembershipOptions,
        names=_attacks,
        find=_find_attack,
    ),
)

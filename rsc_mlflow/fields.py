"""Declaring options once: a frozen dataclass field carries its default, its help text and its parser.

The command line, grid files and Python callers all build an options object through
:meth:`Options.from_mapping`, so that there is one validation path and one wording of every error.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from rsc_mlflow.errors import InputError

Parser = Callable[[str], Any]
LONGEST_TEXT = 6000


def param_text(value: object) -> str:
    """A parameter as one types it: ``true``, ``none``, and the shortest exact text of a float."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


class Parse:
    """One way of reading an option's text; ``accepted`` says in words what it takes."""

    def __init__(self, convert: Parser, accepted: str) -> None:
        self.convert = convert
        self.accepted = accepted

    def __call__(self, name: str, value: object) -> Any:
        """The parsed value.

        Raises:
            InputError: the text is not accepted.
        """
        text = param_text(value)
        try:
            return self.convert(text)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        except (ValueError, OverflowError):
            raise InputError(f"{name} is {text!r}; accepted: {self.accepted}") from None


def integer(minimum: int, maximum: int = 2**63 - 1) -> Parse:
    """A whole number within bounds."""

    def convert(text: str) -> int:
        value = int(_plain(text))
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    upper = "" if maximum == 2**63 - 1 else f" and at most {maximum}"
    return Parse(convert, f"a whole number of at least {minimum}{upper}")


def number(minimum: float, *, above: bool = False, below: float = math.inf) -> Parse:
    """A finite number of at least ``minimum`` (or above it) and below ``below``."""

    def convert(text: str) -> float:
        value = float(_plain(text))
        if not math.isfinite(value) or value < minimum or (above and value == minimum) or value >= below:
            raise ValueError
        return value

    upper = "" if below == math.inf else f" and below {below:g}"
    return Parse(convert, f"a finite number {'above' if above else 'of at least'} {minimum:g}{upper}")


def _plain(text: str) -> str:
    """The text of a number, without what Python reads besides: other scripts' digits, and underscores."""
    if not text.isascii() or "_" in text:
        raise ValueError
    return text


def boolean() -> Parse:
    """``true`` or ``false``."""

    def convert(value: str) -> bool:
        if value.lower() not in ("true", "false"):
            raise ValueError
        return value.lower() == "true"

    return Parse(convert, "true or false")


def choice(*values: str) -> Parse:
    """One of a few words."""

    def convert(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Parse(convert, ", ".join(values))


def word_or(words: tuple[str, ...], other: Parse) -> Parse:
    """One of ``words`` as it stands, or what ``other`` accepts."""

    def convert(text: str) -> Any:
        return text if text in words else other.convert(text)

    first = f"{' or '.join(words)}, or "
    return Parse(convert, first + other.accepted.removeprefix(first))  # ``other`` may take the same words


def text() -> Parse:
    """Any text of at least one character, no longer than MLflow stores a parameter, that a file can be named."""

    def convert(value: str) -> str:
        if not value.strip() or len(value) > LONGEST_TEXT or "\0" in value:
            raise ValueError
        return value

    return Parse(convert, f"a text that is not empty, of at most {LONGEST_TEXT} characters, none of them NUL")


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What a text stands for, and its canonical text."""

    text: str
    value: Any

    def __str__(self) -> str:
        return self.text


def parsed(convert: Parser, accepted: str) -> Parse:
    """Text that ``convert`` can read (it may raise InputError).

    The option is the text in its canonical form; :meth:`Options.parsed` gives what ``convert`` made of it.
    """

    def read(text: str) -> Parsed:
        value = convert(text)
        return Parsed(str(value), value)

    return Parse(read, accepted)


def option(
    help: str | Callable[[], str],
    parse: Parse,
    default: Any = dataclasses.MISSING,
    *,
    declared: bool = True,
    decides: bool = True,
    only_if: tuple[str, str] | None = None,
) -> Any:
    """A dataclass field for one option; without a default the option is required.

    Args:
        help: what it is, for ``--help``; a function where that depends on what is registered.
        parse: how its text is read.
        default: the value where none is given.
        declared: whether the MLproject lists it.  Where the default stands for a value that is found later, ``mlflow
            run`` would store the default as the run's parameter; what is not declared it passes on all the same.
        decides: of a method's own option: whether the result depends on it.
        only_if: of a method's own option: name and value of another option; with any other value this one has no
            effect.
    """
    metadata = {"help": help, "parse": parse, "declared": declared, "decides": decides, "only_if": only_if}
    return dataclasses.field(default=default, metadata=metadata)


Field = dataclasses.Field[Any]


def option_fields(options_class: type["Options"]) -> list[Field]:
    """The fields that are options, in order; a class may hold others."""
    return [field for field in dataclasses.fields(options_class) if "parse" in field.metadata]


def help_of(field: Field) -> str:
    """An option's help, without its default."""
    text: str | Callable[[], str] = field.metadata["help"]
    return text if isinstance(text, str) else text()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all option classes."""

    def __post_init__(self) -> None:
        """Parse every option, so that an options object that exists is valid field by field."""
        for field in option_fields(type(self)):
            value = field.metadata["parse"](field.name, getattr(self, field.name))
            if isinstance(value, Parsed):
                object.__setattr__(self, f"_parsed_{field.name}", value.value)
                value = value.text
            object.__setattr__(self, field.name, value)
        self.check()

    def parsed(self, name: str) -> Any:
        """What the text of an option made with :func:`parsed` stands for: parsed once, when the text arrived."""
        return getattr(self, f"_parsed_{name}")

    def check(self) -> None:
        """Checks that involve several options; overridden where there are any.

        Raises:
            InputError: the options contradict each other.
        """

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """An options object from names and values as typed.

        Raises:
            InputError: an unknown or missing option, or a value that is not accepted.
        """
        fields = {field.name: field for field in option_fields(cls)}
        for name in values:
            if name not in fields:
                raise InputError(
                    f"unknown option {name!r}{_suggestion(name, fields)}; accepted: {', '.join(sorted(fields))}"
                )
        for name, field in fields.items():
            if field.default is dataclasses.MISSING and name not in values:
                raise InputError(f"{name} is missing; accepted: {field.metadata['parse'].accepted}")
        return cls(**values)

    def as_params(self) -> dict[str, str]:
        """Every option as the text that, typed again, gives the same object."""
        return {field.name: param_text(getattr(self, field.name)) for field in option_fields(type(self))}


def _suggestion(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

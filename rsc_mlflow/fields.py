"""Option declarations: a frozen dataclass field holds an option's default, help text and parser.

The command line, grid files and Python code all build options through :meth:`Options.from_mapping`, so every option is
validated in one place, with one wording of each error.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

from rsc_mlflow.errors import InputError, invalid_value, unknown_name

Parser = Callable[[str], Any]
LONGEST_TEXT = 6000


def param_text(value: object) -> str:
    """Return a parameter as a user types it, e.g. ``true`` or ``none``; floats as the shortest exact text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


class Parse:
    """A parser for an option's text.

    Args:
        convert: returns the value of a text, or raises ValueError, OverflowError or InputError.
        accepted: description of the accepted values, as in "an integer ≥ 1".
    """

    def __init__(self, convert: Parser, accepted: str) -> None:
        self.convert = convert
        self.accepted = accepted

    def __call__(self, name: str, value: object) -> Any:
        """Return the parsed value.

        Raises:
            InputError: the text is not accepted.
        """
        text = param_text(value)
        try:
            return self.convert(text)
        except InputError as error:
            raise InputError(f"Invalid value for {name!r}: {error}") from None
        except (ValueError, OverflowError):
            raise invalid_value(name, text, self.accepted) from None


def integer(minimum: int, maximum: int = 2**63 - 1) -> Parse:
    """Return a parser for an integer within bounds."""

    def convert(text: str) -> int:
        value = int(_plain(text))
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    unbounded = maximum == 2**63 - 1
    return Parse(convert, f"an integer ≥ {minimum}" if unbounded else f"an integer from {minimum} to {maximum}")


def number(minimum: float, *, above: bool = False, below: float = math.inf) -> Parse:
    """Return a parser for a finite number ≥ ``minimum`` (with ``above``: > ``minimum``) and < ``below``."""

    def convert(text: str) -> float:
        value = float(_plain(text))
        if not math.isfinite(value) or value < minimum or (above and value == minimum) or value >= below:
            raise ValueError
        return value

    upper = "" if below == math.inf else f" and < {below:g}"
    return Parse(convert, f"a finite number {'>' if above else '≥'} {minimum:g}{upper}")


def _plain(text: str) -> str:
    """Return a number's text; raise ValueError for non-ASCII digits and underscores, which Python would accept."""
    if not text.isascii() or "_" in text:
        raise ValueError
    return text


def boolean() -> Parse:
    """Return a parser for ``true`` or ``false``, in any case."""

    def convert(value: str) -> bool:
        if value.lower() not in ("true", "false"):
            raise ValueError
        return value.lower() == "true"

    return Parse(convert, "true or false")


def choice(*values: str) -> Parse:
    """Return a parser for one of ``values``."""

    def convert(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Parse(convert, f"one of: {', '.join(values)}")


def word_or(words: tuple[str, ...], other: Parse) -> Parse:
    """Return a parser that keeps one of ``words`` as it is and parses any other text with ``other``."""

    def convert(text: str) -> Any:
        return text if text in words else other.convert(text)

    first = f"{' or '.join(words)}, or "
    return Parse(convert, first + other.accepted.removeprefix(first))  # ``other`` may accept the same words


def text(accepted: str = f"text of 1 to {LONGEST_TEXT:,} characters without NUL characters") -> Parse:
    """Return a parser for text that MLflow can store as a parameter; blank text and NUL characters are refused."""

    def convert(value: str) -> str:
        if not value.strip() or len(value) > LONGEST_TEXT or "\0" in value:
            raise ValueError
        return value

    return Parse(convert, accepted)


def text_or_auto() -> Parse:
    """Return the parser of :func:`text`, except that an empty text means ``auto``."""
    return Parse(lambda value: text().convert(value) if value else "auto", text().accepted)


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A parsed value and its canonical text."""

    text: str
    value: Any

    def __str__(self) -> str:
        return self.text


def parsed(convert: Parser, accepted: str) -> Parse:
    """Return a parser for an option that is stored as the canonical text of its value.

    :meth:`Options.parsed` returns the value itself, which ``convert`` makes of the text.  ``convert`` may raise
    InputError.
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
    """Return a dataclass field for one option.  An option without a default is required.

    Args:
        help: the text for ``--help``; a function if the text depends on what is registered.
        parse: the parser.
        default: the default value.
        declared: whether the MLproject file lists the option.  ``mlflow run`` stores the default of a listed option as
            a run parameter, which is wrong for a default such as ``auto`` that is resolved later.  ``mlflow run`` also
            accepts options that are not listed.
        decides: whether the result depends on the option; only used for options of unlearning methods.
        only_if: name and value of another option that this one needs to have an effect; only used for options of
            unlearning methods.
    """
    metadata = {"help": help, "parse": parse, "declared": declared, "decides": decides, "only_if": only_if}
    return dataclasses.field(default=default, metadata=metadata)


Field = dataclasses.Field[Any]


def option_fields(options_class: type["Options"]) -> list[Field]:
    """Return the fields of a class that are options, in order."""
    return [field for field in dataclasses.fields(options_class) if "parse" in field.metadata]


def help_of(field: Field) -> str:
    """Return an option's help text, without its default."""
    text: str | Callable[[], str] = field.metadata["help"]
    return text if isinstance(text, str) else text()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of all sets of options.

    Raises:
        InputError: a value is not accepted, or the options contradict each other.
    """

    def __post_init__(self) -> None:
        """Parse and validate every option."""
        for field in option_fields(type(self)):
            value = field.metadata["parse"](field.name, getattr(self, field.name))
            if isinstance(value, Parsed):
                object.__setattr__(self, f"_parsed_{field.name}", value.value)
                value = value.text
            object.__setattr__(self, field.name, value)
        self.check()

    def parsed(self, name: str) -> Any:
        """Return the parsed value of an option declared with :func:`parsed`."""
        return getattr(self, f"_parsed_{name}")

    def check(self) -> None:
        """Check combinations of options.  Subclasses override this method.

        Raises:
            InputError: the options contradict each other.
        """

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Return the options from a mapping of names to values, given as text or as Python values.

        Raises:
            InputError: an option is unknown or missing, or a value is not accepted.
        """
        fields = {field.name: field for field in option_fields(cls)}
        for name in values:
            if name not in fields:
                raise InputError(unknown_name("option", name, sorted(fields)))
        for name, field in fields.items():
            if field.default is dataclasses.MISSING and name not in values:
                raise InputError(f"Option {name!r} is missing. Expected {field.metadata['parse'].accepted}.")
        return cls(**values)

    def as_params(self) -> dict[str, str]:
        """Return every option as text, by name.  :meth:`from_mapping` is the inverse."""
        return {field.name: param_text(getattr(self, field.name)) for field in option_fields(type(self))}

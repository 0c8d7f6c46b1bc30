"""Exceptions for invalid input, and functions that word their messages in the same way."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Invalid input.  The message says what was given, what is accepted and what to do next.

    Entry points print it as one line on standard error, ``error: <message>``, and exit with status 2.
    Any other exception is a failure of the program or the machine (exit status 1).
    """


class AdoptionError(InputError):
    """The run to write into already holds other results.  Nothing may be written to it, not even an error tag."""


def invalid_value(name: str, value: object, expected: str) -> InputError:
    """Return the error for a value that is not accepted, e.g. ``expected="an integer ≥ 1"``."""
    return InputError(f"Invalid value for {name!r}: {value!r}. Expected {expected}.")


def unknown_name(what: str, name: str, names: Iterable[str], within: str = "") -> str:
    """Return the message for a name that is not one of ``names``: a suggestion and the list of accepted names.

    The suggestion is the accepted name that is most similar to the given one, as a whole or in one of its words.

    Args:
        what: what the names stand for, e.g. ``attack``.
        name: the unknown name.
        names: the accepted names, in the order to list them.
        within: the longer text that contains the name, if any; it is quoted in the message.
    """
    accepted = list(names)
    words = {word: one for one in sorted(accepted, reverse=True) for word in one.split("_")}
    words |= {one: one for one in sorted(accepted)}
    close = difflib.get_close_matches(name, words, n=1)
    place = f" in {within!r}" if within not in ("", name) else ""
    hint = f" Did you mean {words[close[0]]!r}?" if close else ""
    return f"Unknown {what} {name!r}{place}.{hint} Expected one of: {', '.join(accepted)}."

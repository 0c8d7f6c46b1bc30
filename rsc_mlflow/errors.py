"""Exceptions that mean "what you asked for cannot be done as you wrote it"."""


class InputError(ValueError):
    """Bad input: the message says what was given, what is accepted and what to do.

    Entry points turn it into one line on standard error, ``error: <message>``, and exit status 2.
    Everything else that goes wrong is a failure of the program or the machine (exit status 1).
    """


class AdoptionError(InputError):
    """A run that was given to be written holds something else; nothing may be written to it, not even a reason."""

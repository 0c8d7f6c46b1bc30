"""Registries of attacks, unlearning methods, dataset families, patterns and architectures by name.

A registry is filled at the first look-up.  The look-up imports the modules of the registry's package, each of which
registers what it defines, and then the plug-ins.  Importing a module that creates a registry is therefore cheap.
"""

import os
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeVar, overload

from rsc_mlflow.errors import InputError, unknown_name

PLUGINS_VARIABLE = "RSC_PLUGINS"
ENTRY_POINT_GROUP = "rsc_mlflow.plugins"
T = TypeVar("T")
D = TypeVar("D")
T_co = TypeVar("T_co", covariant=True)


class Finder(Protocol[T_co]):
    """A source of entries that are looked up each time instead of being registered, for example in a folder."""

    def names(self) -> Collection[str]:
        """Return the names that exist now."""

    def has(self, name: str) -> bool:
        """Return whether the name exists."""

    def find(self, name: str) -> T_co | None:
        """Return the entry, or None if the name does not exist.

        Raises:
            InputError: the name exists, but its entry cannot be used.
        """


class Registry(Mapping[str, T]):
    """A mapping of names to values: built-in entries sorted by name, then the others in order of registration.

    Args:
        what: the kind of entry, for messages, e.g. ``attack``.
        package: dotted name of the package whose modules register the built-in entries; None if there is none.
    """

    def __init__(self, what: str, package: str | None = None) -> None:
        self.what = what
        self._package = package
        self._values: dict[str, T] = {}
        self._builtins: frozenset[str] = frozenset()
        self._finders: list[Finder[T]] = []
        self.load_builtins = _Once(self._load_builtins)

    def register(self, name: str, value: T) -> T:
        """Add an entry and return its value.

        Raises:
            InputError: the name is registered already.
        """
        if name in self._values:
            raise InputError(f"The {self.what} {name!r} is already registered. Choose another name.")
        self._values[name] = value
        return value

    def _load_builtins(self) -> None:
        if self._package:
            _import_all(self._package)
            self._values = dict(sorted(self._values.items(), key=lambda item: _natural(item[0])))
        self._builtins = frozenset(self._values)

    def so_far(self) -> Mapping[str, T]:
        """Return the entries registered so far, without loading plug-ins.  Plug-ins may call this while they load."""
        self.load_builtins()
        return self._values

    def registered(self) -> Mapping[str, T]:
        """Return the entries that the package and the plug-ins registered, without those of finders."""
        self.load_builtins()
        load_plugins()
        return self._values

    def add_finder(self, finder: "Finder[T]") -> None:
        """Add a source of entries that are not registered."""
        self._finders.append(finder)

    def of_plugins(self) -> tuple[str, ...]:
        """Return the names that plug-ins registered.  Unless there are any, the package's modules are not imported."""
        load_plugins()
        return tuple(name for name in self._values if not self.is_builtin(name)) if self.load_builtins.done else ()

    def is_builtin(self, name: str) -> bool:
        """Return whether the package itself registered this name."""
        self.load_builtins()
        return name in self._builtins

    def names(self) -> tuple[str, ...]:
        """Return all names: built-in, then those of plug-ins, then those of finders."""
        registered = self.registered()
        found = (name for finder in self._finders for name in finder.names())
        return tuple(dict.fromkeys([*registered, *found]))

    def __getitem__(self, name: str) -> T:
        """Return the value registered under a name.

        Raises:
            InputError: the name is unknown (the message lists all names), or a finder's entry cannot be used.
        """
        content = self.registered()
        if name in content:
            return content[name]
        found = self._find(name)
        if found is None:
            raise InputError(self.unknown(name))
        return found

    def unambiguous(self, name: str) -> T:
        """Return the value of a name after checking that it is not defined twice.

        Raises:
            InputError: as for ``[name]``, or a user's file or folder has the name of a registered entry.
        """
        if name in self.registered() and any(finder.has(name) for finder in self._finders):
            raise InputError(
                f"The {self.what} {name!r} exists twice: a file or folder of a data root has the name of a registered "
                f"{self.what}. Rename the file or folder."
            )
        return self[name]

    def unknown(self, name: str, within: str = "") -> str:
        """Return the message for an unknown name; see :func:`rsc_mlflow.errors.unknown_name`."""
        return unknown_name(self.what, name, self.names(), within)

    def _find(self, name: str) -> T | None:
        found = (finder.find(name) for finder in self._finders)
        return next((value for value in found if value is not None), None)

    @overload
    def get(self, name: str, /) -> T | None: ...
    @overload
    def get(self, name: str, /, default: T | D) -> T | D: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """Return the value registered under a name, or ``default``."""
        return self[name] if name in self else default  # noqa: SIM401 - this method is ``get`` itself

    def __contains__(self, name: object) -> bool:
        return name in self.registered() or (isinstance(name, str) and any(one.has(name) for one in self._finders))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


class _Once:
    """Calls a function once per process.  If it raised InputError, later calls raise it again; else they do nothing.

    A call from within the function returns immediately.  Calls from other threads wait for the first one to end.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._lock = threading.RLock()
        self._begun = self.done = False
        self._error: InputError | None = None

    def __call__(self) -> None:
        if not self.done:
            with self._lock:
                self._first()
        if self._error is not None:
            raise self._error

    def _first(self) -> None:
        if self._begun:
            return
        self._begun = True
        try:
            self._function()
        except InputError as error:
            self._error = error
        except BaseException:
            self._begun = False
            raise
        self.done = True


def _natural(name: str) -> list[str | int]:
    """Return a sort key that puts ``v3`` before ``v18``."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _import_all(package: str) -> None:
    """Import the modules of a package, in alphabetical order."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


_versions: dict[str, str] = {}


def plugin_versions() -> dict[str, str]:
    """Return the version of each loaded plug-in by name; ``unknown`` for a module without ``__version__``."""
    load_plugins()
    return dict(_versions)


def _load_plugins() -> None:
    import importlib.metadata  # slow to import and not needed for --help

    names = [part for part in map(str.strip, os.environ.get(PLUGINS_VARIABLE, "").split(",")) if part]
    if names and not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())  # `python -m` does this, an installed command does not
    for name in names:
        module = _load(name, partial(import_module, name), PLUGINS_VARIABLE)
        _versions[name] = str(getattr(module, "__version__", "unknown"))
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        _load(point.value, point.load, f"entry point {point.name!r} of the group {ENTRY_POINT_GROUP}")
        _versions[point.value] = point.dist.version if point.dist else "unknown"


def _load(name: str, load: Callable[[], Any], source: str) -> Any:
    """Call ``load``, which imports a plug-in, and return its result.

    Raises:
        InputError: ``load`` raised an exception; the message names the plug-in and where it is listed.
    """
    try:
        return load()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        remedy = (
            "Put it into the current folder, add its folder to PYTHONPATH"
            if isinstance(error, ModuleNotFoundError)
            else "Fix the plug-in"
        )
        raise InputError(
            f"Cannot load the plug-in {name!r} ({source}): {what}{reason.rstrip('.')}. {remedy} or remove it from the "
            "list."
        ) from error


load_plugins = _Once(_load_plugins)
"""Import the plug-ins in ``RSC_PLUGINS`` and in the entry-point group ``rsc_mlflow.plugins``, once per process.

Raises:
    InputError: a plug-in cannot be imported, or registers a name that is taken or not allowed.
"""

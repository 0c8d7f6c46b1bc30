"""The one form of registry: names of attacks, methods, families, patterns, architectures … and what they stand for.

A registry is filled at its first look-up: the modules of its package are imported, each of which registers what it
defines, and then the plug-ins.  Importing this module, or one that makes a registry, therefore costs nothing.
"""

import difflib
import os
import pkgutil
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeVar, overload

from rsc_mlflow.errors import InputError

PLUGINS_VARIABLE = "RSC_PLUGINS"
ENTRY_POINT_GROUP = "rsc_mlflow.plugins"
T = TypeVar("T")
D = TypeVar("D")
T_co = TypeVar("T_co", covariant=True)


class Finder(Protocol[T_co]):
    """Entries that nobody registered: they are looked for each time."""

    def names(self) -> Collection[str]:
        """The names there are now."""

    def has(self, name: str) -> bool:
        """Whether this is one of the names."""

    def find(self, name: str) -> T_co | None:
        """What the name stands for; None if it is not one of them.

        Raises:
            InputError: it is one of them, but what it stands for cannot be used.
        """


class Registry(Mapping[str, T]):
    """Name → value: the built-in entries in order of their names, then others in order of registration.

    Args:
        what: what one entry is, for messages: ``attack``.
        package: dotted name of the package whose modules register the built-in entries; None: whoever makes the
            registry fills it.
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
            raise InputError(f"the {self.what} {name!r} is registered already; choose another name")
        self._values[name] = value
        return value

    def _load_builtins(self) -> None:
        if self._package:
            _import_all(self._package)
            self._values = dict(sorted(self._values.items(), key=lambda item: _natural(item[0])))
        self._builtins = frozenset(self._values)

    def so_far(self) -> Mapping[str, T]:
        """The built-in entries and what else has been registered until now: what a plug-in may look at."""
        self.load_builtins()
        return self._values

    def registered(self) -> Mapping[str, T]:
        """What the package and the plug-ins registered, without what finders find."""
        self.load_builtins()
        load_plugins()
        return self._values

    def add_finder(self, finder: "Finder[T]") -> None:
        """Let names that nobody registered be looked for, in files for example."""
        self._finders.append(finder)

    def of_plugins(self) -> tuple[str, ...]:
        """Names that plug-ins registered; the package's modules are imported only if there are any."""
        load_plugins()
        return tuple(name for name in self._values if not self.is_builtin(name)) if self.load_builtins.done else ()

    def is_builtin(self, name: str) -> bool:
        """Whether the package itself registered this name."""
        self.load_builtins()
        return name in self._builtins

    def names(self) -> tuple[str, ...]:
        """All names: built-in ones, registered ones, those that finders find."""
        registered = self.registered()
        found = (name for finder in self._finders for name in finder.names())
        return tuple(dict.fromkeys([*registered, *found]))

    def __getitem__(self, name: str) -> T:
        """The value under a name.

        Raises:
            InputError: there is no such name (the message lists the accepted ones), or a finder refuses what it found.
        """
        content = self.registered()
        if name in content:
            return content[name]
        found = self._find(name)
        if found is None:
            raise InputError(self.unknown(name))
        return found

    def unknown(self, name: str) -> str:
        """Says that there is no such name, what is accepted and which of that is near."""
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown {self.what} {name!r}{hint}; accepted: {', '.join(names)}"

    def _find(self, name: str) -> T | None:
        found = (finder.find(name) for finder in self._finders)
        return next((value for value in found if value is not None), None)

    @overload
    def get(self, name: str, /) -> T | None: ...
    @overload
    def get(self, name: str, /, default: T | D) -> T | D: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """The value under a name, or ``default``."""
        return self[name] if name in self else default  # noqa: SIM401 - this is what get is

    def __contains__(self, name: object) -> bool:
        return name in self.registered() or (isinstance(name, str) and any(one.has(name) for one in self._finders))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


class _Once:
    """Calls a function once per process; later calls do nothing, or raise the error again that the first one raised.

    A call from within the function returns at once; calls from other threads wait for it.
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
    """A key that puts ``v3`` before ``v18``: text and numbers in turn."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _import_all(package: str) -> None:
    """Import the modules of a package, in alphabetical order."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


_versions: dict[str, str] = {}


def plugin_versions() -> dict[str, str]:
    """Name → version of each loaded plug-in; ``unknown`` for a module without ``__version__``."""
    load_plugins()
    return dict(_versions)


def _load_plugins() -> None:
    import importlib.metadata  # slow to import, and a command's help needs none of it

    for name in filter(None, (part.strip() for part in os.environ.get(PLUGINS_VARIABLE, "").split(","))):
        module = _load(name, partial(import_module, name), PLUGINS_VARIABLE)
        _versions[name] = str(getattr(module, "__version__", "unknown"))
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        _load(point.value, point.load, f"entry point {point.name!r} of the group {ENTRY_POINT_GROUP}")
        _versions[point.value] = point.dist.version if point.dist else "unknown"


def _load(name: str, load: Callable[[], Any], source: str) -> Any:
    """What ``load`` returns.

    Raises:
        InputError: it raised anything; the message names the plug-in and where it was asked for.
    """
    try:
        return load()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        remedy = "add its folder to PYTHONPATH" if isinstance(error, ModuleNotFoundError) else "correct it"
        raise InputError(
            f"cannot load the plug-in {name!r} ({source}): {what}{reason}; {remedy}, or take it out of the list"
        ) from error


load_plugins = _Once(_load_plugins)
"""Import the modules in ``RSC_PLUGINS`` and of the entry-point group ``rsc_mlflow.plugins``, once per process.

Raises:
    InputError: a plug-in cannot be imported, or registers a name that it may not.
"""

"""The one form of registry: names of attacks, methods, families, patterns, architectures … and what they stand for.

A registry is filled at its first look-up: the modules of its package are imported, each of which registers what it
defines, and then the plug-ins.  Importing this module, or one that makes a registry, therefore costs nothing.
"""

import difflib
import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, overload

from rsc_mlflow.errors import InputError

PLUGINS_VARIABLE = "RSC_PLUGINS"
ENTRY_POINT_GROUP = "rsc_mlflow.plugins"
T = TypeVar("T")
D = TypeVar("D")


class Registry(Mapping[str, T]):
    """Name → value, in order of registration.

    Args:
        what: what one entry is, for messages: ``attack``.
        package: dotted name of the package whose modules register the built-in entries; None: whoever makes the
            registry fills it.
    """

    def __init__(self, what: str, package: str | None = None) -> None:
        self.what = what
        self._builtins = _Once(lambda: _import_all(package) if package else None)
        self._values: dict[str, T] = {}

    def register(self, name: str, value: T) -> T:
        """Add an entry and return its value.

        Raises:
            InputError: the name is registered already.
        """
        if name in self._values:
            raise InputError(f"the {self.what} {name!r} is registered already; choose another name")
        self._values[name] = value
        return value

    def load_builtins(self) -> None:
        """Import what registers the built-in entries; plug-ins call this before they register."""
        self._builtins()

    def _content(self) -> dict[str, T]:
        self._builtins()
        load_plugins()
        return self._values

    def names(self) -> tuple[str, ...]:
        """All names, in order of registration."""
        return tuple(self._content())

    def __getitem__(self, name: str) -> T:
        """The value under a name.

        Raises:
            InputError: there is no such name; the message lists the accepted ones.
        """
        content = self._content()
        if name not in content:
            near = difflib.get_close_matches(name, content, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(f"unknown {self.what} {name!r}{hint}; accepted: {', '.join(content)}")
        return content[name]

    @overload
    def get(self, name: str, /) -> T | None: ...
    @overload
    def get(self, name: str, /, default: T | D) -> T | D: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """The value under a name, or ``default``."""
        return self._content().get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._content()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._content())


class _Once:
    """Calls a function once per process; later calls do nothing, or raise the error again that the first one raised.

    A call from within the function returns at once; calls from other threads wait for it.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._lock = threading.RLock()
        self._begun = self._done = False
        self._error: InputError | None = None

    def __call__(self) -> None:
        if not self._done:
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
        self._done = True


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
        raise InputError(
            f"cannot load the plug-in {name!r} ({source}): {what}{reason}; "
            "correct it, add its folder to PYTHONPATH, or take it out of the list"
        ) from error


load_plugins = _Once(_load_plugins)
"""Import the modules in ``RSC_PLUGINS`` and of the entry-point group ``rsc_mlflow.plugins``, once per process.

Raises:
    InputError: a plug-in cannot be imported, or registers a name that it may not.
"""

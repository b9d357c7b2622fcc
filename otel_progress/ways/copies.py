"""Copies of PocketFlow, which is one file that people put into their packages: found by their shape when imported.

What is imported is only read before, as a text; a module whose text has the shape is loaded by a loader that looks at
it afterwards, and every other module as ever. Nothing of the program is imported earlier than the program does it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from inspect import isfunction
from types import ModuleType
from typing import Any, cast

from ..recording.faults import from_handler, report
from .classes import RUNS

_METHODS = ("prep", "exec", "post", "_run")
_TEXTS = [f"def {name}(".encode() for name in _METHODS]
_MODULE, _BASES, _OWN = (type.__dict__[name].__get__ for name in ("__module__", "__mro__", "__dict__"))
_type_of: Callable[[object], type[object]] = type
_LARGEST = 1_000_000  # Bytes of a file that is read: PocketFlow has five thousand.


def bases_of(module: ModuleType) -> list[type]:
    """The classes of a module that other nodes derive from: with all that makes a node, and of no such base.

    Nothing in it is asked: some objects begin to work when they are.
    """
    content: dict[str, Any] = object.__getattribute__(module, "__dict__")  # One that loads itself lazily stays so.
    name = content.get("__name__")
    classes = {id(each): each for each in list(content.values()) if issubclass(_type_of(each), type)}
    return [each for each in classes.values() if _MODULE(each) == name and _is_base(each)]


def _is_base(cls: type) -> bool:
    own = _OWN(cls)
    return all(isfunction(own.get(name)) for name in _METHODS) and not [
        base for base in _BASES(cls)[1:] if not _OWN(base).keys().isdisjoint(RUNS)
    ]


class Copies(MetaPathFinder):
    """Tells of modules that hold a copy: those that are imported already, and others when they are."""

    def __init__(self, named: Collection[str], found: Callable[[ModuleType], object]) -> None:
        self._named = frozenset(named)
        """Modules that are told of whatever their shape."""
        self._found = found

    def begin(self) -> None:
        """Look at what there is, and from now on at what comes."""
        for module in list(sys.modules.values()):
            if issubclass(_type_of(module), ModuleType):  # Some say that they are one, and are none.
                self.look_at(module)
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
        sys.meta_path.insert(place, self)

    def end(self) -> None:
        """Look no more."""
        sys.meta_path[:] = [each for each in sys.meta_path if each is not self]

    def look_at(self, module: ModuleType) -> None:
        """Tell of a module if it holds a copy."""
        try:
            name = object.__getattribute__(module, "__dict__").get("__name__")
            is_one = name in self._named or bool(bases_of(module))
        except BaseException as error:  # What is in a module may be anything: that is no fault.
            if from_handler(error):
                raise
            return
        try:
            if is_one:
                self._found(module)
        except BaseException as error:
            if from_handler(error):
                raise
            report("a copy of PocketFlow could not be recorded", error)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """How to load a module, with a loader that tells of it where it has the shape or is named.

        It is as the finders after us up to Python's own find it, and found for good: nobody looks for it twice.
        """
        try:
            is_named = fullname in self._named
            if not is_named and fullname.partition(".")[0] in sys.stdlib_module_names:
                return None
            finders: list[Any] = sys.meta_path[sys.meta_path.index(self) + 1 :]
            if not is_named:
                finders = finders[: finders.index(PathFinder) + 1] if PathFinder in finders else []
            found = (each.find_spec(fullname, path, target) for each in finders)
            spec = next((each for each in found if each is not None), None)
            loader: Any = None if spec is None else spec.loader
            telling = _TELLING.get(_type_of(loader))
            if spec is not None and telling is not None and (is_named or _has_shape(loader)):
                spec.loader = telling(self, loader.name, loader.path)
            return spec
        except BaseException as error:
            if from_handler(error):
                raise
            return None  # Whoever comes after us finds the module, or says why it is not to be found.


class _Tells:
    """Loads a module as ever, and tells of it."""

    def __init__(self, copies: Copies, *given: str) -> None:
        super().__init__(*given)
        self._copies = copies

    def exec_module(self, module: ModuleType) -> None:
        """Load it."""
        cast("Any", super()).exec_module(module)
        self._copies.look_at(module)


class _Source(_Tells, SourceFileLoader): ...


class _Sourceless(_Tells, SourcelessFileLoader): ...


_TELLING: dict[type[object], Callable[..., Any]] = {SourceFileLoader: _Source, SourcelessFileLoader: _Sourceless}


def _has_shape(loader: Any) -> bool:
    """Whether the file that a module will be loaded from reads like a copy."""
    if not issubclass(_type_of(loader), SourceFileLoader):
        return False
    file = os.open(loader.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # For every module: file objects take longer.
    try:
        text = os.read(file, _LARGEST)
    finally:
        os.close(file)
    return all(each in text for each in _TEXTS)

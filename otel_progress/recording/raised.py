"""What is known of an exception without asking it: its class, and the class of that, may answer anything or raise."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
"""The name of a class."""
_QUALNAME: Any = type.__dict__["__qualname__"].__get__
_MODULE: Any = type.__dict__["__module__"].__get__
_OWN: Any = BaseException.__dict__["__dict__"].__get__
_TRACE: Any = BaseException.__dict__["__traceback__"].__get__


def is_a(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Whether it is of one of these kinds; `isinstance` would ask it for its `__class__`."""
    return issubclass(type(error), kinds)


def type_name(error: object) -> str:
    """The name of its type."""
    return name_of(type(error))


def module_of(error: BaseException) -> str:
    """The module of its type; empty where that says none."""
    module = _MODULE(type(error))
    return module if type(module) is str else ""


def whole_name(error: BaseException) -> str:
    """The qualified name of its type; that alone where it is one of Python's own."""
    module, name = module_of(error), _QUALNAME(type(error))
    return name if module in ("", "builtins") else f"{module}.{name}"


def trace_of(error: BaseException) -> TracebackType | None:
    """Its traceback."""
    return _TRACE(error)


def own_of(error: BaseException) -> dict[str, object]:
    """Its `__dict__`."""
    return _OWN(error)

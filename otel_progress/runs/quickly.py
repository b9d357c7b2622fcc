"""Frozen records, made quickly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def quickly(frozen: Callable[P, T]) -> Callable[P, T]:
    """What makes the records of a frozen dataclass as its own name does, in a fifth of the time.

    Python sets the fields of a frozen one by a call for each. Here they are set as in any other object, in a twin of
    the same fields that is not frozen; when it has all of them, its class becomes the frozen one. Worth it where there
    are hundreds of thousands.
    """

    def freeze(self: Any) -> None:
        self.__class__ = frozen

    told: Any = frozen
    twin: Any = dataclasses.make_dataclass(
        told.__name__,
        [(each.name, each.type, _as_it_was(each)) for each in dataclasses.fields(told)],
        namespace={"__post_init__": freeze},
        eq=False,
        repr=False,
        slots="__slots__" in vars(told),
    )
    return twin


def _as_it_was(field: dataclasses.Field[Any]) -> Any:
    """A field may be of one class alone, so this is another of the same default."""
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory)
    return dataclasses.field(default=field.default)
